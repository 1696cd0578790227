//! A datapath that is kept in step with the config in force.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use penstock_balance::FleetSeed;
use penstock_config::Config;
use penstock_env::Time;
use penstock_l4::Subject;
use penstock_l4::value::Counters;

use super::assign::Assignment;
use super::care::Care;
use super::facts::Facts;
use super::fullness::Fullness;
use super::plan::{BackendKey, BadPlan, Fallen, Plan, fallen_of};
use super::ways::{self, Looks};
use super::{Datapath, DatapathError, DatapathOptions, Datapaths, Detour, Tables};
use crate::health;

/// The datapath, and what it was told.
pub(crate) struct Layer4 {
    pub(super) datapaths: Box<dyn Datapaths>,
    pub(crate) running: Option<Running>,
    /// The way that checks of `dsr` take, where there are some.
    pub(super) detour: Option<Box<dyn Detour>>,
    /// What the machine was like when the tables were last written for a config.
    pub(super) facts: Facts,
    pub(super) care: Care,
    /// Endpoints that an earlier process had found down, of which checks have said nothing yet.
    pub(crate) found_down: Vec<Fallen>,
}

/// A datapath at work.
pub(crate) struct Running {
    pub(crate) datapath: Box<dyn Datapath>,
    pub(crate) plan: Plan,
    pub(crate) assignment: Assignment,
    /// No service needs it any more.
    unwanted: bool,
    /// What counters said when their numbers were given to who has them now.
    bases: Bases,
    /// When the ways to backends are looked for.
    looks: Looks,
    pub(super) fullness: Fullness,
    /// Backends that drain: since when no packet of theirs has been seen, and the count then.
    draining: BTreeMap<BackendKey, (Time, u64)>,
}

#[derive(Clone, Debug, Default)]
struct Bases {
    vips: BTreeMap<u16, Counters>,
    backends: BTreeMap<u32, Counters>,
}

impl Layer4 {
    pub(crate) fn new(datapaths: Box<dyn Datapaths>) -> Layer4 {
        Layer4 {
            datapaths,
            running: None,
            detour: None,
            facts: Facts::default(),
            care: Care::default(),
            found_down: Vec::new(),
        }
    }

    /// Has the tables say what the config asks for, which is without these that are down. A VIP
    /// that it does not ask for is gone with its flows; interfaces, and the last service, go on
    /// until [`Layer4::settle`].
    ///
    /// # Errors
    /// Why not; then everything is as it was.
    pub(crate) fn apply(
        &mut self,
        config: &Config,
        fallen: &[Fallen],
        seed: &FleetSeed,
    ) -> Result<(), BadPlan> {
        let applied = self.try_apply(config, fallen, seed);
        if applied.is_err() {
            self.close_detour();
        }
        applied
    }

    fn try_apply(
        &mut self,
        config: &Config,
        fallen: &[Fallen],
        seed: &FleetSeed,
    ) -> Result<(), BadPlan> {
        let facts = Facts::of(config, &*self.datapaths);
        let mut plan = Plan::of(config, seed, &facts)?;
        if let Some(plan) = &mut plan {
            plan.note_fallen(config, fallen);
            self.open_detour(plan, config)?;
        }
        match (&mut self.running, plan) {
            (None, None) => {}
            (Some(running), None) => running.unwanted = true,
            (Some(running), Some(plan)) => {
                let before = running.plan.clone();
                let attached = running.datapath.attach(&plan.interfaces);
                let changed = attached.map_err(BadPlan::from).and_then(|()| running.turn_to(plan));
                if let Err(error) = changed {
                    running.go_back_to(before);
                    self.settle();
                    return Err(error);
                }
            }
            (running @ None, Some(plan)) => {
                let (begun, down) = start(&mut *self.datapaths, config, (seed, &facts), plan)?;
                (*running, self.found_down) = (Some(begun), down);
            }
        }
        self.facts = facts;
        Ok(())
    }

    /// Has new flows pass by endpoints that are down: as [`Layer4::apply`], for a config that is in
    /// force. What is wrong with an interface is no reason to go on sending flows to them.
    ///
    /// # Errors
    /// Why not; then everything is as it was.
    pub(crate) fn spare(
        &mut self,
        config: &Config,
        fallen: &[Fallen],
        seed: &FleetSeed,
    ) -> Result<(), BadPlan> {
        let facts = Facts::of(config, &*self.datapaths).or(&self.facts);
        let plan = Plan::of(config, seed, &facts)?;
        let (Some(mut plan), Some(running)) = (plan, &mut self.running) else { return Ok(()) };
        plan.note_fallen(config, fallen);
        let before = running.plan.clone();
        running.turn_to(plan).inspect_err(|_| running.go_back_to(before))
    }

