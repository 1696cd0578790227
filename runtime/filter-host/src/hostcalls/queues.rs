//! Shared queues. Where the ABI is silent, as in Envoy.

use std::sync::Arc;

use crate::abi::Status;
use crate::guest::{Answer, Guest, Refusal, slice};
use crate::shared::WriteError;
use crate::state::State;

/// `proxy_register_shared_queue`: the root context hears of items from now on; of a queue that is
/// there already, in the place of whoever did before.
pub(super) fn register(guest: &mut Guest<'_>, name: u32, bytes: u32, out: u32) -> Answer {
    guest.write_u32(out, 0)?;
    let (memory, state) = guest.split()?;
    let name = slice(memory, name, bytes)?;
    let root = state.root();
    state.contexts.find(root).ok_or(Status::BadArgument)?;
    let (vm_id, bytes_max) = (&state.settings.vm_id, state.settings.shared_bytes_max);
    let queue = state.queues.make(vm_id, name, &state.shared, bytes_max);
    let queue = queue.map_err(|error| refused(state, error))?;
    let token = queue.token;
    // Once for each root: registering again makes it the last.
    state.registrations.retain(|one| one.root != root || one.queue.token != token);
    let shard = Some(state.shard).filter(|&shard| state.queues.has_bell(shard));
    let number = state.queues.next_listener();
    state.registrations.push(queue.register(shard, number, root));
    if let Some(shard) = shard {
        state.queues.ring(shard, shard);
        state.roots_moved = true;
    }
    Ok(guest.write_u32(out, token)?)
}

/// `proxy_resolve_shared_queue`: no `vm_id` is the filter's own.
pub(super) fn resolve(
    guest: &mut Guest<'_>,
    vm: u32,
    vm_bytes: u32,
    name: u32,
    bytes: u32,
    out: u32,
) -> Answer {
    let (memory, state) = guest.split()?;
    let vm_id = match slice(memory, vm, vm_bytes)? {
        [] => state.settings.vm_id.as_bytes(),
        vm_id => vm_id,
    };
    let name = slice(memory, name, bytes)?;
    let token = state.queues.resolve(vm_id, name).ok_or(Status::NotFound)?.token;
    Ok(guest.write_u32(out, token)?)
}

/// `proxy_enqueue_shared_queue`.
pub(super) fn enqueue(guest: &mut Guest<'_>, queue: u32, value: u32, bytes: u32) -> Answer {
    let (memory, state) = guest.split()?;
    let value = slice(memory, value, bytes)?;
    if value.len() > state.settings.hostcall_bytes_max {
        return Err(refused(state, WriteError::OverLimit));
    }
    let queue = state.queues.find(queue).ok_or(Status::NotFound)?;
    let shard = queue.put(value, state.settings.shared_bytes_max);
    if let Some(shard) = shard.map_err(|error| refused(state, error))? {
        state.queues.ring(shard, state.shard);
        state.roots_moved |= shard == state.shard;
    }
    Ok(())
}

/// `proxy_dequeue_shared_queue`.
pub(super) fn dequeue(guest: &mut Guest<'_>, queue: u32, value: u32, bytes: u32) -> Answer {
    // Tried before an item is taken that could not be told of.
    guest.write_u32(value, 0)?;
    guest.write_u32(bytes, 0)?;
    let state = guest.state();
    let queue = state.queues.find(queue).ok_or(Status::NotFound)?;
    let item: Arc<[u8]> = queue.take().ok_or(Status::Empty)?;
    state.scratch.clear();
    state.scratch.extend_from_slice(&item);
    guest.give_scratch(value, bytes)
}

/// Counts what a limit refused.
fn refused(state: &State, _: WriteError) -> Refusal {
    state.counters().limits.add(1);
    Status::InternalFailure.into()
}
