//! Properties: what the host knows of the filter, and the proxy of the exchange.

use crate::abi::Status;
use crate::abi::path::Path;
use crate::guest::{Answer, Guest, slice};
use crate::state::State;

/// `proxy_get_property`. SDKs of AssemblyScript abort when the first three are missing.
pub(super) fn property(
    guest: &mut Guest<'_>,
    path: u32,
    path_bytes: u32,
    value: u32,
    bytes: u32,
) -> Answer {
    let (memory, state) = guest.split()?;
    let path = slice(memory, path, path_bytes)?;
    let path = Path::parse(path).map_err(|_| Status::NotFound)?;
    state.scratch.clear();
    match path.parts() {
        [b"plugin_name"] => state.scratch.extend_from_slice(state.settings.name.as_bytes()),
        [b"plugin_vm_id"] => state.scratch.extend_from_slice(state.settings.vm_id.as_bytes()),
        [b"plugin_root_id"] => {
            let plugin = state.plugin();
            if let Some(plugin) = state.settings.plugins.get(plugin) {
                state.scratch.extend_from_slice(plugin.root_id.as_bytes());
            }
        }
        parts => {
            let State { call, scratch, .. } = state;
            let session = match call.session() {
                // A root context has no exchange to know something of.
                Err(Status::BadArgument) => return Err(Status::NotFound.into()),
                session => session?,
            };
            if !session.property(parts, scratch) {
                return Err(Status::NotFound.into());
            }
        }
    }
    guest.give_scratch(value, bytes)
}

/// `proxy_set_property`.
pub(super) fn set_property(
    guest: &mut Guest<'_>,
    path: u32,
    path_bytes: u32,
    value: u32,
    bytes: u32,
) -> Answer {
    let (memory, state) = guest.split()?;
    let path = slice(memory, path, path_bytes)?;
    let value = slice(memory, value, bytes)?;
    if path.len() + value.len() > PROPERTY_BYTES_MAX {
        state.counters().limits.add(1);
        return Err(Status::BadArgument.into());
    }
    let path = Path::parse(path).map_err(|_| Status::BadArgument)?;
    let session = match state.call.session() {
        Err(Status::BadArgument) => return Err(Status::NotFound.into()),
        session => session?,
    };
    match session.set_property(path.parts(), value) {
        true => Ok(()),
        false => Err(Status::NotFound.into()),
    }
}

/// Path and value together, of a property that a filter sets.
const PROPERTY_BYTES_MAX: usize = 64 << 10;
