//! A tunnel from the upgrade to its end.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use penstock_config::ClusterTimeouts;
use penstock_env::{Env, Timer};

use super::direction::{Broken, Direction};
use super::end::End;
use super::policy::{Due, Patience, Policy};
use crate::downstream::Downstream;
use crate::failure::Cause;
use crate::route::Route;
use crate::upstream::Up;
use crate::worker::Worker;

/// What a tunnel has carried, and how it ended.
pub(crate) struct Carried {
    pub(crate) up_bytes: u64,
    pub(crate) down_bytes: u64,
    /// Why it was cut; `None` where both sides ended it.
    pub(crate) cut: Option<Cause>,
}

/// Carries bytes until both sides have ended, one is broken, or nothing moved for too long;
/// `frames` says that they are a WebSocket's.
pub(crate) async fn run<E: Env>(
    worker: &Worker<E>,
    (down, up): (Downstream<'_, E>, Up<'_, E>),
    frames: bool,
    route: &Route,
    timeouts: &ClusterTimeouts,
) -> Carried {
    let ends = || (End::of_downstream(down), End::of_upstream(up));
    let websocket = &route.config.websocket;
    let patience = match frames {
        true => {
            Patience { idle: websocket.idle.unwrap_or(timeouts.upgrade_idle), ping: websocket.ping }
        }
        false => Patience { idle: timeouts.upgrade_idle, ping: None },
    };
    let ((from, to), (back_to, back_from)) = (ends(), ends());
    let mut tunnel = Tunnel {
        worker,
        timer: down.timer(),
        frames,
        upward: Direction::new(worker, from, to, frames.then_some(true)),
        downward: Direction::new(worker, back_from, back_to, frames.then_some(false)),
        policy: Policy::new(patience, worker.env().now()),
    };
    let bell = worker.bell();
    let cut = poll_fn(|context| {
        bell.listen(context.waker());
        tunnel.poll(context)
    })
    .await;
    let (up_bytes, down_bytes) = (tunnel.upward.carried(), tunnel.downward.carried());
    Carried { up_bytes, down_bytes, cut }
}

struct Tunnel<'a, E: Env> {
    worker: &'a Worker<E>,
    timer: &'a E::Timer,
    frames: bool,
    upward: Direction<'a, E>,
    downward: Direction<'a, E>,
    policy: Policy,
}

impl<E: Env> Tunnel<'_, E> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Cause>> {
        loop {
            let now = self.worker.env().now();
            if self.frames && self.policy.goodbye().is_none() && self.worker.is_draining() {
                self.policy.say_goodbye(Cause::Drained, (&mut self.upward, &mut self.downward));
            }
            let up = self.upward.poll(context);
            if let Poll::Ready(Err(broken)) = up {
                let cause = match broken {
                    Broken::From => Cause::DownstreamGone,
                    Broken::To => Cause::UpstreamTruncated,
                };
                return Poll::Ready(self.policy.goodbye().or(Some(cause)));
            }
            let down = self.downward.poll(context);
            if let Poll::Ready(Err(broken)) = down {
                let cause = match broken {
                    Broken::From => Cause::UpstreamTruncated,
                    Broken::To => Cause::DownstreamGone,
                };
                return Poll::Ready(self.policy.goodbye().or(Some(cause)));
            }
            if self.upward.has_ended() && self.downward.has_ended() {
                return Poll::Ready(self.policy.goodbye());
            }
            if self.upward.take_moved() | self.downward.take_moved() {
                self.policy.moved(now);
            }
            if self.frames && self.policy.is_said(&self.upward, &self.downward, now) {
                return Poll::Ready(self.end(context, self.policy.goodbye()));
            }
            self.timer.set(self.policy.due(&self.upward, &self.downward));
            ready!(self.timer.poll_expired(context));
            match self.policy.expired(&mut self.upward, &mut self.downward, self.frames, now) {
                Due::Frame => {}
                Due::Nothing => return Poll::Pending,
                Due::End(cause) => return Poll::Ready(self.end(context, cause)),
            }
        }
    }

    /// Passes ends on where that was not done, and can be.
    fn end(&mut self, context: &mut Context<'_>, cause: Option<Cause>) -> Option<Cause> {
        self.upward.end(context);
        self.downward.end(context);
        cause
    }
}
