//! HTTP/2 frame by frame: small, strict in what it reads, free in what it sends.

use std::time::Duration;

use penstock_env::{Address, Env, SendBuf, Stream, StreamExt, Timer, TimerExt};
use penstock_tests::sim::{SimEnv, SimStream};

use crate::http::wire::Wire;

/// A frame that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const ACK: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const PADDED: u8 = 8;

/// A frame's bytes.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Fields as literals that nobody remembers (RFC 7541 §6.2.2), none longer than 126 bytes.
pub(super) fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).expect("a short one"));
            block.extend(text.bytes());
        }
    }
    block
}

/// What the proxy said before the connection ended.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) frames: Vec<Frame>,
}

impl Heard {
    /// The error of the last GOAWAY.
    pub(super) fn goaway(&self) -> Option<u32> {
        let last = self.frames.iter().rfind(|frame| frame.kind == GOAWAY)?;
        Some(u32::from_be_bytes(last.payload[4..8].try_into().expect("four bytes")))
    }

    /// The error that `stream` was reset with.
    pub(super) fn reset(&self, stream: u32) -> Option<u32> {
        let mut resets = self.frames.iter().filter(|frame| frame.kind == RST_STREAM);
        let reset = resets.find(|frame| frame.stream == stream)?;
        Some(u32::from_be_bytes(reset.payload[..].try_into().expect("four bytes")))
    }

    /// Whether `stream` was answered with a head.
    pub(super) fn is_answered(&self, stream: u32) -> bool {
        self.frames.iter().any(|frame| frame.kind == HEADERS && frame.stream == stream)
    }
}

/// Sends the preface, settings and `bytes`, then listens until the connection ends or nothing
/// came for `patience`. Settings and pings are not answered.
pub(super) async fn say(
    env: &SimEnv,
    to: &Address,
    bytes: Vec<u8>,
    patience: Duration,
) -> (Heard, bool) {
    let stream = Wire::connect(env, to).await.expect("the proxy listens");
    let mut all = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    all.extend(frame(SETTINGS, 0, 0, &[]));
    all.extend(bytes);
    let (own, mut heard) = (env.clone(), Vec::new());
    let timer = own.timer();
    let ended = loop {
        if !all.is_empty()
            && let Ready::Yes = sent(&stream)
        {
            let rest = all.split_off(all.len().min(4_000));
            let mut out = SendBuf::new(env.buffer());
            out.push(&std::mem::replace(&mut all, rest));
            stream.start_send(out);
        }
        let wait = if all.is_empty() { patience } else { Duration::from_millis(1) };
        timer.set(own.now() + wait);
        match timer.race(stream.recv()).await {
            Some(Ok(Some(chunk))) => heard.extend_from_slice(&chunk),
            Some(_) => break true,
            None if all.is_empty() => break false,
            None => {}
        }
    };
    (Heard { frames: frames_of(&heard) }, ended)
}

enum Ready {
    Yes,
    No,
}

fn sent(stream: &SimStream) -> Ready {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    if stream.poll_sent(&mut context).is_ready() { Ready::Yes } else { Ready::No }
}

fn frames_of(mut bytes: &[u8]) -> Vec<Frame> {
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
