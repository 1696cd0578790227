//! Contexts and their ends, timers, the clock, foreign functions.

use std::time::Duration;

use penstock_env::Time;

use crate::abi::Status;
use crate::contexts::{ContextId, Ending};
use crate::guest::{Answer, Guest, slice};
use crate::state::Tick;

/// `proxy_set_effective_context`.
pub(super) fn set_effective_context(guest: &mut Guest<'_>, id: u32) -> Answer {
    let id = ContextId::from_guest(id);
    let state = guest.state();
    if state.contexts.find(id).is_none() {
        return Err(Status::BadArgument.into());
    }
    state.call.effective = id;
    Ok(())
}

/// `proxy_done`: the end of a context whose `proxy_on_done` answered false.
pub(super) fn done(guest: &mut Guest<'_>) -> Answer {
    let state = guest.state();
    let id = state.call.effective;
    match state.contexts.find(id) {
        Some(context) if matches!(context.ending, Ending::Waiting { .. }) => {
            context.ending = Ending::Due;
            state.waiting.count -= 1;
            if state.waiting.count == 0 {
                state.waiting.until = Time::NEVER;
            }
            state.due.push(id);
            Ok(())
        }
        _ => Err(Status::NotFound.into()),
    }
}

/// `proxy_set_tick_period_milliseconds`: 0 stops the timer.
pub(super) fn set_tick_period(guest: &mut Guest<'_>, ms: u32) -> Answer {
    let state = guest.state();
    let root = state.root();
    if state.contexts.find(root).is_none() {
        return Err(Status::BadArgument.into());
    }
    state.ticks.retain(|tick| tick.root != root);
    state.roots_moved = true;
    if ms > 0 {
        let period = Duration::from_millis(u64::from(ms));
        state.ticks.push(Tick {
            root,
            period_ns: u64::from(ms) * 1_000_000,
            next: state.world.now() + period,
        });
    }
    Ok(())
}

/// `proxy_get_current_time_nanoseconds`: the time of day.
pub(super) fn current_time(guest: &mut Guest<'_>, out: u32) -> Answer {
    let state = guest.state();
    let now = state.clock.realtime_ns(&*state.world);
    Ok(guest.write_u64(out, now)?)
}

/// `proxy_call_foreign_function`: none is known yet, which is what the ABI calls not found.
pub(super) fn call_foreign(
    guest: &mut Guest<'_>,
    name: u32,
    name_bytes: u32,
    value: u32,
    bytes: u32,
    _out: u32,
    _out_bytes: u32,
) -> Answer {
    let (memory, _) = guest.split()?;
    slice(memory, name, name_bytes)?;
    slice(memory, value, bytes)?;
    Err(Status::NotFound.into())
}