    /// Takes packets of no other interfaces, until it is told again.
    pub(super) fn release_others(&mut self, interfaces: &[String]) {
        if let Some(running) = &mut self.running
            && let Err(error) = running.datapath.release_others(interfaces)
        {
            tracing::error!(%error, "the datapath could not leave an interface");
        }
    }

    /// Lets go of what the config in force does not ask for.
    pub(crate) fn settle(&mut self) {
        if let Some(running) = self.running.take_if(|running| running.unwanted) {
            match running.datapath.end() {
                Ok(()) => tracing::info!("no service passes packets on: the datapath has ended"),
                Err(error) => tracing::error!(%error, "the datapath could not be ended"),
            }
        }
        if let Some(running) = &mut self.running
            && let Err(error) = running.datapath.release_others(&running.plan.interfaces)
        {
            tracing::error!(%error, "the datapath could not leave an interface");
        }
        self.close_detour();
    }

    /// Looks for the ways to backends, where that is due.
    pub(crate) fn find_ways(&mut self, now: Time) {
        if let Some(running) = &mut self.running
            && now >= running.looks.next
        {
            let Running { datapath, assignment, plan, looks, .. } = running;
            looks.note(now, ways::find(&mut **datapath, assignment, &plan.interfaces));
        }
    }

    /// Counts flows, where that is due.
    pub(crate) fn count(&mut self, now: Time) {
        if let Some(running) = &mut self.running {
            Fullness::look(running, now);
        }
    }

    /// When they are next looked for.
    pub(crate) fn next_look(&self) -> Time {
        self.running.as_ref().map_or(Time::NEVER, |running| running.looks.next)
    }

    /// Forgets backends that have drained.
    pub(crate) fn tend(&mut self, now: Time) {
        if let Some(running) = &mut self.running {
            running.tend(now);
        }
    }
}

/// Starts a datapath on what an earlier process left, and tells whom that had found down: they get
/// no new flows until checks find them well.
fn start(
    datapaths: &mut dyn Datapaths,
    config: &Config,
    (seed, facts): (&FleetSeed, &Facts),
    plan: Plan,
) -> Result<(Running, Vec<Fallen>), BadPlan> {
    let (mut refused, mut made) = (None, None);
    datapaths.seek(&ways::addresses(&plan), &plan.interfaces);
    let interfaces = plan.interfaces.clone();
    let options = DatapathOptions::of(config);
    let mut fill = |datapath: &mut dyn Tables| {
        let adopted = Assignment::adopt(datapath.kept()?);
        let without = sparing(config, (seed, facts), &plan, adopted.down());
        let changed = without.and_then(|(plan, down)| {
            let (next, changes) = adopted.change(&plan)?;
            Ok((plan, down, next, changes))
        });
        match changed {
            Ok((plan, down, mut next, changes)) => {
                let bases = Bases::of(datapath, &adopted, &next);
                changes.iter().try_for_each(|change| datapath.write(change))?;
                ways::find(datapath, &mut next, &plan.interfaces);
                made = Some((plan, down, next, bases));
                Ok(())
            }
            Err(error) => {
                let text = error.to_string();
                refused = Some(error);
                Err(DatapathError(text))
            }
        }
    };
    let started = datapaths.start(&options, &interfaces, &mut fill);
    let datapath = started.map_err(|error| refused.unwrap_or(BadPlan::Datapath(error)))?;
    let Some((plan, down, assignment, bases)) = made else {
        return Err(BadPlan::Datapath(DatapathError("the datapath was not filled".to_owned())));
    };
    let (looks, draining) = (Looks::SOON, BTreeMap::new());
    let fullness = Fullness::new(options.flows_max);
    let running =
        Running { datapath, plan, assignment, unwanted: false, bases, looks, fullness, draining };
    Ok((running, down))
}

/// The plan without these backends, and the endpoints that they are.
fn sparing(
    config: &Config,
    (seed, facts): (&FleetSeed, &Facts),
    plan: &Plan,
    down: BTreeSet<BackendKey>,
) -> Result<(Plan, Vec<Fallen>), BadPlan> {
    let fallen = fallen_of(config, &down);
    let others = Plan::of(&health::without(config, &fallen), seed, facts)?;
    let mut others = others.unwrap_or_else(|| plan.clone());
    others.down.clone_from(&plan.down);
    others.note_fallen(config, &fallen);
    Ok((others, fallen))
}

