//! One request and its answer: which route, what is done, what is counted.

use std::rc::Rc;

use penstock_config::{Action, ClusterId, Forward};
use penstock_env::{Env, Time};
use penstock_wire::http1::Method;

use super::Scratch;
use super::attempt::{self, Outcome};
use super::connection::Downstream;
use super::deadlines::Deadlines;
use super::head::Arrival;
use super::record::Record;
use super::{edit, respond, target};
use crate::failure::Cause;
use crate::route::Route;
use crate::snapshot::Listener;
use crate::worker::{Plan, Worker};

/// What becomes of the connection after an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// The next request may come.
    KeepAlive,
    /// It is closed once everything is sent.
    Close,
    /// The same, but the peer is still sending: its bytes are read and dropped for a while.
    Linger,
    /// It is cut: what was sent so far is no whole message, and only a reset says so.
    Reset,
    /// It is closed already.
    Gone,
}

/// An exchange under way: where it is, and what is known of it.
pub(crate) struct Exchange<'a, E: Env> {
    pub(crate) worker: &'a Worker<E>,
    pub(crate) plan: &'a Rc<Plan<E>>,
    pub(crate) down: &'a Downstream<E>,
    pub(crate) listener: &'a Listener,
    pub(crate) record: Record,
}

/// Answers the request in `scratch`.
pub(crate) async fn run<E: Env>(
    worker: &Worker<E>,
    plan: &Rc<Plan<E>>,
    down: &Downstream<E>,
    scratch: &mut Scratch,
    arrival: Arrival,
) -> After {
    let _under_way = worker.begin_request();
    let listener = &plan.snapshot.listeners[down.life.listener];
    let mut exchange = Exchange { worker, plan, down, listener, record: Record::new(arrival) };
    exchange.note_head(scratch);
    let after = exchange.answer(scratch).await;
    exchange.finish(scratch);
    after
}

impl<E: Env> Exchange<'_, E> {
    async fn answer(&mut self, scratch: &mut Scratch) -> After {
        // RFC 9110 §9.3.6, §9.3.8: CONNECT is for forward proxies, TRACE reflects credentials.
        if matches!(scratch.request.method(), Method::Connect | Method::Trace) {
            return respond::fail(self, scratch, Cause::MethodNotAllowed).await;
        }
        let plan = Rc::clone(self.plan);
        let routes = &plan.snapshot.listeners[self.down.life.listener].routes;
        let path = match target::path_to_match(routes, &scratch.request, &mut scratch.path) {
            Ok(path) => path,
            Err(cause) => return respond::fail(self, scratch, cause).await,
        };
        let Some(route) = routes.find(&scratch.request, path) else {
            return respond::fail(self, scratch, Cause::NoRoute).await;
        };
        self.record.route = Some(route.index);
        match &route.config.action {
            Action::Respond(fixed) => respond::fixed(self, scratch, fixed).await,
            Action::Redirect(redirect) => respond::redirect(self, scratch, redirect).await,
            Action::Forward(forward) => self.forward(scratch, route, forward).await,
        }
    }

    async fn forward(&mut self, scratch: &mut Scratch, route: &Route, forward: &Forward) -> After {
        let cluster = self.choose(forward);
        self.record.cluster = Some(cluster);
        let key = target::hash_key(self, scratch, cluster);
        if let Err(cause) = edit::request(scratch, route) {
            return respond::fail(self, scratch, cause).await;
        }
        let until = route.config.timeout.map_or(Time::NEVER, |limit| self.record.first + limit);
        let deadlines = Deadlines::new(until);
        match attempt::until_answered(self, scratch, route, cluster, key, &deadlines).await {
            Outcome::Answered(after) => after,
            Outcome::Failed(cause) => respond::fail(self, scratch, cause).await,
            Outcome::Cut(cause, after) => {
                self.fail(cause);
                after
            }
        }
    }

    /// The cluster that this request goes to, by weight where there are several.
    fn choose(&self, forward: &Forward) -> ClusterId {
        if let Some(cluster) = forward.only() {
            return cluster;
        }
        let mut left = self.worker.below(forward.weight_total());
        let shares = forward.shares();
        let chosen = shares.iter().find(|share| {
            let weight = share.weight.shares();
            let here = left < weight;
            left = left.saturating_sub(weight);
            here
        });
        chosen.unwrap_or(&shares[0]).cluster
    }

    /// Notes a failure, and counts it.
    pub(crate) fn fail(&mut self, cause: Cause) {
        self.record.cause = Some(cause);
        self.worker.count_failure(self.plan, cause);
    }

    /// Whether the connection can take another request after this response.
    pub(crate) fn keeps_alive(&self, scratch: &Scratch) -> bool {
        let requests_max = self.listener.config.limits.connection_requests_max;
        scratch.request.keep_alive() && !self.down.is_at_its_end(self.worker, requests_max)
    }
}
