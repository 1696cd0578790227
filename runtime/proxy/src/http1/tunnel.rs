//! After an upgrade: bytes both ways, looked at by nobody.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use penstock_config::ClusterTimeouts;
use penstock_env::{Env, SendBuf, Stream, StreamExt, Timer};

use super::deadlines::Deadlines;
use super::exchange::Exchange;
use crate::downstream::Downstream;
use crate::failure::Cause;
use crate::worker::Worker;

use std::cell::Cell;

/// Carries bytes until both sides have ended, one is broken, or nothing moved for too long.
/// `None` is an orderly end.
pub(crate) async fn run<E: Env>(
    exchange: &mut Exchange<'_, E>,
    up: E::Stream,
    deadlines: &Deadlines,
    timeouts: &ClusterTimeouts,
) -> Option<Cause> {
    deadlines.lift();
    // Streams of HTTP/2 can't be upgraded (RFC 9113 §8.6), and are never asked to.
    let Downstream::Http1(down) = exchange.down else { return Some(Cause::Internal) };
    let worker = exchange.worker;
    let (env, moved) = (worker.env(), Cell::new(0_u64));
    let carried_down = Cell::new(0_u64);
    let mut upward = pin!(carry(worker, &down.stream, &up, &moved, None));
    let mut downward = pin!(carry(worker, &up, &down.stream, &moved, Some(&carried_down)));
    let (mut up_ended, mut down_ended) = (false, false);
    let (mut seen, idle) = (0, timeouts.upgrade_idle);
    down.timer.set(env.now() + idle);
    let ended = poll_fn(|context| {
        if !up_ended && let Poll::Ready(ended) = upward.as_mut().poll(context) {
            up_ended = true;
            if ended.is_err() {
                return Poll::Ready(Some(Cause::DownstreamGone));
            }
        }
        if !down_ended && let Poll::Ready(ended) = downward.as_mut().poll(context) {
            down_ended = true;
            if ended.is_err() {
                return Poll::Ready(Some(Cause::UpstreamTruncated));
            }
        }
        if up_ended && down_ended {
            return Poll::Ready(None);
        }
        if moved.get() != seen {
            seen = moved.get();
            down.timer.set(env.now() + idle);
        }
        down.timer.poll_expired(context).map(|()| Some(Cause::TunnelIdle))
    })
    .await;
    exchange.record.bytes_out += carried_down.get();
    ended
}

/// Carries one direction to its end, which is passed on.
async fn carry<E: Env>(
    worker: &Worker<E>,
    from: &E::Stream,
    to: &E::Stream,
    moved: &Cell<u64>,
    carried: Option<&Cell<u64>>,
) -> std::io::Result<()> {
    while let Some(chunk) = from.recv().await? {
        let mut out = SendBuf::new(worker.env().buffer());
        let mut next = Some(chunk);
        while let Some(chunk) = next.take() {
            out.push_chunk(chunk);
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            if out.len() < SEND_BYTES_MAX
                && let Poll::Ready(Ok(Some(more))) = from.poll_recv(&mut context)
            {
                next = Some(more);
            }
        }
        moved.set(moved.get() + 1);
        if let Some(carried) = carried {
            carried.set(carried.get() + out.len() as u64);
        }
        to.send(out).await?;
        to.sent().await?;
    }
    to.shutdown_write();
    Ok(())
}

const SEND_BYTES_MAX: usize = 32 * 1024;
