//! Frames of HTTP/2 as bytes: free in what is made of them, strict in what is read.

/// A frame that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its kind.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream; 0 is the connection.
    pub stream: u32,
    /// What it holds.
    pub payload: Vec<u8>,
}

/// Content.
pub const DATA: u8 = 0;
/// A head, or trailers.
pub const HEADERS: u8 = 1;
/// Deprecated.
pub const PRIORITY: u8 = 2;
/// A stream is given up.
pub const RST_STREAM: u8 = 3;
/// What the sender wants.
pub const SETTINGS: u8 = 4;
/// Never wanted.
pub const PUSH_PROMISE: u8 = 5;
/// Asks for the same back.
pub const PING: u8 = 6;
/// The connection ends.
pub const GOAWAY: u8 = 7;
/// Room for content.
pub const WINDOW_UPDATE: u8 = 8;
/// The rest of a head.
pub const CONTINUATION: u8 = 9;

/// Of DATA and HEADERS: nothing follows.
pub const END_STREAM: u8 = 1;
/// Of SETTINGS and PING: an answer.
pub const ACK: u8 = 1;
/// Of HEADERS and CONTINUATION: the block is whole.
pub const END_HEADERS: u8 = 4;
/// Of DATA and HEADERS: padding follows.
pub const PADDED: u8 = 8;

/// A frame's bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Fields as literals that nobody remembers (RFC 7541 §6.2.2).
///
/// # Panics
/// When a name or a value is longer than 126 bytes.
pub fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(text_length(text));
            block.extend(text.bytes());
        }
    }
    block
}

/// A length in one byte, without Huffman's coding (RFC 7541 §5.2).
fn text_length(text: &str) -> u8 {
    assert!(text.len() < 127, "{text} is too long");
    text.len() as u8
}

/// The whole frames that `bytes` begin with.
pub fn frames_of(mut bytes: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let [a, b, c, kind, flags, s, t, u, v, rest @ ..] = bytes {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        // The last may be cut.
        let Some(payload) = rest.get(..length) else { break };
        let stream = u32::from_be_bytes([*s, *t, *u, *v]);
        frames.push(Frame { kind: *kind, flags: *flags, stream, payload: payload.to_vec() });
        bytes = &rest[length..];
    }
    frames
}