impl Running {
    /// Writes what differs.
    fn turn_to(&mut self, plan: Plan) -> Result<(), BadPlan> {
        let (next, changes) = self.assignment.change(&plan)?;
        let bases = Bases::of(&*self.datapath, &self.assignment, &next);
        for (at, change) in changes.iter().enumerate() {
            if let Err(error) = self.datapath.write(change) {
                // What was written is what the tables say now: the way back begins there.
                let written = &changes[..at];
                written.iter().for_each(|change| self.assignment.follow(change, &next));
                tracing::error!(%error, done = at, of = changes.len(), "a table is not changed");
                return Err(error.into());
            }
        }
        self.bases.keep(bases);
        (self.assignment, self.plan, self.unwanted) = (next, plan, false);
        // For who is new.
        self.looks = Looks::SOON;
        Ok(())
    }

    /// Goes back, where a table could not be written: as far as that goes, for there is nobody
    /// left to refuse to.
    fn go_back_to(&mut self, plan: Plan) {
        if let Err(error) = self.turn_to(plan) {
            tracing::error!(%error, "the datapath could not go back to the config in force");
        }
    }

    /// What was counted for a VIP or a backend since it has its number.
    pub(crate) fn counters(&self, subject: Subject) -> Option<Counters> {
        let counters = self.datapath.counters(subject)?;
        let base = match subject {
            Subject::Vip(number) => self.bases.vips.get(&number),
            Subject::Backend(index) => self.bases.backends.get(&index),
        };
        Some(base.map_or(counters, |base| less(counters, base)))
    }

    /// A backend that no packet has come to for as long as a flow may be silent has no flow.
    fn tend(&mut self, now: Time) {
        let longest = self.plan.vips.iter().map(|vip| {
            let timeouts = &vip.timeouts;
            timeouts.established.max(timeouts.closing).max(timeouts.datagram).max(timeouts.opening)
        });
        let longest = Duration::from_nanos(u64::from(longest.max().unwrap_or(0)) << 20);
        let draining = self.assignment.backends.iter().filter(|(_, one)| one.drains);
        let draining: Vec<_> = draining.map(|(key, one)| (*key, one.index)).collect();
        self.draining.retain(|key, _| draining.iter().any(|(one, _)| one == key));
        for (key, index) in draining {
            let counters = self.datapath.counters(Subject::Backend(index));
            let seen = counters.map_or(0, |all| all.packets + all.return_packets);
            let (since, count) = self.draining.entry(key).or_insert((now, seen));
            if *count != seen {
                (*since, *count) = (now, seen);
            } else if now.since(*since) > longest
                && let Some(change) = self.assignment.forget(key)
                && let Err(error) = self.datapath.write(&change)
            {
                tracing::warn!(%error, "a backend that has drained is still in its table");
            }
        }
    }
}

impl Bases {
    /// What counters say of numbers that are about to be given to others.
    fn of(datapath: &dyn Tables, before: &Assignment, next: &Assignment) -> Bases {
        let new_vips = next.vips.iter().filter(|(key, _)| !before.vips.contains_key(key));
        let new_backends =
            next.backends.iter().filter(|(key, _)| !before.backends.contains_key(key));
        Bases {
            vips: new_vips
                .filter_map(|(_, &number)| Some((number, datapath.counters(Subject::Vip(number))?)))
                .collect(),
            backends: new_backends
                .filter_map(|(_, one)| {
                    Some((one.index, datapath.counters(Subject::Backend(one.index))?))
                })
                .collect(),
        }
    }

    fn keep(&mut self, newer: Bases) {
        self.vips.extend(newer.vips);
        self.backends.extend(newer.backends);
    }
}

fn less(mut counters: Counters, base: &Counters) -> Counters {
    counters.packets = counters.packets.saturating_sub(base.packets);
    counters.bytes = counters.bytes.saturating_sub(base.bytes);
    counters.return_packets = counters.return_packets.saturating_sub(base.return_packets);
    counters.return_bytes = counters.return_bytes.saturating_sub(base.return_bytes);
    for (count, base) in counters.causes.iter_mut().zip(base.causes) {
        *count = count.saturating_sub(base);
    }
    counters
}
