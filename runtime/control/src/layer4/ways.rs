//! When the ways to backends are looked for, and what is done with what is found.
//!
//! The kernel asks for a neighbour when somebody wants to know it, and knows it a moment later. So
//! it is made to ask before there is a datapath, and after a change it is looked for soon.

use std::time::Duration;

use penstock_env::Time;
use penstock_l4::value::{Address, Link};

use super::Tables;
use super::assign::Assignment;
use super::plan::{BackendKey, Plan};

/// When ways are looked for: soon after a change until all are known, and now and again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Looks {
    pub(super) next: Time,
    pause: Duration,
}

impl Looks {
    /// At once, and soon again.
    pub(super) const SOON: Looks = Looks { next: Time::from_ns(0), pause: SOON };

    /// Takes note of one that found all, or not.
    pub(super) fn note(&mut self, now: Time, found_all: bool) {
        self.pause = if found_all { EVERY } else { self.pause };
        self.next = now + self.pause;
        // What has not been found by then is not waited for: it may go by other interfaces.
        self.pause = EVERY.min(self.pause * 2);
    }
}

/// How often ways are looked for: two questions to the kernel for each backend.
const EVERY: Duration = Duration::from_secs(1);
/// How soon after a change.
const SOON: Duration = Duration::from_millis(10);

/// Where the plan's packets go.
pub(super) fn addresses(plan: &Plan) -> Vec<Address> {
    let backends = plan.maglevs.iter().flat_map(|maglev| &maglev.backends);
    let mut addresses: Vec<Address> = backends.map(|backend| backend.at.address).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// Sends packets by the ways that lead to backends now, and says whether each has one. One that is
/// no longer known is given up: its next hop did not answer.
pub(super) fn find(
    datapath: &mut dyn Tables,
    assignment: &mut Assignment,
    interfaces: &[String],
) -> bool {
    let keys: Vec<BackendKey> = assignment.backends.keys().copied().collect();
    let addresses: Vec<Address> = keys.iter().map(|key| key.address).collect();
    let links = datapath.ways(&addresses, interfaces);
    let found_all = links.iter().all(|link| *link != Link::default());
    for (key, link) in keys.into_iter().zip(links) {
        if let Some(change) = assignment.turn(key, link)
            && let Err(error) = datapath.write(&change)
        {
            tracing::warn!(%error, "the way to a backend is not in its table");
        }
    }
    found_all
}
