//! Whether somebody is there: a peer that is silent while requests are under way is pinged, and
//! given up without an answer (RFC 9113 §6.7). For both sides of the proxy.

use std::time::Duration;

use penstock_env::Time;

use super::pings::Pings;

/// What is known of a connection's peer.
#[derive(Default)]
pub(super) struct Liveness {
    /// When it was asked.
    asked_at: Option<Time>,
}

/// What is to be done about a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing before this time.
    Wait(Time),
    /// A ping was sent: the connection has something to write.
    Asked,
    /// Nobody is there.
    Gone,
}

impl Liveness {
    /// Looks at a peer that was heard last, or began to owe something, at `heard_at`; `owes` says
    /// whether anything is under way.
    pub(super) fn look(
        &mut self,
        now: Time,
        heard_at: Time,
        owes: bool,
        pings: &mut Pings,
    ) -> Verdict {
        if self.asked_at.is_some_and(|asked_at| heard_at >= asked_at) {
            self.asked_at = None;
        }
        let due = match (owes, self.asked_at) {
            (false, _) => return Verdict::Wait(Time::NEVER),
            (true, None) => heard_at + SILENCE_MAX,
            (true, Some(asked_at)) => asked_at + ANSWER_MAX,
        };
        if due > now {
            return Verdict::Wait(due);
        }
        // One that is under way already is as good a question.
        if self.asked_at.is_some() || !pings.ask(now) {
            return Verdict::Gone;
        }
        self.asked_at = Some(now);
        Verdict::Asked
    }
}

/// Silence, with requests under way, after which a peer is asked whether it is there.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// How long the answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(10);
