//! Walks over frames to where each of them ends, whatever way the bytes were cut; writes the few
//! that we send ourselves.

/// What a frame is (RFC 6455 §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is the frame of that name")]
pub enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
    /// One that RFC 6455 keeps for later.
    Other(u8),
}

impl Opcode {
    fn of(byte: u8) -> Opcode {
        match byte & 0x0f {
            0 => Opcode::Continuation,
            1 => Opcode::Text,
            2 => Opcode::Binary,
            8 => Opcode::Close,
            9 => Opcode::Ping,
            10 => Opcode::Pong,
            other => Opcode::Other(other),
        }
    }

    fn bits(self) -> u8 {
        match self {
            Opcode::Continuation => 0,
            Opcode::Text => 1,
            Opcode::Binary => 2,
            Opcode::Close => 8,
            Opcode::Ping => 9,
            Opcode::Pong => 10,
            Opcode::Other(bits) => bits & 0x0f,
        }
    }
}

/// How far a walk came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Bytes that were passed over.
    pub bytes: usize,
    /// The frame that ends behind them; `None` when the input ended first.
    pub ended: Option<Opcode>,
}

/// Where in one direction's frames we are.
///
/// Frames of any size are walked over in the room of a head.
#[derive(Clone, Debug, Default)]
pub struct FrameWalk {
    head: [u8; HEAD_BYTES_MAX],
    head_bytes: usize,
    /// Bytes behind the head that are still to come.
    left: u64,
    lost: bool,
}

impl FrameWalk {
    /// A walk that begins where a frame does.
    pub fn new() -> FrameWalk {
        FrameWalk::default()
    }

    /// Whether the next byte is the first of a frame. Never again once a length made no sense.
    pub fn is_between(&self) -> bool {
        self.head_bytes == 0 && !self.lost
    }

    /// What the frame is that has begun and not ended; `None` where that is not known.
    pub fn under_way(&self) -> Option<Opcode> {
        (self.head_bytes > 0 && !self.lost).then(|| Opcode::of(self.head[0]))
    }

    /// Passes over `input` up to the end of one frame.
    pub fn step(&mut self, input: &[u8]) -> Step {
        if self.lost {
            return Step { bytes: input.len(), ended: None };
        }
        let mut bytes = 0;
        while self.head_bytes < head_bytes_of(&self.head[..self.head_bytes]) {
            let Some(&byte) = input.get(bytes) else { return Step { bytes, ended: None } };
            self.head[self.head_bytes] = byte;
            self.head_bytes += 1;
            bytes += 1;
            if self.head_bytes == head_bytes_of(&self.head[..self.head_bytes]) {
                match left_of(&self.head[..self.head_bytes]) {
                    Some(left) => self.left = left,
                    None => {
                        self.lost = true;
                        return Step { bytes: input.len(), ended: None };
                    }
                }
            }
        }
        let there = (input.len() - bytes) as u64;
        let passed = self.left.min(there);
        self.left -= passed;
        // No more than what is there, whose length is a `usize`.
        bytes += passed as usize;
        if self.left > 0 {
            return Step { bytes, ended: None };
        }
        self.head_bytes = 0;
        Step { bytes, ended: Some(Opcode::of(self.head[0])) }
    }
}

/// Bytes up to the end of the length, as far as `head` tells (RFC 6455 §5.2).
fn head_bytes_of(head: &[u8]) -> usize {
    match head.get(1).map(|byte| byte & LENGTH) {
        Some(126) => 4,
        Some(127) => 10,
        _ => 2,
    }
}

/// Bytes behind a complete `head`, the masking key among them; `None` when the length is none.
fn left_of(head: &[u8]) -> Option<u64> {
    let length = match *head {
        [_, _, a, b] => u64::from(u16::from_be_bytes([a, b])),
        [_, _, ref length @ ..] if length.len() == 8 => {
            length.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte))
        }
        [_, byte] => u64::from(byte & LENGTH),
        _ => return None,
    };
    let key = if head[1] & MASKED == 0 { 0 } else { MASK_BYTES };
    // RFC 6455 §5.2: the most significant bit of the longest form is 0.
    (length >> 63 == 0).then_some(length + key)
}

/// Appends a control frame to `out`; `mask` is there toward a server, and only there (RFC 6455
/// §5.1).
///
/// # Panics
/// When the payload is longer than that of a control frame may be (RFC 6455 §5.5).
pub fn write_control(opcode: Opcode, payload: &[u8], mask: Option<[u8; 4]>, out: &mut Vec<u8>) {
    assert!(payload.len() <= CONTROL_BYTES_MAX, "a control frame is short");
    let masked = if mask.is_some() { MASKED } else { 0 };
    out.extend([FINAL | opcode.bits(), masked | payload.len() as u8]);
    match mask {
        None => out.extend_from_slice(payload),
        // RFC 6455 §5.3.
        Some(key) => {
            out.extend(key);
            out.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
        }
    }
}

const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7f;
const MASK_BYTES: u64 = 4;
/// Opcode, length, and the longest form of the latter.
const HEAD_BYTES_MAX: usize = 10;
const CONTROL_BYTES_MAX: usize = 125;
