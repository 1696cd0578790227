//! One relayed connection from accept to close.

use std::future::Future;
use std::time::Duration;

use penstock_balance::InFlight;
use penstock_env::{CloseKind, Env, SendBuf, Stream, StreamExt, Timer, TimerExt};
use penstock_telemetry::access::Protocol;

use super::carry::{Broken, Carriage, Ended};
use super::connect::{self, Connected};
use super::hello::UNRECOGNIZED_NAME;
use super::record::Record;
use crate::admission::ConnectionPermit;
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
    // A task of its own kind: those without filters are not to have the room for them.
    match worker.plan().snapshot.services[service].config.filters.is_empty() {
        true => worker.env().spawn(session.run()),
        false => worker.env().spawn(session.run_filtered()),
    }
}

/// A connection that has no endpoint yet.
pub(super) struct Session<E: Env> {
    pub(super) worker: Worker<E>,
    pub(super) down: E::Stream,
    pub(super) record: Record,
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
            let Connected { stream: up, in_flight, permit, sent_bytes } =
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
            let carried = (carriage.up.bytes, carriage.down.bytes);
            self.note_end(ended, carried, &up, (in_flight, &permit));
            last_bytes(self.worker.env(), &timer, ended, (&self.down, &up)).await;
            let (down_kind, up_kind) = kinds(ended);
            self.down.close(down_kind);
            up.close(up_kind);
        }
    }

    /// Counts and logs how it ended, with so many bytes carried up and down.
    pub(super) fn note_end(
        &self,
        ended: Ended,
        carried: (u64, u64),
        up: &E::Stream,
        (in_flight, permit): (InFlight, &ConnectionPermit),
    ) {
        let cause = ended.cause();
        match cause.map(Cause::side) {
            Some(Side::Upstream) => in_flight.fail(),
            _ => in_flight.finish(self.record.connect_time(), self.worker.env().now()),
        }
        self.record.finish(
            &self.worker,
            self.down.peer(),
            carried,
            cause,
            (up.peer(), permit.in_use()),
        );
    }
}

/// How the two sides are closed, down and up.
pub(super) fn kinds(ended: Ended) -> (CloseKind, CloseKind) {
    match ended {
        // Behind what is still being sent.
        Ended::Both => (CloseKind::Now, CloseKind::Now),
        // As in Envoy: the client gets what was on its way to it, and an end.
        Ended::Filter(Cause::FilterCloses) => (CloseKind::Now, CloseKind::Reset),
        // An end would look as if nothing were missing.
        Ended::Idle | Ended::Stalled(_) | Ended::Broken(_) | Ended::Filter(_) => {
            (CloseKind::Reset, CloseKind::Reset)
        }
    }
}

/// Ends a connection that has no endpoint.
pub(super) fn refuse<E: Env>(down: E::Stream, cause: Cause) {
    match cause {
        Cause::FilterCloses => down.close(CloseKind::Now),
        Cause::TlsUnknownName => {
            down.start_send(SendBuf::of(UNRECOGNIZED_NAME.to_vec()));
            down.close(CloseKind::Now);
        }
        // Who connected hears that nobody is there, as it would without us.
        _ => down.close(CloseKind::Reset),
    }
}

/// Lets the send under way to the side that is still there be taken before a reset is passed on,
/// for a while.
pub(super) async fn last_bytes<E: Env>(
    env: &E,
    timer: &E::Timer,
    ended: Ended,
    (down, up): (&E::Stream, &E::Stream),
) {
    let stream = match ended {
        Ended::Broken(Broken::Up) => down,
        Ended::Broken(Broken::Down) => up,
        Ended::Both | Ended::Idle | Ended::Stalled(_) | Ended::Filter(_) => return,
    };
    timer.set(env.now() + LAST_SEND);
    // Whether it is taken or not, the reset follows.
    let _ = timer.race(stream.sent()).await;
}

/// How long the last bytes before a reset may take.
pub(super) const LAST_SEND: Duration = Duration::from_secs(10);
