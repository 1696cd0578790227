//! Whether, when and whom else a request is asked of: tries, their budget, their pauses.
//!
//! An answer gives way to another endpoint's only while that is sure to be asked: whatever is known
//! to stand against it, the answer that is there goes down.

use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use penstock_balance::{EndpointId, HealthState, TriedSet};
use penstock_config::{ClusterId, ClusterTimeouts, Retry, RetryOn};
use penstock_env::{Env, Timer, TimerExt};
use penstock_wire::grpc::{Code, Pushback};
use penstock_wire::http1::{EditError, Method, ResponseHead, retry_after};

use super::Exchange;
use super::Scratch;
use super::attempt::{Ask, End, Outcome, Progress, Verdict, ask_one, drive};
use super::deadlines::Deadlines;
use super::permits::{Picked, enter, look, pick, wait_for_one};
use crate::failure::{Cause, Side};
use crate::grpc::{self, Ending};
use crate::route::Route;
use crate::worker::{Plan, Worker};

/// The tries of one request: who is asked now, and what may follow.
///
/// Made once and changed in place: an exchange carries it while it lasts.
pub(crate) struct Tries<'a, E: Env> {
    worker: &'a Worker<E>,
    plan: &'a Rc<Plan<E>>,
    retry: &'a Retry,
    key: Option<u64>,
    pub(crate) cluster: ClusterId,
    /// Who is asked.
    endpoint: Cell<EndpointId>,
    tried: Cell<TriedSet>,
    /// Who is asked next, where that was decided.
    next: Cell<Option<EndpointId>>,
    /// Answers that gave way to others.
    answers: Cell<u8>,
    /// No kept connection of HTTP/1 shall be used: one was dead. Those of HTTP/2 are asked first
    /// whether they are over.
    fresh: Cell<bool>,
    /// Another try may follow.
    left: Cell<bool>,
    /// How long the endpoint wants to be waited for before that.
    wait: Cell<Option<Duration>>,
    /// Whether doing the request twice is as good as once (RFC 9110 §9.2.2), or is said to be.
    idempotent: bool,
}

/// Asks one endpoint after the other.
pub(crate) async fn until_answered<E: Env>(
    exchange: &mut Exchange<'_, E>,
    scratch: &mut Scratch,
    route: &Route,
    cluster: ClusterId,
    key: Option<u64>,
    ask: Ask<'_, '_, E>,
) -> Outcome {
    let (worker, plan) = (exchange.worker, exchange.plan);
    let _place = match enter(exchange, cluster, ask.deadlines).await {
        Ok(permit) => permit,
        Err(cause) => return Outcome::Failed(cause),
    };
    plan.cluster(cluster).in_use.budget.request(worker.env().now());
    let method = scratch.request.method();
    let (tries, mut last) = (Tries::new(worker, plan, route, (cluster, key), method), None);
    loop {
        let picked = match tries.next.take() {
            Some(endpoint) => Picked::Endpoint(endpoint),
            None => pick(worker, plan, cluster, key, &tries.tried.get()),
        };
        let endpoint = match picked {
            Picked::Endpoint(endpoint) => endpoint,
            Picked::None => return Outcome::Failed(last.unwrap_or(Cause::NoEndpoint)),
            Picked::Full => {
                let tried = tries.tried.get();
                let waiting = wait_for_one(exchange, cluster, key, &tried, ask.deadlines);
                match Box::pin(waiting).await {
                    Ok(endpoint) => endpoint,
                    Err(cause) => return Outcome::Failed(cause),
                }
            }
        };
        if note(exchange, scratch, (cluster, endpoint), last.is_some(), &ask).is_err() {
            return Outcome::Failed(Cause::HeadTooLarge);
        }
        tries.endpoint.set(endpoint);
        tries.left.set(u32::from(exchange.record.attempts) <= tries.retry.attempts);
        let (cause, verdict) = match ask_one(exchange, scratch, route, &tries, &ask).await {
            End::Answered(after) => return Outcome::Answered(after),
            End::Cut(cause, after) => {
                tries.count_failed(cause);
                return Outcome::Cut(cause, after);
            }
            End::Failed(cause, verdict) => (cause, verdict),
        };
        if verdict != Verdict::Afresh {
            tries.count_failed(cause);
        }
        if !tries.goes_on(cause, verdict) {
            return Outcome::Failed(cause);
        }
        last = Some(cause);
        if verdict == Verdict::Afresh {
            continue;
        }
        let wait = tries.pause(cause, u32::from(exchange.record.attempts));
        if let Err(cause) = rest(exchange, ask.deadlines, wait).await {
            return Outcome::Failed(cause);
        }
    }
}

