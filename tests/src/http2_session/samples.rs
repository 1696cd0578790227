//! Scripts to begin with: the things that can be said, the attacks by name, and what was found.

use super::script::Side;

/// Inputs of [`super::check_session`], made by code so that they stay right.
pub fn samples() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    // Who speaks, whether the origin speaks HTTP/2, and how the speaker goes.
    for first in [0, 2, 1, 0x10, 0x11, 0x21] {
        let side = if first & 1 == 0 { Side::Client } else { Side::Server };
        for script in scripts(side) {
            all.push([&[0, 1, first][..], &script.concat()].concat());
        }
    }
    all
}

/// Steps as `script` reads them.
fn scripts(side: Side) -> Vec<Vec<Vec<u8>>> {
    let whole = || head(side, WHOLE, &[]);
    let open = || head(side, OPEN, &[]);
    let of = |steps: &[&[u8]]| steps.iter().map(|step| step.to_vec()).collect::<Vec<_>>();
    let begun = |steps: &[&[u8]]| [of(&[AWAIT]), vec![open()], of(steps)].concat();
    vec![
        Vec::new(),
        vec![AWAIT.to_vec(), whole(), WAIT.to_vec()],
        begun(&[DATA, DATA_END, WAIT]),
        begun(&[DATA_END, AWAIT, &whole(), &whole(), WAIT]),
        begun(&[DATA, &trailers(side), WAIT]),
        begun(&[RESET, WAIT, &whole(), WAIT]),
        // A second head that is neither the answer's nor its end.
        begun(&[&open(), WAIT]),
        // Rapid reset, and what the other side is made to reset.
        begun(&[RESET, &open(), RESET, &open(), RESET, WAIT]),
        begun(&[WINDOW_OVER, &open(), WINDOW_ZERO, WAIT]),
        [of(&[SETTINGS_SMALL]), begun(&[DATA_END, WAIT, WINDOW, WAIT])].concat(),
        of(&[PINGS, WAIT]),
        of(&[SETTINGS_FLOOD, WAIT]),
        begun(&[EMPTY_DATA, WAIT]),
        vec![AWAIT.to_vec(), head(side, UNENDED, &[]), CONTINUATION_END.to_vec(), WAIT.to_vec()],
        vec![AWAIT.to_vec(), head(side, UNENDED, &[]), CONTINUATIONS.to_vec(), WAIT.to_vec()],
        begun(&[GOAWAY, &whole(), WAIT]),
        begun(&[PRIORITY, UNKNOWN, DATA_END, WAIT]),
        begun(&[PUSH, DATA_END, WAIT]),
        vec![AWAIT.to_vec(), indexed(side), WAIT.to_vec()],
        vec![of(&[DEAF, AWAIT]).concat(), whole(), whole(), whole(), LONG_WAIT.to_vec()],
        begun(&[FINISH]),
        // The first fields of each side are `:protocol` and `:status`.
        vec![AWAIT.to_vec(), head(side, OPEN, &[0, 18]), of(&[DATA, DATA_END, WAIT]).concat()],
        vec![AWAIT.to_vec(), head(side, OPEN, &[3]), of(&[DATA, DATA_END, WAIT]).concat()],
    ]
}

/// A head with the fields of these numbers. What follows it may be raw, and is not.
fn head(side: Side, flags: u8, fields: &[u8]) -> Vec<u8> {
    shaped(side, 0, flags, fields)
}

fn trailers(side: Side) -> Vec<u8> {
    shaped(side, 176, WHOLE, &[9])
}

/// Whole, and with a size of the table in front of its fields, and an index into that.
fn indexed(side: Side) -> Vec<u8> {
    let mut head = head(side, WHOLE, &[]);
    head.pop();
    head.extend([228, 0x3f, 0xe1, 0x1f, 0xbe]);
    head
}

fn shaped(side: Side, shape: u8, flags: u8, fields: &[u8]) -> Vec<u8> {
    let choices: &[u8] = if side == Side::Client { &[0, 0, 0, 0] } else { &[0] };
    [&[0, shape, 0], choices, &[fields.len() as u8], fields, &[flags, 0]].concat()
}

/// Numbers of flags.
const WHOLE: u8 = 0;
const OPEN: u8 = 1;
const UNENDED: u8 = 5;

const DATA: &[u8] = &[4, 0, 0, 3, 0];
const DATA_END: &[u8] = &[4, 0, 1, 2, 0];
const EMPTY_DATA: &[u8] = &[0x84, 0, 0, 0, 0, 20];
const RESET: &[u8] = &[8, 0, 5];
const WINDOW: &[u8] = &[7, 0, 11];
const WINDOW_ZERO: &[u8] = &[7, 0, 0];
const WINDOW_OVER: &[u8] = &[7, 0, 14];
const SETTINGS_SMALL: &[u8] = &[6, 1, 4, 1];
const SETTINGS_FLOOD: &[u8] = &[0x86, 1, 3, 7, 20];
const PINGS: &[u8] = &[0x89, 0, 30];
const GOAWAY: &[u8] = &[10, 1, 0];
const CONTINUATIONS: &[u8] = &[0x8b, 9, 0, 0, 5];
const CONTINUATION_END: &[u8] = &[11, 9, 4, 0];
const PRIORITY: &[u8] = &[12, 0, 0, 0];
const PUSH: &[u8] = &[12, 1, 0, 0];
const UNKNOWN: &[u8] = &[12, 5, 3, 0];
const WAIT: &[u8] = &[15, 4];
const LONG_WAIT: &[u8] = &[15, 7];
const AWAIT: &[u8] = &[15, 128];
const DEAF: &[u8] = &[15, 200];
const FINISH: &[u8] = &[15, 255];
