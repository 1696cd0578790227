//! Shared data. Shared queues link, and answer that they are not there.

use crate::abi::Status;
use crate::guest::{Answer, Guest, slice};
use crate::shared::WriteError;

/// `proxy_get_shared_data`.
pub(super) fn read(
    guest: &mut Guest<'_>,
    key: u32,
    key_bytes: u32,
    value: u32,
    bytes: u32,
    cas: u32,
) -> Answer {
    let (memory, state) = guest.split()?;
    let key = slice(memory, key, key_bytes)?;
    let version = state.shared.read(key).ok_or(Status::NotFound)?;
    state.scratch.clear();
    state.scratch.extend_from_slice(&version.value);
    let current = version.cas;
    drop(version);
    guest.write_u32(cas, current)?;
    guest.give_scratch(value, bytes)
}

/// `proxy_set_shared_data`.
pub(super) fn write(
    guest: &mut Guest<'_>,
    key: u32,
    key_bytes: u32,
    value: u32,
    bytes: u32,
    cas: u32,
) -> Answer {
    let (memory, state) = guest.split()?;
    let key = slice(memory, key, key_bytes)?;
    let value = slice(memory, value, bytes)?;
    match state.shared.write(key, value, cas, state.settings.shared_bytes_max) {
        Ok(()) => Ok(()),
        Err(WriteError::CasMismatch) => Err(Status::CasMismatch.into()),
        Err(WriteError::OverLimit) => {
            state.counters().limits.add(1);
            Err(Status::InternalFailure.into())
        }
    }
}

/// `proxy_register_shared_queue` and the two that move items.
pub(super) fn queue(_guest: &mut Guest<'_>, _a: u32, _b: u32, _c: u32) -> Answer {
    Err(Status::Unimplemented.into())
}

/// `proxy_resolve_shared_queue`.
pub(super) fn resolve_queue(
    _guest: &mut Guest<'_>,
    _vm: u32,
    _vm_bytes: u32,
    _name: u32,
    _bytes: u32,
    _out: u32,
) -> Answer {
    Err(Status::Unimplemented.into())
}
