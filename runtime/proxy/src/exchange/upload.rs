//! The request's body on its way up.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::time::Duration;

use penstock_config::ClusterTimeouts;
use penstock_env::{Env, SendBuf, Stream, Time};
use penstock_wire::http1::{Framing, RequestHead};

use super::Exchange;
use super::Scratch;
use super::attempt::Progress;
use super::body::Passage;
use super::deadlines::{Deadlines, Wait};
use super::filtered::{Filtered, Heads, Source};
use super::pace::Pace;
use crate::downstream::Downstream;
use crate::failure::Cause;
use crate::snapshot::Listener;
use crate::upstream::Up;
use crate::worker::Worker;

/// Bodies up to this are kept until the response begins, so that another endpoint can be asked.
const REPLAY_BYTES_MAX: usize = 64 * 1024;

/// The scratch's parts that an upload works on.
pub(crate) struct Parts<'a> {
    pub(crate) passage: &'a mut Passage,
    pub(crate) replay: &'a mut Vec<u8>,
    pub(crate) listener: &'a Listener,
    pub(crate) request: &'a RequestHead,
}

/// Makes ready for the request's body, before anybody looks at it.
pub(crate) fn begin<E: Env>(exchange: &Exchange<'_, E>, scratch: &mut Scratch) {
    let framing = scratch.request.framing();
    scratch.replay.clear();
    scratch.held.clear();
    if framing == Framing::None {
        return scratch.upload.begin_nothing();
    }
    let listener = exchange.listener;
    scratch.upload.begin(exchange.down.decoder(framing, listener));
    scratch.upload.frame_as(framing);
    scratch.upload.messages = exchange.record.counted();
}

/// Decides how a body goes up that filters look at: as long as it came out of them, where that is
/// all of it; as long as its head says, unless they took that away.
pub(crate) fn reframe(scratch: &mut Scratch, ended: bool, frees_length: bool) {
    let framing = match scratch.upload.framing() {
        Framing::None => return,
        _ if ended => Framing::Length(scratch.held.len() as u64),
        Framing::Length(_) if !frees_length && scratch.request.length().is_some() => return,
        _ => Framing::Chunked,
    };
    scratch.upload.frame_as(framing);
}

/// Adds what is there of the body to the send that carries the head. `held` is what filters
/// have let go already, and whether that is all.
///
/// # Errors
/// The body is malformed.
pub(crate) fn first<E: Env>(
    exchange: &Exchange<'_, E>,
    scratch: &mut Scratch,
    held: Option<bool>,
    out: &mut SendBuf<<E::Stream as Stream>::Chunk>,
) -> Result<(), Cause> {
    let Scratch { upload: passage, replay, held: bytes, .. } = scratch;
    // Tries before this one need not have come as far as a send.
    if passage.has_begun() {
        passage.replay(replay, out);
    } else if let Some(ended) = held {
        keep(replay, passage, bytes);
        passage.emit_filtered(bytes, ended, out)?;
    }
    if held.is_some() {
        return Ok(());
    }
    passage.finish_if_empty(out);
    while !passage.is_finished()
        && out.len() < FIRST_BYTES_MAX
        && exchange.down.push_ready(passage, out, (replay, REPLAY_BYTES_MAX))?
    {}
    Ok(())
}

/// Keeps content for another attempt, as long as all of it fits.
fn keep(replay: &mut Vec<u8>, passage: &Passage, content: &[u8]) {
    let so_far = passage.content_bytes == replay.len() as u64;
    if so_far && replay.len() + content.len() <= REPLAY_BYTES_MAX {
        replay.extend_from_slice(content);
    }
}

/// Whether everything that was put into sends so far could go up again.
pub(crate) fn can_replay(passage: &Passage, replay: &[u8]) -> bool {
    passage.content_bytes == replay.len() as u64
}

/// Brings the rest up, as fast as the upstream takes it.
///
/// # Errors
/// The body is malformed, or the downstream ended before it did. An upstream that takes no more
/// is no error here: it may have answered already.
pub(crate) async fn rest<E: Env>(
    worker: &Worker<E>,
    down: Downstream<'_, E>,
    up: Up<'_, E>,
    parts: Parts<'_>,
    filtered: Option<&Filtered<'_, E>>,
    wait: &Waiting<'_>,
    timeouts: &ClusterTimeouts,
) -> Result<(), Cause> {
    let mut bringing = pin!(bring(worker, down, up, parts, filtered, wait, timeouts));
    poll_fn(|context| {
        let brought = bringing.as_mut().poll(context);
        if brought.is_pending() {
            // Behind it: whoever began a send did not ask to be woken.
            up.poll_on(context);
        }
        brought
    })
    .await
}

