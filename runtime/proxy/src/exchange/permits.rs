//! A request's permits: among its cluster's requests, at an endpoint, on a connection.
//!
//! Whoever waits for one is watched like any exchange: a downstream that is gone, or a route's
//! time that is over, ends the wait and gives the turn to the next.

use std::future::Future;
use std::pin::pin;

use penstock_balance::{EndpointId, TriedSet};
use penstock_config::ClusterId;
use penstock_env::Env;

use super::Exchange;
use super::attempt::drive;
use super::deadlines::Deadlines;
use crate::admission::{ConnectionPermit, For, RequestPermit, Upstream};
use crate::failure::Cause;
use crate::worker::{Plan, Worker};

/// A permit among the cluster's requests, waited for if need be.
pub(crate) async fn enter<E: Env>(
    exchange: &mut Exchange<'_, E>,
    cluster: ClusterId,
    deadlines: &Deadlines,
) -> Result<RequestPermit, Cause> {
    let (plan, env) = (exchange.plan, exchange.worker.env());
    let (ready, queue) = (plan.cluster(cluster), plan.queue(cluster));
    let limits = &ready.config.limits;
    if let Some(permit) = queue.enter(&ready.in_use, limits.requests_max) {
        return Ok(permit);
    }
    let maxima = (limits.requests_max, limits.queued_max);
    let until = env.now() + ready.config.timeouts.queue;
    let begun = env.now();
    // Boxed: few requests wait, and none shall carry the room for it.
    let waiting = queue.wait_to_enter(env, &ready.in_use, maxima, until);
    let permit = Box::pin(watched(exchange, deadlines, waiting)).await;
    exchange.record.add_queue(env.now().since(begun));
    permit
}

/// Waits while the downstream is there and the route's time lasts.
async fn watched<E: Env, T>(
    exchange: &Exchange<'_, E>,
    deadlines: &Deadlines,
    waiting: impl Future<Output = Result<T, Cause>>,
) -> Result<T, Cause> {
    let (env, down) = (exchange.worker.env(), exchange.down);
    // What an attempt before this one waited for is over.
    deadlines.suspend_download();
    drive(down, env, deadlines, None, pin!(waiting)).await
}

pub(crate) enum Picked {
    Endpoint(EndpointId),
    /// Those that could be asked have as many requests as they may.
    Full,
    None,
}

/// An endpoint that was not tried and has room for another request, which goes there.
pub(crate) fn pick<E: Env>(
    worker: &Worker<E>,
    plan: &Plan<E>,
    cluster: ClusterId,
    key: Option<u64>,
    tried: &TriedSet,
) -> Picked {
    let line = line_of(key, tried);
    if line == For::Endpoint && !plan.queue(cluster).is_empty(line) {
        // Behind those that have waited for it.
        return Picked::Full;
    }
    find(worker, plan, cluster, key, tried)
}

/// Where a request waits for an endpoint.
fn line_of(key: Option<u64>, tried: &TriedSet) -> For {
    match key {
        None if tried.count() == 0 => For::Endpoint,
        _ => For::CertainEndpoint,
    }
}

fn find<E: Env>(
    worker: &Worker<E>,
    plan: &Plan<E>,
    cluster: ClusterId,
    key: Option<u64>,
    tried: &TriedSet,
) -> Picked {
    with_room(plan, cluster, tried, |passed| worker.pick_or_try(plan, cluster, key, passed))
}

/// The same, while it is not sure that the request goes there: no endpoint's trial is used up.
pub(crate) fn look<E: Env>(
    worker: &Worker<E>,
    plan: &Plan<E>,
    cluster: ClusterId,
    key: Option<u64>,
    tried: &TriedSet,
) -> Picked {
    with_room(plan, cluster, tried, |passed| worker.pick(plan, cluster, key, passed))
}

fn with_room<E: Env>(
    plan: &Plan<E>,
    cluster: ClusterId,
    tried: &TriedSet,
    pick: impl Fn(&TriedSet) -> Option<EndpointId>,
) -> Picked {
    let ready = plan.cluster(cluster);
    let max = ready.config.limits.endpoint_requests_max;
    let (mut passed, mut full) = (*tried, false);
    for _ in 0..PICKS_MAX {
        match pick(&passed) {
            Some(id) if ready.balancer.endpoint(id).load().in_flight() < max => {
                return Picked::Endpoint(id);
            }
            Some(id) => {
                full = true;
                passed.insert(id);
            }
            None => break,
        }
    }
    if full { Picked::Full } else { Picked::None }
}

pub(crate) async fn wait_for_one<E: Env>(
    exchange: &mut Exchange<'_, E>,
    cluster: ClusterId,
    key: Option<u64>,
    tried: &TriedSet,
    deadlines: &Deadlines,
) -> Result<EndpointId, Cause> {
    let (plan, env) = (exchange.plan, exchange.worker.env());
    let (config, begun) = (&plan.cluster(cluster).config, env.now());
    let limits = (config.limits.queued_max, begun + config.timeouts.queue);
    let line = line_of(key, tried);
    let waiting = plan.queue(cluster).wait_for(env, line, limits, |is_first| {
        // Certain endpoints are nothing that others in the line could use.
        if !is_first && line == For::Endpoint {
            return None;
        }
        match find(exchange.worker, plan, cluster, key, tried) {
            Picked::Endpoint(endpoint) => Some(endpoint),
            Picked::Full | Picked::None => None,
        }
    });
    let found = watched(exchange, deadlines, waiting).await;
    exchange.record.add_queue(env.now().since(begun));
    found
}

/// What a request that wants to connect can be given.
pub(crate) enum Found<S> {
    Unused(Upstream<S>),
    Permit(ConnectionPermit),
}

/// Waits for a connection that became free, or for room for another one.
pub(crate) async fn wait_to_connect<E: Env>(
    exchange: &mut Exchange<'_, E>,
    cluster: ClusterId,
    endpoint: EndpointId,
    deadlines: &Deadlines,
) -> Result<Found<E::Stream>, Cause> {
    let (plan, env) = (exchange.plan, exchange.worker.env());
    let (ready, begun) = (plan.cluster(cluster), env.now());
    let (limits, timeouts) = (&ready.config.limits, &ready.config.timeouts);
    let _wanting = ready.in_use.want();
    let until = begun + timeouts.queue;
    let find = |is_first: bool| {
        if !is_first {
            return None;
        }
        let unused = plan.pool(cluster, endpoint).take(env.now(), timeouts.keep_alive);
        let permit = || exchange.worker.connection_permit(plan, cluster).map(Found::Permit);
        unused.map(Found::Unused).or_else(permit)
    };
    let queue = plan.queue(cluster);
    let waiting = queue.wait_for(env, For::Connection, (limits.queued_max, until), find);
    let found = watched(exchange, deadlines, waiting).await;
    exchange.record.add_queue(env.now().since(begun));
    found
}

/// How many full endpoints are passed by before a request waits.
const PICKS_MAX: usize = 4;