/// Counts a try that begins, behind one that failed or not, and tells whom it concerns.
fn note<E: Env>(
    exchange: &mut Exchange<'_, E>,
    scratch: &mut Scratch,
    (cluster, endpoint): (ClusterId, EndpointId),
    is_another: bool,
    ask: &Ask<'_, '_, E>,
) -> Result<(), EditError> {
    let (worker, plan) = (exchange.worker, exchange.plan);
    let (counters, ids) =
        (plan.cluster(cluster).metrics.shard(worker.shard()), &worker.schemas().cluster);
    if is_another {
        counters.increment(ids.retries);
    }
    counters.increment(ids.attempts);
    exchange.record.attempts += 1;
    exchange.record.endpoint = Some(endpoint);
    if let Some(filtered) = ask.filtered {
        filtered.endpoint.set(Some(endpoint));
    }
    match ask.deadlines.left(worker.env().now()).filter(|_| exchange.record.call.is_some()) {
        Some(left) => grpc::pass_on(&mut scratch.request, left),
        None => Ok(()),
    }
}

impl<'a, E: Env> Tries<'a, E> {
    fn new(
        worker: &'a Worker<E>,
        plan: &'a Rc<Plan<E>>,
        route: &'a Route,
        (cluster, key): (ClusterId, Option<u64>),
        method: Method,
    ) -> Tries<'a, E> {
        let retry = &route.config.retry;
        Tries {
            worker,
            plan,
            retry,
            key,
            cluster,
            endpoint: Cell::new(EndpointId::new(0)),
            tried: Cell::default(),
            next: Cell::new(None),
            answers: Cell::new(0),
            fresh: Cell::new(false),
            left: Cell::new(false),
            wait: Cell::new(None),
            idempotent: retry.idempotent || method.is_idempotent(),
        }
    }

    /// Counts a try that failed, unless it was given up by who asked, or by a filter.
    fn count_failed(&self, cause: Cause) {
        if !matches!(cause.side(), Side::Downstream | Side::Filter) {
            let counters = self.plan.cluster(self.cluster).metrics.shard(self.worker.shard());
            counters.increment(self.worker.schemas().cluster.tries_failed.at(cause.index()));
        }
    }

    /// Who is asked now.
    pub(crate) fn endpoint(&self) -> EndpointId {
        self.endpoint.get()
    }

    /// How long the endpoint may take over an answer whose body comes now and again.
    pub(crate) fn timeouts_of_streams(&self) -> &'a ClusterTimeouts {
        self.plan.cluster(self.cluster).timeouts(true)
    }

    /// Whether no kept connection of HTTP/1 shall be used.
    pub(crate) fn is_fresh(&self) -> bool {
        self.fresh.get()
    }

    fn look(&self, tried: &TriedSet) -> Picked {
        look(self.worker, self.plan, self.cluster, self.key, tried)
    }

    /// Whether another try may follow an answer.
    fn is_armed(&self) -> bool {
        let answers_left = u32::from(self.answers.get()) < self.retry.answers;
        self.left.get() && answers_left && self.idempotent
    }

    /// Whether another try follows a failure; if so, everything is ready for it.
    fn goes_on(&self, cause: Cause, verdict: Verdict) -> bool {
        if !self.left.get() || verdict == Verdict::Final {
            return false;
        }
        if verdict == Verdict::Afresh {
            self.fresh.set(true);
            return true;
        }
        self.tried.set(self.tried_too());
        // Where nobody is left to be asked, the budget keeps what it has.
        let next = self.next.get().map_or_else(|| self.look(&self.tried.get()), Picked::Endpoint);
        match next {
            Picked::Endpoint(endpoint) => self.next.set(Some(endpoint)),
            Picked::Full => {}
            Picked::None => return false,
        }
        self.answers.set(self.answers.get() + u8::from(cause == Cause::UpstreamUnavailable));
        self.is_allowed(cause)
    }

    fn tried_too(&self) -> TriedSet {
        let mut tried = self.tried.get();
        tried.insert(self.endpoint.get());
        tried
    }

    /// Leaves the endpoint alone for as long as its answer asks for.
    pub(crate) fn heed(&self, response: &ResponseHead) {
        // RFC 9110 §10.2.3: for how long the service will be unavailable. That of 429 (RFC 6585 §4)
        // is about who asked: a client over its limit must not take the endpoint from others.
        if response.status() != 503 {
            return;
        }
        let (env, ready) = (self.worker.env(), self.plan.cluster(self.cluster));
        let unix = Duration::from_micros(env.unix().us);
        let asked = response.fields().value_of(b"retry-after");
        if let Some(wait) = asked.and_then(|value| retry_after(value, unix)) {
            ready.balancer.rest(self.endpoint.get(), wait, &ready.config.outlier, env.now());
        }
    }

    /// Whether the endpoint lets a call that it failed be asked again, and how soon.
    fn is_put_off(&self, pushback: Option<Pushback>) -> bool {
        let max = self.plan.cluster(self.cluster).config.outlier.retry_after_max;
        match pushback {
            Some(_) if max.is_zero() => false,
            Some(Pushback::After(wait)) if wait <= max => {
                self.wait.set(Some(wait));
                false
            }
            Some(_) => true,
            None => false,
        }
    }

    /// Whether the endpoint's answer gives way to another's: it has this status, and this code if
    /// it is that of a gRPC call that has ended.
    pub(crate) fn gives_way(
        &self,
        status: u16,
        ending: Option<Ending>,
        progress: &Progress,
    ) -> bool {
        let asked_for = match ending {
            Some(Ending { code, pushback }) => self.is_on_code(code) && !self.is_put_off(pushback),
            None => self.is_on_status(status),
        };
        if !asked_for || !self.is_armed() || !progress.replayable.get() {
            return false;
        }
        let Picked::Endpoint(other) = self.look(&self.tried_too()) else { return false };
        let other_health = self.plan.cluster(self.cluster).balancer.endpoint(other).load().health();
        if other_health.state() != HealthState::Up {
            return false;
        }
        let allowed = self.take();
        self.next.set(allowed.then_some(other));
        allowed
    }

    /// Whether the code of a call may decide.
    pub(crate) fn looks_at_codes(&self) -> bool {
        self.is_armed()
            && (self.is_on_code(Code::Unavailable) || self.is_on_code(Code::ResourceExhausted))
    }

    /// Whether a request that failed so, and of which nothing was answered, may be asked again.
    pub(crate) fn is_again(&self, cause: Cause, progress: &Progress) -> bool {
        let replayable = progress.replayable.get();
        match cause {
            // Nothing was done with it.
            Cause::UpstreamRefused => replayable,
            // It was decided already.
            Cause::UpstreamUnavailable => true,
            Cause::UpstreamReset => {
                let silent = !progress.heard.get();
                silent && replayable && self.idempotent && self.retry.on.contains(&RetryOn::Reset)
            }
            Cause::UpstreamTimeout => {
                let limited = self.retry.per_try_timeout.is_some();
                limited && replayable && self.idempotent && self.is_on_status(504)
            }
            _ => false,
        }
    }

    /// How long the endpoint has for the head of its answer, of `whole`.
    pub(crate) fn response_head(&self, whole: Duration) -> Duration {
        self.retry.per_try_timeout.map_or(whole, |limit| limit.min(whole))
    }

    fn is_on_status(&self, status: u16) -> bool {
        self.retry.on.iter().any(|on| match on {
            RetryOn::Status502 => status == 502,
            RetryOn::Status503 => status == 503,
            RetryOn::Status504 => status == 504,
            RetryOn::Status5xx => (500..600).contains(&status),
            _ => false,
        })
    }

    fn is_on_code(&self, code: Code) -> bool {
        self.retry.on.iter().any(|on| match on {
            RetryOn::Unavailable => code == Code::Unavailable,
            RetryOn::ResourceExhausted => code == Code::ResourceExhausted,
            _ => false,
        })
    }

    /// Whether the budget has a retry for this failure.
    fn is_allowed(&self, cause: Cause) -> bool {
        match cause {
            // It was taken when that was decided.
            Cause::UpstreamUnavailable => true,
            Cause::UpstreamReset | Cause::UpstreamRefused | Cause::UpstreamTimeout => self.take(),
            // Nothing was sent: no endpoint has more to do for it.
            _ => true,
        }
    }

    fn take(&self) -> bool {
        let ready = self.plan.cluster(self.cluster);
        let share = self.retry.budget.as_f64();
        let taken = ready.in_use.budget.take(self.worker.env().now(), share);
        if !taken {
            let counters = ready.metrics.shard(self.worker.shard());
            counters.increment(self.worker.schemas().cluster.retries_refused);
        }
        taken
    }

    /// How long to wait before the next try, behind `count`: full jitter below a bound that doubles
    /// (AWS Architecture Blog, "Exponential Backoff And Jitter"). Another endpoint is asked at
    /// once where the first took no part.
    fn pause(&self, cause: Cause, count: u32) -> Duration {
        if let Some(wait) = self.wait.take() {
            return wait;
        }
        let answered = matches!(cause, Cause::UpstreamUnavailable | Cause::UpstreamTimeout);
        if !answered && count < 2 {
            return Duration::ZERO;
        }
        let bound = PAUSE_MIN.saturating_mul(1 << count.saturating_sub(1).min(8)).min(PAUSE_MAX);
        Duration::from_micros(u64::from(self.worker.below(bound.as_micros() as u32)))
    }
}

/// Rests while the downstream is there and the route's time lasts.
async fn rest<E: Env>(
    exchange: &Exchange<'_, E>,
    deadlines: &Deadlines,
    wait: Duration,
) -> Result<(), Cause> {
    let (env, down) = (exchange.worker.env(), exchange.down);
    if wait.is_zero() {
        return Ok(());
    }
    // No endpoint is waited for.
    deadlines.suspend_download();
    let timer = env.timer();
    timer.set(env.now() + wait);
    // Boxed: few requests rest, and none shall carry the room for it.
    Box::pin(async {
        let resting = pin!(async {
            timer.expired().await;
            Ok(())
        });
        drive(down, env, deadlines, None, resting).await
    })
    .await
}

/// The bound of the first pause.
const PAUSE_MIN: Duration = Duration::from_millis(25);
/// The bound of every later one, at most.
const PAUSE_MAX: Duration = Duration::from_millis(250);
