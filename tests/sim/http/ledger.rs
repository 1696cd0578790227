//! What became of each request.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use penstock_proxy::Cause;

use super::plan::Plan;
use super::wire::Broken;

/// All requests of a run.
#[derive(Default)]
pub(crate) struct Ledger {
    entries: RefCell<BTreeMap<u64, Entry>>,
}

pub(super) struct Entry {
    pub(super) plan: Rc<Plan>,
    /// How often a whole head of it reached an origin.
    pub(super) attempts: u32,
    /// The connection may break for another request's sake.
    pub(super) shaken: bool,
    outcome: Option<Outcome>,
}

/// What a client got for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The origin's answer, whole.
    Exact,
    /// An answer that no origin gave.
    Own { status: u16, cause: Option<Cause> },
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
    /// What becomes of requests that filters fail for, or are asked to answer.
    pub(crate) filters: Policy,
}

/// What filters may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    /// A request whose filter fails is answered 503; else it goes on without the filter.
    pub(crate) denies: bool,
    /// Whether the cluster that filters ask answers them; `None` where it does at times.
    pub(crate) answers: Option<bool>,
}

impl Policy {
    /// For scenes without filters.
    pub(crate) const NONE: Policy = Policy { denies: true, answers: Some(true) };
}

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
