//! Whether what became of a request may be.

use penstock_proxy::Cause;
use penstock_proxy::failure::Next;

use super::ledger::{Entry, Outcome, Rules};
use super::plan::{Fault, Framing};
use crate::modules::Mark;

/// A request is sent at most so often: once, and twice again.
const ATTEMPTS_MAX: u32 = 3;

type Verdict = Result<(), &'static str>;

/// What a filter makes of a request.
struct Stopped {
    status: u16,
    cause: Cause,
    /// It gets to it before anything else can go wrong.
    sure: bool,
    /// No origin sees the request.
    at_head: bool,
    /// The answer is on its way by then: all that can be done is to cut it.
    cuts: bool,
}

impl Entry {
    pub(super) fn verdict(&self, outcome: Outcome, rules: &Rules) -> Verdict {
        if let Outcome::Own { status, cause } = outcome {
            match cause {
                _ if !rules.proxied => return Err("nobody but the origin could answer"),
                None => return Err("an answer of ours says why"),
                Some(Cause::FilterResponds) => {}
                Some(cause) => match cause.next() {
                    Next::Respond(own) | Next::RespondAndClose(own) if own == status => {}
                    _ => return Err("a cause has its own status"),
                },
            }
        }
        match self.stopped(rules) {
            Some(stopped) => self.of_stopped(&stopped, outcome, rules),
            None => self.of_passed(outcome, rules),
        }
    }

    /// How filters stop the request, if they do.
    fn stopped(&self, rules: &Rules) -> Option<Stopped> {
        let (plan, policy) = (&self.plan, &rules.filters);
        let calm = !rules.rough && !rules.idle_closes && plan.answer.fault.is_none();
        let failed = Stopped {
            status: 503,
            cause: Cause::FilterFailed,
            sure: true,
            at_head: false,
            cuts: false,
        };
        let answered = Stopped {
            status: 403,
            cause: Cause::FilterResponds,
            sure: true,
            at_head: true,
            cuts: false,
        };
        match plan.mark? {
            Mark::Plain | Mark::Hold => None,
            Mark::Answer => Some(answered),
            Mark::Ask => match policy.answers {
                Some(true) => None,
                Some(false) => Some(answered),
                None => Some(Stopped { sure: false, at_head: false, ..answered }),
            },
            _ if !policy.denies => None,
            Mark::Trap | Mark::Loop => Some(Stopped { at_head: true, ..failed }),
            Mark::TrapBody if plan.body == Framing::None => None,
            Mark::TrapBody => {
                let sure = calm && plan.body_bytes > 0 && !plan.answer.early;
                Some(Stopped { sure, ..failed })
            }
            Mark::TrapResponse => Some(Stopped { sure: calm, ..failed }),
            Mark::TrapResponseBody if !plan.answer_has_body() => None,
            Mark::TrapResponseBody => {
                let sure = plan.answer.body_bytes > 0;
                Some(Stopped { sure, cuts: true, ..failed })
            }
        }
    }

    fn of_stopped(&self, stopped: &Stopped, outcome: Outcome, rules: &Rules) -> Verdict {
        if stopped.at_head && self.attempts > 0 {
            return Err("it reached an origin past a filter that stops it");
        }
        // An origin's answer is none of a filter that fails when it sees one.
        let passes = matches!(self.plan.mark, Some(Mark::TrapResponse)) || stopped.sure;
        match outcome {
            Outcome::Own { status, cause: Some(cause) }
                if (status, cause) == (stopped.status, stopped.cause) && !stopped.cuts =>
            {
                Ok(())
            }
            Outcome::Exact if passes => Err("it passed a filter that stops it"),
            Outcome::Own { .. } if stopped.sure && !stopped.cuts => Err("a filter stops it"),
            // An answer that came before the request's end has begun by then.
            Outcome::Cut(_) | Outcome::Unanswered { .. }
                if stopped.cuts || self.plan.answer.early =>
            {
                Ok(())
            }
            _ => self.of_passed(outcome, rules),
        }
    }

    fn of_passed(&self, outcome: Outcome, rules: &Rules) -> Verdict {
        let plan = &self.plan;
        let fault = plan.answer.fault;
        let retried = matches!(fault, Some(Fault::ResetBefore { .. } | Fault::EndBefore { .. }));
        if self.attempts > ATTEMPTS_MAX {
            return Err("sent too often");
        }
        if self.attempts > 1 && !(retried || rules.rough || rules.idle_closes) {
            return Err("sent twice though the first attempt was answered");
        }
        let excused = rules.rough || self.shaken || fault.is_some() || plan.abort.is_some();
        match outcome {
            Outcome::Exact if self.attempts == 0 => Err("an answer that no origin gave"),
            Outcome::Exact => Ok(()),
            Outcome::GaveUp if plan.abort.is_none() => Err("the client had no reason to give up"),
            Outcome::GaveUp => Ok(()),
            Outcome::Own { cause, .. } => self.of_own(cause, rules),
            Outcome::Cut(_) if !excused => Err("nothing was wrong"),
            Outcome::Cut(_) => Ok(()),
            Outcome::Unanswered { announced: true } => Ok(()),
            Outcome::Unanswered { .. } if rules.rough || self.shaken || plan.abort.is_some() => {
                Ok(())
            }
            // The answer broke off, and the reset that says so may overtake what there was of it.
            Outcome::Unanswered { .. } if matches!(fault, Some(Fault::CutAfter { .. })) => Ok(()),
            Outcome::Unanswered { .. } if rules.proxied => Err("no answer, not even our own"),
            Outcome::Unanswered { .. } if fault.is_none() && !rules.idle_closes => {
                Err("nothing was wrong")
            }
            Outcome::Unanswered { .. } => Ok(()),
        }
    }

    /// Whether something was wrong that has this name.
    fn of_own(&self, cause: Option<Cause>, rules: &Rules) -> Verdict {
        let plan = &self.plan;
        let fault = plan.answer.fault;
        // Meeting an idle close must cost nothing where the request can be sent again: without a
        // body, and when doing it twice is as good as once (RFC 9110 §9.2.2).
        let raced = rules.idle_closes && (plan.body_bytes > 0 || plan.method == "POST");
        let possible = match cause {
            Some(Cause::UpstreamReset) => {
                let resets = matches!(
                    fault,
                    Some(
                        Fault::ResetBefore { .. }
                            | Fault::EndBefore { .. }
                            | Fault::CutAfter { .. }
                    )
                );
                resets || raced || rules.rough
            }
            Some(Cause::UpstreamMalformed) => matches!(fault, Some(Fault::Malformed(_))),
            Some(Cause::UpstreamTimeout) => fault == Some(Fault::Mute) || rules.rough,
            Some(Cause::RequestBodyTimeout) => plan.abort.is_some() || rules.rough,
            Some(Cause::ConnectRefused | Cause::ConnectTimeout | Cause::UpstreamTlsFailed) => {
                rules.rough
            }
            _ => false,
        };
        if possible { Ok(()) } else { Err("nothing was wrong that has this name") }
    }
}
