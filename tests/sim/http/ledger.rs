//! What became of each request, and whether that may be.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::plan::{Fault, Plan};
use super::wire::Broken;

/// All requests of a run.
#[derive(Default)]
pub(crate) struct Ledger {
    entries: RefCell<BTreeMap<u64, Entry>>,
}

struct Entry {
    plan: Rc<Plan>,
    /// How often a whole head of it reached an origin.
    attempts: u32,
    /// The connection may break for another request's sake.
    shaken: bool,
    outcome: Option<Outcome>,
}

/// What a client got for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The origin's answer, whole.
    Exact,
    /// An answer that no origin gave.
    Own { status: u16 },
    /// The beginning of the origin's answer.
    Cut(Broken),
    /// Nothing. `announced`: that the connection would end had been said, or an earlier answer on
    /// it was not whole.
    Unanswered { announced: bool },
    /// The client gave up as planned.
    GaveUp,
}

/// What may happen in a scene.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Something that answers for faulty origins is between client and origin.
    pub(crate) proxied: bool,
    /// Connections break and nodes die.
    pub(crate) rough: bool,
    /// Origins close idle connections: a request may meet the close.
    pub(crate) idle_closes: bool,
}

/// A request is sent at most so often: once, and twice again.
const ATTEMPTS_MAX: u32 = 3;

impl Ledger {
    /// Enters a request before it is sent; `shaken` when another one on its connection may break
    /// that while this one is not yet answered.
    pub(crate) fn enter(&self, plan: &Rc<Plan>, shaken: bool) {
        let entry = Entry { plan: plan.clone(), attempts: 0, shaken, outcome: None };
        let before = self.entries.borrow_mut().insert(plan.id, entry);
        assert!(before.is_none(), "ids are drawn once");
    }

    /// An origin got the request's head: its plan, and how often that was so before.
    ///
    /// # Panics
    /// When nobody sent it.
    pub(crate) fn attempt(&self, id: u64) -> (Rc<Plan>, u32) {
        let mut entries = self.entries.borrow_mut();
        let entry = entries.get_mut(&id).unwrap_or_else(|| panic!("nobody sent {id:x}"));
        entry.attempts += 1;
        (entry.plan.clone(), entry.attempts - 1)
    }

    /// A client's last word on a request.
    ///
    /// # Panics
    /// When there was one before.
    pub(crate) fn close(&self, id: u64, outcome: Outcome) {
        let mut entries = self.entries.borrow_mut();
        let entry = entries.get_mut(&id).unwrap_or_else(|| panic!("nobody sent {id:x}"));
        let before = entry.outcome.replace(outcome);
        assert_eq!(before, None, "request {id:x} has two outcomes");
    }

    /// Whether every request has its outcome.
    pub(crate) fn is_settled(&self) -> bool {
        self.entries.borrow().values().all(|entry| entry.outcome.is_some())
    }

    /// Requests with the outcome that `pick` picks.
    pub(crate) fn count(&self, pick: impl Fn(Outcome) -> bool) -> usize {
        let entries = self.entries.borrow();
        entries.values().filter(|entry| entry.outcome.is_some_and(&pick)).count()
    }

    /// Holds every request against the rules.
    ///
    /// # Panics
    /// With the first request whose outcome may not be.
    pub(crate) fn judge(&self, rules: &Rules) {
        for (id, entry) in &*self.entries.borrow() {
            let Some(outcome) = entry.outcome else {
                panic!("request {id:x} has no outcome: {:?}", entry.plan);
            };
            let verdict = entry.verdict(outcome, rules);
            assert_eq!(
                verdict,
                Ok(()),
                "request {id:x}: {outcome:?} after {} attempts, {rules:?}, {:#?}",
                entry.attempts,
                entry.plan
            );
        }
    }
}

impl Entry {
    fn verdict(&self, outcome: Outcome, rules: &Rules) -> Result<(), &'static str> {
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
        // Meeting an idle close must cost nothing where the request can be sent again: without a
        // body, and when doing it twice is as good as once (RFC 9110 §9.2.2).
        let raced = rules.idle_closes && (plan.body_bytes > 0 || plan.method == "POST");
        match outcome {
            Outcome::Exact if self.attempts == 0 => Err("an answer that no origin gave"),
            Outcome::Exact => Ok(()),
            Outcome::GaveUp if plan.abort.is_none() => Err("the client had no reason to give up"),
            Outcome::GaveUp => Ok(()),
            Outcome::Own { .. } if !rules.proxied => Err("nobody but the origin could answer"),
            Outcome::Own { status } if !matches!(status, 408 | 502..=504) => {
                Err("the request was well formed and had a route")
            }
            Outcome::Own { .. } if !(excused || raced) => Err("nothing was wrong upstream"),
            Outcome::Own { .. } => Ok(()),
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
}
