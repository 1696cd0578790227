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
    state.world.log(&state.settings.name, level, &one_line(text));
}

/// Text as a line of its own. A filter may log what a client has sent: no line feed in it begins a
/// line that looks like one of ours, and nothing moves a terminal's cursor.
fn one_line(text: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(text.trim_ascii_end());
    if !text.contains(is_told_apart) {
        return text;
    }
    let mut line = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        match is_told_apart(letter) {
            true => line.extend(letter.escape_default()),
            false => line.push(letter),
        }
    }
    line.into()
}

fn is_told_apart(letter: char) -> bool {
    letter.is_control() && letter != '\t'
}

/// Longer lines are cut.
const LINE_BYTES_MAX: usize = 8 << 10;

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn what_a_filter_says_is_one_line() {
        let rows: [(&[u8], &str); 5] = [
            (b"all is well\n", "all is well"),
            (b"a\tb", "a\tb"),
            (b"a\r\n2026 INFO forged", "a\\r\\n2026 INFO forged"),
            (b"\x1b[2Jgone\x7f", "\\u{1b}[2Jgone\\u{7f}"),
            (b"\xc2\x85next \xff", "\\u{85}next \u{fffd}"),
        ];
        rows.iter().for_each(|(text, line)| assert_eq!(one_line(text), *line));
    }
}
