//! The request's body on its way up.

use penstock_env::{Env, SendBuf, Stream, StreamExt, Time};
use penstock_wire::http1::{BodyDecoder, Framing, RequestHead};

use super::Scratch;
use super::attempt::Progress;
use super::body::Relay;
use super::connection::{Downstream, GONE};
use super::deadlines::{Deadlines, Wait};
use super::exchange::Exchange;
use crate::failure::Cause;
use crate::snapshot::{Cluster, Listener};
use crate::worker::Worker;

/// Bodies up to this are kept until the response begins, so that another endpoint can be asked.
const REPLAY_BYTES_MAX: usize = 64 * 1024;

/// The scratch's parts that an upload works on.
pub(crate) struct Parts<'a> {
    pub(crate) relay: &'a mut Relay,
    pub(crate) replay: &'a mut Vec<u8>,
    pub(crate) listener: &'a Listener,
}

/// How the body goes up: as it came.
pub(crate) fn framing_up(request: &RequestHead) -> Framing {
    request.framing()
}

/// Makes ready for the request's body, before the first attempt.
pub(crate) fn begin<E: Env>(exchange: &Exchange<'_, E>, scratch: &mut Scratch) {
    let framing = scratch.request.framing();
    scratch.replay.clear();
    if framing == Framing::None {
        scratch.upload.restart(Framing::None, Framing::None);
        return;
    }
    let listener = exchange.listener;
    scratch.upload.decoder =
        BodyDecoder::for_request(framing, &listener.body_limits, listener.lenient);
    scratch.upload.restart(framing, framing_up(&scratch.request));
}

/// Adds what is there of the body to the send that carries the head.
///
/// # Errors
/// The body is malformed.
pub(crate) fn first<E: Env>(
    exchange: &Exchange<'_, E>,
    scratch: &mut Scratch,
    out: &mut SendBuf<<E::Stream as Stream>::Chunk>,
) -> Result<(), Cause> {
    let relay = &mut scratch.upload;
    if exchange.record.attempts > 1 {
        relay.replay(&scratch.replay, out);
    }
    relay.finish_if_empty(out);
    while !relay.is_finished() && out.len() < FIRST_BYTES_MAX {
        let Some(chunk) = exchange.down.take_ready() else { break };
        relay.push_kept(
            chunk,
            &exchange.down.stream,
            out,
            &mut scratch.replay,
            REPLAY_BYTES_MAX,
        )?;
    }
    Ok(())
}

/// Whether everything that went up so far could go up again.
pub(crate) fn can_replay(relay: &Relay, replay: &[u8]) -> bool {
    relay.content_bytes == replay.len() as u64
}

/// Brings the rest up, as fast as the upstream takes it.
///
/// # Errors
/// The body is malformed, or the downstream ended before it did. An upstream that takes no more
/// is no error here: it may have answered already.
pub(crate) async fn rest<E: Env>(
    worker: &Worker<E>,
    down: &Downstream<E>,
    up: &E::Stream,
    parts: Parts<'_>,
    deadlines: &Deadlines,
    progress: &Progress,
    cluster: &Cluster,
) -> Result<(), Cause> {
    let (env, Parts { relay, replay, listener }) = (worker.env(), parts);
    let timeouts = &listener.config.timeouts;
    let mut begun = env.now();
    while !relay.is_finished() {
        // Slow, but not stalled, is allowed down to a rate, measured after a while.
        let rate = timeouts.body_rate_min.as_u64();
        let earned = match (relay.received_bytes * 1_000).checked_div(rate) {
            Some(ms) => begun + timeouts.body_rate_after.max(std::time::Duration::from_millis(ms)),
            None => Time::NEVER,
        };
        deadlines.upload(earned.min(env.now() + timeouts.body_stall));
        let chunk = match down.stream.recv().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) | Err(_) => return Err(GONE),
        };
        let mut out = SendBuf::new(env.buffer());
        relay.push_kept(chunk, &down.stream, &mut out, replay, REPLAY_BYTES_MAX)?;
        while !relay.is_finished() && out.len() < SEND_BYTES_MAX {
            let Some(chunk) = down.take_ready() else { break };
            relay.push_kept(chunk, &down.stream, &mut out, replay, REPLAY_BYTES_MAX)?;
        }
        // While the upstream is slow to read, the downstream owes us nothing. The deadline of the
        // response is not touched: it may be under way already.
        let full = env.now();
        deadlines.upload_taken(full + cluster.config.timeouts.idle);
        if up.sent().await.is_err() {
            return Ok(());
        }
        begun = begun + env.now().since(full);
        up.start_send(out);
    }
    deadlines.upload(Time::NEVER);
    if !progress.begun.get() {
        let until = env.now() + cluster.config.timeouts.response_head;
        deadlines.download(until, Wait::ResponseHead);
    }
    progress.uploaded.set(true);
    Ok(())
}

/// Head and first bytes leave in one send, up to here.
const FIRST_BYTES_MAX: usize = 16 * 1024;
/// One send's worth.
const SEND_BYTES_MAX: usize = 32 * 1024;
