//! HTTP/2 frame by frame: small, strict in what it reads, free in what it sends.

use std::time::Duration;

use penstock_env::{Address, Env, SendBuf, Stream, StreamExt, Timer, TimerExt};
use penstock_tests::frames::frames_of;
pub(super) use penstock_tests::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, PADDED, PING,
    PRIORITY, PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE, fields, frame,
};
use penstock_tests::sim::{SimEnv, SimStream};

use crate::http::wire::Wire;

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
    let pieces = bytes.chunks(4_000).map(<[u8]>::to_vec).collect();
    say_slowly(env, to, pieces, Duration::from_millis(1), patience).await
}

/// As [`say`], a piece at a time with a pause behind each.
pub(super) async fn say_slowly(
    env: &SimEnv,
    to: &Address,
    pieces: Vec<Vec<u8>>,
    pause: Duration,
    patience: Duration,
) -> (Heard, bool) {
    let stream = Wire::connect(env, to).await.expect("the proxy listens");
    let mut first = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    first.extend(frame(SETTINGS, 0, 0, &[]));
    let mut left = std::iter::once(first).chain(pieces).peekable();
    let (own, mut heard) = (env.clone(), Vec::new());
    let (timer, mut next_at) = (own.timer(), own.now());
    let ended = loop {
        if own.now() >= next_at
            && let Ready::Yes = sent(&stream)
            && let Some(piece) = left.next()
        {
            let mut out = SendBuf::new(env.buffer());
            out.push(&piece);
            stream.start_send(out);
            next_at = own.now() + pause;
        }
        let all = left.peek().is_none();
        timer.set(if all {
            own.now() + patience
        } else {
            next_at.max(own.now() + Duration::from_millis(1))
        });
        match timer.race(stream.recv()).await {
            Some(Ok(Some(chunk))) => heard.extend_from_slice(&chunk),
            Some(_) => break true,
            None if all => break false,
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
