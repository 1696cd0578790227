//! Shared data.

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
