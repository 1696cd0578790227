//! When something is done about a tunnel that does nothing by itself: pings, idleness, goodbye.

use std::time::Duration;

use penstock_env::{Env, Time};

use super::direction::{Direction, Ours};
use crate::failure::Cause;

/// How long a tunnel may be silent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    pub(super) idle: Duration,
    /// Silence after which a peer of a WebSocket is asked whether it is there.
    pub(super) ping: Option<Duration>,
}

/// What a tunnel waits for.
pub(super) struct Policy {
    patience: Patience,
    /// When something moved last.
    moved_at: Time,
    /// Why both were told that it ends.
    goodbye: Option<Cause>,
    /// Until when both may answer to that.
    close_by: Time,
}

/// What became due.
pub(super) enum Due {
    /// A frame of ours shall go in.
    Frame,
    /// The tunnel is over; a cause where that is our doing.
    End(Option<Cause>),
    /// Nothing yet.
    Nothing,
}

impl Policy {
    /// From `now` on.
    pub(super) fn new(patience: Patience, now: Time) -> Policy {
        Policy { patience, moved_at: now, goodbye: None, close_by: Time::NEVER }
    }

    /// Something moved.
    pub(super) fn moved(&mut self, now: Time) {
        self.moved_at = now;
    }

    /// Why both were told that it ends, if they were.
    pub(super) fn goodbye(&self) -> Option<Cause> {
        self.goodbye
    }

    /// Tells both that it ends.
    pub(super) fn say_goodbye<E: Env>(
        &mut self,
        cause: Cause,
        (upward, downward): (&mut Direction<'_, E>, &mut Direction<'_, E>),
    ) {
        self.goodbye = Some(cause);
        upward.want(Ours::Close);
        downward.want(Ours::Close);
    }

    /// Looks at how far a goodbye has come, ours or that of the peers; whether nothing more is to
    /// come.
    pub(super) fn is_said<E: Env>(
        &mut self,
        upward: &Direction<'_, E>,
        downward: &Direction<'_, E>,
        now: Time,
    ) -> bool {
        let over = upward.is_over() && downward.is_over();
        let told = upward.is_closing() && downward.is_closing();
        if (over || told) && self.close_by == Time::NEVER {
            self.close_by = now + CLOSE_WAIT;
        }
        over && self.goodbye.is_some()
    }

    /// When something becomes due.
    pub(super) fn due<E: Env>(
        &self,
        upward: &Direction<'_, E>,
        downward: &Direction<'_, E>,
    ) -> Time {
        let idle = match self.goodbye {
            None => self.moved_at + self.patience.idle,
            // Whoever doesn't take our frame has as long as a drain has.
            Some(_) => Time::NEVER,
        };
        let pings = self.ping_due(upward, downward).min(self.ping_due(downward, upward));
        self.close_by.min(idle).min(pings)
    }

    /// When the peer that `toward` leads to is asked, or given up.
    fn ping_due<E: Env>(&self, from: &Direction<'_, E>, toward: &Direction<'_, E>) -> Time {
        let Some(ping) = self.patience.ping.filter(|_| self.goodbye.is_none()) else {
            return Time::NEVER;
        };
        match asked_at(from, toward) {
            _ if from.is_over() => Time::NEVER,
            Some(asked_at) => asked_at + ping,
            // In the middle of a frame it waits, and the peer with it.
            None if toward.is_wanting() => Time::NEVER,
            None => from.heard_at() + ping,
        }
    }

    /// What became due by `now`.
    pub(super) fn expired<E: Env>(
        &mut self,
        upward: &mut Direction<'_, E>,
        downward: &mut Direction<'_, E>,
        frames: bool,
        now: Time,
    ) -> Due {
        if self.close_by <= now {
            return Due::End(self.goodbye);
        }
        if self.goodbye.is_none() && self.moved_at + self.patience.idle <= now {
            if !frames {
                return Due::End(Some(Cause::TunnelIdle));
            }
            self.say_goodbye(Cause::TunnelIdle, (upward, downward));
            self.close_by = now + CLOSE_WAIT;
            return Due::Frame;
        }
        if self.ping_due(upward, downward) <= now {
            if asked_at(upward, downward).is_some() {
                return Due::End(Some(Cause::PingUnanswered));
            }
            downward.want(Ours::Ping);
            return Due::Frame;
        }
        if self.ping_due(downward, upward) <= now {
            if asked_at(downward, upward).is_some() {
                return Due::End(Some(Cause::UpstreamStalled));
            }
            upward.want(Ours::Ping);
            return Due::Frame;
        }
        Due::Nothing
    }
}

/// When the peer was asked that nothing came from since.
fn asked_at<E: Env>(from: &Direction<'_, E>, toward: &Direction<'_, E>) -> Option<Time> {
    toward.pinged_at().filter(|&at| from.heard_at() < at)
}

/// How long a goodbye may take to be answered, and an end to follow it.
const CLOSE_WAIT: Duration = Duration::from_secs(5);
