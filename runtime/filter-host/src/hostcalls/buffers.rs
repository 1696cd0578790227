//! Bodies, configurations and answers, as buffers.

use crate::abi::{BufferType, Status};
use crate::grpc::GrpcEvent;
use crate::guest::{Answer, Guest, slice};
use crate::session::Body;
use crate::state::State;

/// A buffer to read.
enum Readable<'a> {
    Body(&'a dyn Body),
    Bytes(&'a [u8]),
}

impl Readable<'_> {
    fn len(&self) -> usize {
        match self {
            Readable::Body(body) => body.len(),
            Readable::Bytes(bytes) => bytes.len(),
        }
    }
}

/// Runs `read` on the buffer and the scratch; `NotFound` when there is no such buffer now.
fn with_buffer<T>(
    state: &mut State,
    kind: u32,
    read: impl FnOnce(Readable<'_>, &mut Vec<u8>) -> T,
) -> Result<T, Status> {
    let kind = BufferType::from_u32(kind).ok_or(Status::BadArgument)?;
    let plugin = match kind {
        BufferType::PluginConfiguration if state.call.configuring => state.plugin(),
        _ => 0,
    };
    let State { call, scratch, settings, .. } = state;
    let buffer = match kind {
        BufferType::RequestBody
        | BufferType::ResponseBody
        | BufferType::DownstreamData
        | BufferType::UpstreamData => call.body(kind).map(|body| Readable::Body(body)),
        BufferType::HttpCallResponseBody => {
            call.callout().map(|answer| Readable::Bytes(&answer.body))
        }
        BufferType::GrpcCallMessage => match call.grpc() {
            Some(GrpcEvent::Message(message)) => Some(Readable::Bytes(message)),
            Some(_) | None => None,
        },
        BufferType::VmConfiguration => Some(Readable::Bytes(&settings.vm_config)),
        BufferType::PluginConfiguration if call.configuring => {
            settings.plugins.get(plugin).map(|plugin| Readable::Bytes(&plugin.config))
        }
        BufferType::PluginConfiguration | BufferType::ForeignFunctionArguments => None,
    };
    Ok(read(buffer.ok_or(Status::NotFound)?, scratch))
}

/// `proxy_get_buffer_bytes`. A start beyond the end gives no bytes and `Ok`, as in Envoy; only a
/// sum that overflows is a bad argument.
pub(super) fn bytes(
    guest: &mut Guest<'_>,
    kind: u32,
    start: u32,
    bytes_max: u32,
    value: u32,
    bytes: u32,
) -> Answer {
    BufferType::from_u32(kind).ok_or(Status::BadArgument)?;
    start.checked_add(bytes_max).ok_or(Status::BadArgument)?;
    let state = guest.state();
    let limit = state.settings.hostcall_bytes_max;
    let fits = with_buffer(state, kind, |buffer, scratch| {
        let start = (start as usize).min(buffer.len());
        let count = (bytes_max as usize).min(buffer.len() - start);
        scratch.clear();
        if count > limit {
            return false;
        }
        match buffer {
            Readable::Body(body) => {
                scratch.resize(count, 0);
                body.copy(start, scratch);
            }
            Readable::Bytes(bytes) => scratch.extend_from_slice(&bytes[start..start + count]),
        }
        true
    })?;
    if !fits {
        guest.state().counters().limits.add(1);
        return Err(Status::InternalFailure.into());
    }
    if guest.state().scratch.is_empty() {
        // As in Envoy, nothing is written then. AssemblyScript's SDK gives the length of an empty
        // configuration as the address for its length, and reads a null pointer if told one.
        return Ok(());
    }
    guest.give_scratch(value, bytes)
}

/// `proxy_get_configuration` of 0.1.0: the plugin's while it is configured, else the machine's.
pub(super) fn configuration(guest: &mut Guest<'_>, value: u32, bytes: u32) -> Answer {
    let kind = match guest.state().call.configuring {
        true => BufferType::PluginConfiguration,
        false => BufferType::VmConfiguration,
    };
    self::bytes(guest, kind as u32, 0, u32::MAX, value, bytes)
}

/// `proxy_get_buffer_status`.
pub(super) fn buffer_status(guest: &mut Guest<'_>, kind: u32, bytes: u32, flags: u32) -> Answer {
    let length = with_buffer(guest.state(), kind, |buffer, _| buffer.len())?;
    guest.write_u32(bytes, u32::try_from(length).unwrap_or(u32::MAX))?;
    Ok(guest.write_u32(flags, 0)?)
}

/// `proxy_set_buffer_bytes`: replaces `size` bytes from `start`. A start at or beyond the end
/// appends, a size of 0 inserts.
pub(super) fn set_bytes(
    guest: &mut Guest<'_>,
    kind: u32,
    start: u32,
    size: u32,
    value: u32,
    bytes: u32,
) -> Answer {
    let kind = BufferType::from_u32(kind).ok_or(Status::BadArgument)?;
    let (memory, state) = guest.split()?;
    let value = slice(memory, value, bytes)?;
    if value.len() > state.settings.hostcall_bytes_max {
        state.counters().limits.add(1);
        return Err(Status::InternalFailure.into());
    }
    let body = match kind {
        BufferType::RequestBody
        | BufferType::ResponseBody
        | BufferType::DownstreamData
        | BufferType::UpstreamData => state.call.body(kind),
        // Configurations and answers are not the filter's to change.
        _ => return Err(Status::BadArgument.into()),
    };
    let body = body.ok_or(Status::NotFound)?;
    let start = (start as usize).min(body.len());
    let end = start.saturating_add(size as usize).min(body.len());
    if body.splice(start..end, value).is_err() {
        state.counters().limits.add(1);
        return Err(Status::InternalFailure.into());
    }
    Ok(())
}
