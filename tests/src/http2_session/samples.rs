//! Scripts to begin with: one for each kind of thing that can be said, and the attacks by name.

/// Inputs of [`super::check_session`], made by code so that they stay right.
pub fn samples() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for first in [CLIENT, CLIENT | 2, SERVER, CLIENT | 0x10, SERVER | 0x10, SERVER | 0x20] {
        for script in SCRIPTS {
            let bytes = script.iter().flat_map(|step| step.iter().copied());
            all.push([0, 1, first].into_iter().chain(bytes).collect());
        }
    }
    all
}

const CLIENT: u8 = 0;
const SERVER: u8 = 1;

/// Steps as `script` reads them. The same bytes mean one thing to a client and another to a server,
/// and all of them something.
const SCRIPTS: &[&[&[u8]]] = &[
    &[],
    &[AWAIT, HEAD, WAIT],
    &[AWAIT, HEAD_OPEN, DATA, DATA_END, WAIT],
    &[AWAIT, HEAD_OPEN, DATA_END, AWAIT, HEAD, HEAD, WAIT],
    &[AWAIT, HEAD_OPEN, DATA, TRAILERS, WAIT],
    &[AWAIT, HEAD_OPEN, RESET, WAIT, HEAD, WAIT],
    // Rapid reset, and what the server is made to reset.
    &[AWAIT, HEAD_OPEN, RESET, HEAD_OPEN, RESET, HEAD_OPEN, RESET, WAIT],
    &[AWAIT, HEAD_OPEN, WINDOW_OVER, HEAD_OPEN, WINDOW_ZERO, WAIT],
    &[SETTINGS_SMALL, AWAIT, HEAD, WAIT, WINDOW, WAIT],
    &[PINGS, WAIT],
    &[SETTINGS_FLOOD, WAIT],
    &[AWAIT, HEAD_OPEN, EMPTY_DATA, WAIT],
    &[AWAIT, HEAD_UNENDED, CONTINUATION, CONTINUATION_END, WAIT],
    &[AWAIT, HEAD_UNENDED, CONTINUATIONS, WAIT],
    &[AWAIT, GOAWAY, HEAD, WAIT],
    &[AWAIT, PRIORITY, UNKNOWN, HEAD, WAIT],
    &[AWAIT, PUSH, HEAD, WAIT],
    &[AWAIT, HEAD_INDEXED, WAIT],
    &[DEAF, AWAIT, HEAD, HEAD, HEAD, LONG_WAIT],
    &[AWAIT, HEAD_OPEN, FINISH],
    &[AWAIT, TUNNEL, DATA, DATA_END, WAIT],
];

const HEAD: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 0, 0];
const HEAD_OPEN: &[u8] = &[0, 0, 0, 1, 0, 0, 0, 0, 1, 0];
const HEAD_UNENDED: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 0, 4, 0];
const HEAD_INDEXED: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 0, 0, 228, 0x3f, 0xe1, 0x1f, 0xbe];
const TRAILERS: &[u8] = &[0, 176, 0, 0, 0, 0, 0, 1, 24, 0, 0];
const TUNNEL: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 2, 0, 18, 1, 0];
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
const CONTINUATION: &[u8] = &[11, 9, 0, 0];
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
