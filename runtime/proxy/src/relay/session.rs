//! One relayed connection from accept to close.

use std::future::Future;
use std::time::Duration;

use penstock_env::{CloseKind, Env, SendBuf, Stream, StreamExt, Timer, TimerExt};
use penstock_telemetry::access::Protocol;

use super::carry::{Broken, Carriage, Ended};
use super::connect::{self, Connected};
use super::hello::UNRECOGNIZED_NAME;
use super::record::Record;
use crate::failure::{Cause, Side};
use crate::worker::{ConnectionGuard, RequestGuard, Worker};

/// Serves a connection that was just accepted at a service.
pub(crate) fn serve<E: Env>(
    worker: &Worker<E>,
    service: usize,
    stream: E::Stream,
    guard: ConnectionGuard<E>,
) {
    let session = Session {
        record: Record::new(worker, service, Protocol::Tcp),
        worker: worker.clone(),
        down: stream,
        _guard: guard,
        _under_way: worker.begin_request(),
    };
    worker.env().spawn(session.run());
}

/// A connection that has no endpoint yet.
struct Session<E: Env> {
    worker: Worker<E>,
    down: E::Stream,
    record: Record,
    _guard: ConnectionGuard<E>,
    /// A drain waits for connections, and counts those that it cuts.
    _under_way: RequestGuard<E>,
}

impl<E: Env> Session<E> {
    /// Serves it to its end.
    #[allow(clippy::manual_async_fn, reason = "an `async fn` keeps what it is given twice")]
    fn run(mut self) -> impl Future<Output = ()> {
        async move {
            // A block takes only what it names: the guards are to stay as long as the rest.
            let _ = &self;
            // Boxed: it is short, and needs more room than all that comes after it.
            let connecting = connect::connect(&self.worker, &self.down, &mut self.record);
            let Connected { stream: up, in_flight, place, sent_bytes } =
                match Box::pin(connecting).await {
                    Ok(connected) => connected,
                    Err(cause) => return refuse::<E>(self.down, cause),
                };
            // The end of a drain, or a bug of ours: nothing else would tell it from an end.
            self.down.reset_if_dropped();
            up.reset_if_dropped();
            let timer = self.worker.env().timer();
            let mut carriage = Carriage::behind(sent_bytes);
            let ended = carriage.run(&self.worker, &self.record, (&self.down, &up), &timer).await;
            let env = self.worker.env();
            let cause = match ended {
                Ended::Both => None,
                Ended::Idle => Some(Cause::TunnelIdle),
                Ended::Stalled(Broken::Down) => Some(Cause::DownstreamStalled),
                Ended::Stalled(Broken::Up) => Some(Cause::UpstreamStalled),
                Ended::Broken(Broken::Down) => Some(Cause::DownstreamGone),
                Ended::Broken(Broken::Up) => Some(Cause::UpstreamReset),
            };
            match cause.map(Cause::side) {
                Some(Side::Upstream) => in_flight.fail(),
                _ => in_flight.finish(self.record.connect_time(), env.now()),
            }
            let carried = (carriage.up.bytes, carriage.down.bytes);
            self.record.finish(&self.worker, self.down.peer(), carried, cause, (up.peer(), &place));
            match ended {
                // Behind what is still being sent.
                Ended::Both => {
                    self.down.close(CloseKind::Now);
                    up.close(CloseKind::Now);
                }
                // An end would look as if nothing were missing.
                Ended::Idle | Ended::Stalled(_) => {
                    self.down.close(CloseKind::Reset);
                    up.close(CloseKind::Reset);
                }
                Ended::Broken(Broken::Up) => {
                    last_send(env, &timer, &self.down).await;
                    self.down.close(CloseKind::Reset);
                }
                Ended::Broken(Broken::Down) => {
                    last_send(env, &timer, &up).await;
                    up.close(CloseKind::Reset);
                }
            }
        }
    }
}

/// Ends a connection that has no endpoint.
fn refuse<E: Env>(down: E::Stream, cause: Cause) {
    match cause {
        Cause::TlsUnknownName => {
            down.start_send(SendBuf::of(UNRECOGNIZED_NAME.to_vec()));
            down.close(CloseKind::Now);
        }
        // Who connected hears that nobody is there, as it would without us.
        _ => down.close(CloseKind::Reset),
    }
}

/// Lets the send under way be taken before a reset is passed on, for a while.
async fn last_send<E: Env>(env: &E, timer: &E::Timer, stream: &E::Stream) {
    timer.set(env.now() + LAST_SEND);
    // Whether it is taken or not, the reset follows.
    let _ = timer.race(stream.sent()).await;
}

/// How long the last bytes before a reset may take.
const LAST_SEND: Duration = Duration::from_secs(10);