async fn bring<E: Env>(
    worker: &Worker<E>,
    down: Downstream<'_, E>,
    up: Up<'_, E>,
    parts: Parts<'_>,
    filtered: Option<&Filtered<'_, E>>,
    wait: &Waiting<'_>,
    timeouts: &ClusterTimeouts,
) -> Result<(), Cause> {
    let (env, Parts { passage, replay, listener, request }) = (worker.env(), parts);
    let body = if wait.call_idle.is_none() { down.await_body() } else { None };
    let timeouts_down = &listener.config.timeouts;
    let mut pace = Pace::begin(timeouts_down, env.now(), passage.received_bytes, body);
    let _ends = wait.deadlines.end_upload_on_drop();
    while !passage.is_finished() {
        let (last, received) = (env.now(), passage.received_bytes);
        let due = || wait.call_idle.map_or_else(|| pace.due(last, received), |idle| last + idle);
        wait.deadlines.upload(due());
        let mut out = SendBuf::new(env.buffer());
        match filtered {
            Some(filtered) => {
                let (mut heads, mut piece) = (Heads::sent(request), env.buffer());
                let next = filtered.next_piece(Source::Request, &mut heads, passage, &mut piece);
                let ended = look_again(pace.is_shared(), wait, due, next).await?;
                keep(replay, passage, &piece);
                passage.emit_filtered(&piece, ended, &mut out)?;
                env.recycle(piece);
            }
            None => {
                let kept = &mut *replay;
                let next = poll_fn(|context| {
                    down.poll_push(context, passage, &mut out, (&mut *kept, REPLAY_BYTES_MAX))
                });
                look_again(pace.is_shared(), wait, due, next).await?;
                let most = env.send_bytes_max();
                while !passage.is_finished()
                    && out.len() < most
                    && down.push_ready(passage, &mut out, (&mut *replay, REPLAY_BYTES_MAX))?
                {
                }
            }
        }
        wait.progress.replayable.set(can_replay(passage, replay));
        // While the upstream is slow to read, the downstream owes us nothing. The deadline of the
        // response is not touched: it may be under way already.
        let full = env.now();
        wait.deadlines.upload_taken(full + timeouts.idle);
        if up.sent().await.is_err() {
            wait.response(env.now() + wait.response_head);
            return Ok(());
        }
        pace.pause(env.now().since(full));
        up.start_send(out, passage.rest());
    }
    drop(pace);
    wait.deadlines.upload_taken(env.now() + timeouts.idle);
    let taken = up.settled().await.is_ok();
    wait.response(env.now() + wait.response_head);
    wait.progress.uploaded.set(taken);
    Ok(())
}

/// What an upload tells the time by.
pub(crate) struct Waiting<'a> {
    pub(crate) deadlines: &'a Deadlines,
    pub(crate) progress: &'a Progress,
    /// How long the messages of a gRPC call may pause.
    pub(crate) call_idle: Option<Duration>,
    /// How long the endpoint has for the head of its answer, once it has the request.
    pub(crate) response_head: Duration,
}

impl Waiting<'_> {
    /// The response's head is due at `at`, unless it is there already.
    fn response(&self, at: Time) {
        if !self.progress.begun.get() {
            self.deadlines.download(at, Wait::ResponseHead);
        }
    }
}

/// Waits for `next`, and moves the upload's deadline whenever somebody looks: where bodies share
/// their time, that of one moves when another comes.
async fn look_again<T>(
    shared: bool,
    wait: &Waiting<'_>,
    due: impl Fn() -> Time,
    next: impl Future<Output = Result<T, Cause>>,
) -> Result<T, Cause> {
    let mut next = pin!(next);
    poll_fn(|context| {
        if shared {
            wait.deadlines.upload(due());
        }
        next.as_mut().poll(context)
    })
    .await
}

/// Head and first bytes leave in one send, up to here.
const FIRST_BYTES_MAX: usize = 16 * 1024;
