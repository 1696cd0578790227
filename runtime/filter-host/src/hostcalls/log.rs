//! Lines in the log.

use std::borrow::Cow;

use crate::abi::{LogLevel, Status};
use crate::guest::{Answer, Guest, slice};
use crate::state::State;

/// `proxy_log`.
pub(super) fn log(guest: &mut Guest<'_>, level: u32, text: u32, bytes: u32) -> Answer {
    let level = LogLevel::from_u32(level).ok_or(Status::BadArgument)?;
    let (memory, state) = guest.split()?;
    let text = slice(memory, text, bytes)?;
    write(state, level, text);
    Ok(())
}

/// `proxy_get_log_level`.
pub(super) fn level(guest: &mut Guest<'_>, out: u32) -> Answer {
    let level = guest.state().world.log_level();
    Ok(guest.write_u32(out, level as u32)?)
}

/// Writes one line, if its level is listened to and the filter has lines left this second.
pub(super) fn write(state: &mut State, level: LogLevel, text: &[u8]) {
    if level < state.world.log_level() {
        return;
    }
    if !state.log.take(state.world.now(), state.settings.log_lines_max) {
        state.counters().log_dropped.add(1);
        return;
    }
    let text = &text[..text.len().min(LINE_BYTES_MAX)];
    let line = match String::from_utf8_lossy(text) {
        Cow::Borrowed(line) => line.trim_end(),
        Cow::Owned(ref line) => {
            state.world.log(&state.settings.name, level, line.trim_end());
            return;
        }
    };
    state.world.log(&state.settings.name, level, line);
}

/// Longer lines are cut.
const LINE_BYTES_MAX: usize = 8 << 10;
