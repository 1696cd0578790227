//! One connection with filters, from accept to close.

use std::future::poll_fn;
use std::task::Poll;

use penstock_config::ClusterId;
use penstock_env::{CloseKind, Env, SendBuf, Stream, StreamExt, Timer, TimerExt};
use penstock_filter_host::Half;
use penstock_filter_host::abi::PeerType;

use super::carry::Carriage;
use super::filters::Filters;
use super::shown::{Cut, Shown};
use crate::failure::{Cause, Side};
use crate::relay::carry::Ended;
use crate::relay::connect::{self, Call, Connected};
use crate::relay::hello::Hello;
use crate::relay::record::Record;
use crate::relay::session::{LAST_SEND, Session, kinds, last_bytes, refuse};
use crate::worker::{Plan, Worker};

impl<E: Env> Session<E> {
    /// Serves a connection of a service with filters to its end.
    pub(in crate::relay) async fn run_filtered(mut self) {
        let (worker, timer) = (self.worker.clone(), self.worker.env().timer());
        let begun = begin(&worker, &self.down, &self.record);
        let Some(mut filters) = begun else {
            let nobody = (None, None);
            let cause = Cause::FilterFailed;
            self.record.refuse(&worker, &worker.plan(), self.down.peer(), cause, nobody);
            return self.down.close(CloseKind::Reset);
        };
        let mut shown = Shown::default();
        let opening =
            open(&worker, &self.down, &mut self.record, (&mut filters, &mut shown), &timer);
        let Connected { stream: up, in_flight, permit, sent_bytes } = match Box::pin(opening).await
        {
            Ok(connected) => connected,
            Err(cause) => {
                let gone = cause.side() == Side::Downstream;
                filters.finish(if gone { PeerType::Remote } else { PeerType::Local }, None);
                drop(filters);
                return refuse::<E>(self.down, cause);
            }
        };
        // The end of a drain, or a bug of ours: nothing else would tell it from an end.
        self.down.reset_if_dropped();
        up.reset_if_dropped();
        filters.connect(up.peer());
        shown.bytes = sent_bytes;
        let mut carriage = Carriage::new(&filters, shown);
        let streams = (&self.down, &up);
        let ended = carriage.run(&worker, &self.record, &mut filters, streams, &timer).await;
        let (downstream, upstream) = carriage.closers(ended);
        filters.finish(downstream, Some(upstream));
        let rest = filters.take_passed(Half::Upstream);
        drop(filters);
        if ended == Ended::Filter(Cause::FilterCloses) && !rest.is_empty() {
            // Let go before it was closed: the client gets it, if it takes it in time.
            timer.set(worker.env().now() + LAST_SEND);
            let _ = timer.race(self.down.send(SendBuf::of(rest))).await;
        }
        self.note_end(ended, carriage.carried(), &up, (in_flight, &permit));
        last_bytes(worker.env(), &timer, ended, (&self.down, &up)).await;
        let (down_kind, up_kind) = kinds(ended);
        self.down.close(down_kind);
        up.close(up_kind);
    }
}

/// The filters of a connection; `None` where its service is gone, and they with it.
fn begin<'a, E: Env>(
    worker: &'a Worker<E>,
    down: &'a E::Stream,
    record: &Record,
) -> Option<Filters<'a, E>> {
    let plan = worker.plan();
    let service = &plan.snapshot.services[record.service()];
    let links = &service.filters;
    (!service.removed).then(|| Filters::new(worker, down, &service.config.name, links))
}

/// Connects to an endpoint, if the filters let it.
///
/// # Errors
/// They don't, or nobody could be connected to: that is counted and logged.
async fn open<E: Env>(
    worker: &Worker<E>,
    down: &E::Stream,
    record: &mut Record,
    (filters, shown): (&mut Filters<'_, E>, &mut Shown),
    timer: &E::Timer,
) -> Result<Connected<E::Stream>, Cause> {
    let (plan, mut hello, mut tried) = (worker.plan(), Hello::default(), None);
    let chosen = connect::choose(worker, &plan, (down, timer), record.service(), &mut hello).await;
    let opened = match chosen {
        Ok(cluster) => {
            filters.choose(&plan.cluster(cluster).config.name, hello.server_name);
            shown.unseen = hello.bytes;
            match admit(worker, (&plan, record.service()), down, (filters, shown), timer).await {
                Ok(first) => {
                    let call = Call { worker, plan: &plan, cluster, down, timer };
                    filters.beside(call.until_connected(record, &mut tried, first)).await
                }
                Err(cause) => Err(cause),
            }
        }
        Err(cause) => Err(cause),
    };
    let cluster: Option<ClusterId> = chosen.ok();
    opened.inspect_err(|&cause| {
        record.refuse(worker, &plan, down.peer(), cause, (cluster, tried));
    })
}

/// Waits until the filters let the connection go to an endpoint; the bytes that go there first.
async fn admit<E: Env>(
    worker: &Worker<E>,
    (plan, service): (&Plan<E>, usize),
    down: &E::Stream,
    (filters, shown): (&mut Filters<'_, E>, &mut Shown),
    timer: &E::Timer,
) -> Result<Vec<u8>, Cause> {
    let (env, half) = (worker.env(), Half::Downstream);
    filters.begin()?;
    timer.set(env.now() + plan.snapshot.services[service].config.timeouts.idle);
    poll_fn(|context| {
        loop {
            filters.poll(context)?;
            if filters.is_admitted() {
                return Poll::Ready(Ok(()));
            }
            match shown.poll_show(env, (half, &mut *filters), down, context) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(Cut::Filter(cause))) => return Poll::Ready(Err(cause)),
                Poll::Ready(Err(Cut::Torn(_))) => return Poll::Ready(Err(Cause::DownstreamGone)),
                Poll::Pending => break,
            }
        }
        timer.poll_expired(context).map(|()| Err(Cause::FilterStalled))
    })
    .await?;
    let mut first = filters.take_passed(half);
    if !filters.wants(half) {
        first.append(&mut shown.unseen);
    }
    Ok(first)
}
