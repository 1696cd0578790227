//! What a shard's proxy does between requests: it looks after unused connections, and serves the
//! timers and calls of filters' root contexts.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use penstock_env::{Env, Time, Timer};
use penstock_filter_host::{Attention, Filters, RootCallout};

use crate::callout;
use crate::pool::SWEEP_EVERY;
use crate::worker::{WeakWorker, Worker};

/// Runs as long as the shard's proxy lives, and notices its end with the next sweep.
pub(crate) async fn run<E: Env>(worker: WeakWorker<E>, env: E, filters: Filters) {
    let timer = env.timer();
    let mut sweep_at = env.now() + SWEEP_EVERY;
    loop {
        timer.set(sweep_at.min(filters.next_tick().unwrap_or(Time::NEVER)));
        let attention = {
            let mut attention = pin!(filters.attention());
            poll_fn(|context| match attention.as_mut().poll(context) {
                Poll::Ready(attention) => Poll::Ready(Some(attention)),
                Poll::Pending => timer.poll_expired(context).map(|()| None),
            })
            .await
        };
        let Some(worker) = worker.upgrade() else { return };
        match attention {
            Some(Attention::Ticks) => {}
            Some(Attention::Queues) => filters.serve_queues(),
            Some(Attention::Callout(call)) => perform(&worker, &filters, call),
            None => {
                filters.tick(env.now());
                if env.now() >= sweep_at {
                    worker.sweep_pools();
                    sweep_at = env.now() + SWEEP_EVERY;
                }
            }
        }
    }
}

fn perform<E: Env>(worker: &Worker<E>, filters: &Filters, call: RootCallout) {
    let plan = worker.plan();
    // By name: the call may be of a filter of an earlier snapshot.
    let cluster = plan.snapshot.config.cluster_named(&call.callout.cluster);
    if call.callout.grpc.is_some() {
        let callout = call.callout.clone();
        let caller = callout::grpc::Caller::Root(filters.clone(), call);
        return callout::grpc::start(worker, &plan, cluster, callout, caller);
    }
    let (worker, filters) = (worker.clone(), filters.clone());
    let env = worker.env().clone();
    env.spawn(async move {
        let answer = callout::perform(&worker, &plan, cluster, &call.callout).await;
        filters.answer(&call, answer.as_ref().map_err(|&failure| failure));
    });
}
