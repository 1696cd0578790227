//! Walks over frames, head by head, whatever way the bytes were cut (RFC 9113 §4.1).
//!
//! Nothing is buffered but a part of a head, and nothing is checked: what a frame means is for
//! others to say.

/// Bytes of a frame's head.
const HEAD_BYTES: usize = 9;

/// What a frame is (RFC 9113 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is the frame of that name")]
pub enum FrameKind {
    Data,
    Headers,
    Priority,
    RstStream,
    Settings,
    PushPromise,
    Ping,
    GoAway,
    WindowUpdate,
    Continuation,
    /// A kind that RFC 9113 does not know.
    Other(u8),
}

impl FrameKind {
    fn of(byte: u8) -> FrameKind {
        match byte {
            0 => FrameKind::Data,
            1 => FrameKind::Headers,
            2 => FrameKind::Priority,
            3 => FrameKind::RstStream,
            4 => FrameKind::Settings,
            5 => FrameKind::PushPromise,
            6 => FrameKind::Ping,
            7 => FrameKind::GoAway,
            8 => FrameKind::WindowUpdate,
            9 => FrameKind::Continuation,
            other => FrameKind::Other(other),
        }
    }
}

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHead {
    /// Bytes of what follows the head.
    pub payload_bytes: u32,
    /// What it is.
    pub kind: FrameKind,
    /// Its flags; [`FrameHead::END_STREAM`] and [`FrameHead::ACK`] share a bit.
    pub flags: u8,
    /// Its stream, 0 for the connection's own.
    pub stream: u32,
}

impl FrameHead {
    /// Of DATA and HEADERS: the last of its stream.
    pub const END_STREAM: u8 = 1;
    /// Of SETTINGS and PING: an answer.
    pub const ACK: u8 = 1;
    /// Of HEADERS and CONTINUATION: the last of a head.
    pub const END_HEADERS: u8 = 4;

    /// Whether all bits of `flag` are set.
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag == flag
    }
}

/// Where in the stream of frames we are.
#[derive(Clone, Debug)]
pub struct FrameWalk {
    head: [u8; HEAD_BYTES],
    head_bytes: usize,
    /// Bytes to pass over before the next head.
    left: usize,
}

impl FrameWalk {
    /// A walk over what a client sends: the frames behind its preface.
    pub fn behind_preface() -> FrameWalk {
        FrameWalk { head: [0; HEAD_BYTES], head_bytes: 0, left: super::PREFACE.len() }
    }

    /// Whether the last frame, if there was one, is passed over, and no other has begun.
    pub fn is_between(&self) -> bool {
        self.left == 0 && self.head_bytes == 0
    }

    /// The head of the next frame in `input`, which is shortened to what follows it; `None` when
    /// all of `input` was passed over.
    pub fn next(&mut self, input: &mut &[u8]) -> Option<FrameHead> {
        let passed = self.left.min(input.len());
        *input = &input[passed..];
        self.left -= passed;
        let taken = input.len().min(HEAD_BYTES - self.head_bytes);
        self.head[self.head_bytes..self.head_bytes + taken].copy_from_slice(&input[..taken]);
        self.head_bytes += taken;
        *input = &input[taken..];
        if self.head_bytes < HEAD_BYTES {
            return None;
        }
        self.head_bytes = 0;
        let [a, b, c, kind, flags, stream @ ..] = self.head;
        let payload_bytes = u32::from_be_bytes([0, a, b, c]);
        self.left = payload_bytes as usize;
        // RFC 9113 §4.1: the first bit of a stream's number is reserved, and ignored.
        let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
        Some(FrameHead { payload_bytes, kind: FrameKind::of(kind), flags, stream })
    }
}
