//! Numbers for what a plan asks for, kept over reloads and restarts, and the order of changes.
//!
//! Flows know their VIP and their backend by number and generation. So what stays keeps its
//! number, and a number that is given to another gets a new generation: flows of the old one are
//! then no flows. The order of changes is such that a packet, whenever it comes, finds a VIP that
//! names a whole table of backends that are there: backends first, then a table in a place that
//! nobody names, then the VIPs that are to name it, then the keys that lead to new VIPs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use penstock_l4::value::{
    Address, Backend, Link, Pool, Settings, SourceRule, Vip, VipKey, mode, state,
};
use penstock_l4::{Kept, MAGLEV_SLOTS};

use super::Change;
use super::plan::{
    BACKENDS_MAX, BackendKey, BadPlan, MAGLEVS_MAX, Plan, PlannedMaglev, PlannedVip, VIPS_MAX,
};

/// What tables say, or are about to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Assignment {
    settings: Option<Settings>,
    /// VIPs that are served.
    pub(crate) vips: BTreeMap<VipKey, u16>,
    /// Every number that has ever been a VIP's, with what its entry says.
    numbers: BTreeMap<u16, Vip>,
    /// Keys of addresses, for packets without a port.
    addresses: BTreeMap<VipKey, u16>,
    /// Backends that flows may go to, those that drain included.
    pub(crate) backends: BTreeMap<BackendKey, Assigned>,
    /// Every index that has ever been a backend's, with its last generation.
    generations: BTreeMap<u32, u16>,
    /// What is in which Maglev table; of those from before a restart it is not known.
    maglevs: BTreeMap<u32, PlannedMaglev>,
    sources: BTreeMap<(Address, u8), Option<SourceRule>>,
}

/// When VIPs go, and change their modes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum EndFlows {
    First,
    Last,
}

/// A backend in the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Assigned {
    pub(crate) index: u32,
    /// It keeps what flows it has, and gets no new ones.
    pub(crate) drains: bool,
    /// It drains because checks find it down: flows of some services leave it.
    pub(crate) failed: bool,
    generation: u16,
    /// The way to it, once one is known.
    link: Link,
}

impl Assigned {
    /// What an entry says; none when there is no backend.
    fn of(index: u32, entry: &Backend) -> Option<Assigned> {
        let (drains, failed) = match entry.state {
            state::UP => (false, false),
            state::DRAINING => (true, false),
            state::FAILED => (true, true),
            _ => return None,
        };
        let Backend { generation, link, .. } = *entry;
        Some(Assigned { index, drains, failed, generation, link })
    }

    fn entry(&self, key: BackendKey) -> Backend {
        let state = match (self.drains, self.failed) {
            (false, _) => state::UP,
            (true, false) => state::DRAINING,
            (true, true) => state::FAILED,
        };
        Backend { link: self.link, ..entry(key, self.generation, state) }
    }
}

impl Assignment {
    /// What an earlier process left.
    pub(crate) fn adopt(kept: Kept) -> Assignment {
        let mut own = Assignment::default();
        for (key, number) in kept.services {
            let is_address = key.protocol == 0;
            let map = if is_address { &mut own.addresses } else { &mut own.vips };
            map.insert(key, number);
        }
        own.numbers = kept.vips.into_iter().collect();
        // Without an entry it is no VIP.
        own.vips.retain(|_, number| own.numbers.contains_key(number));
        for (index, backend) in kept.backends {
            own.generations.insert(index, backend.generation);
            if let Some(assigned) = Assigned::of(index, &backend) {
                let key = BackendKey { address: backend.address, port: backend.port };
                own.backends.insert(key, assigned);
            }
        }
        own.sources = kept.sources.into_iter().map(|key| (key, None)).collect();
        own
    }

    /// Backends that were found down.
    pub(crate) fn down(&self) -> BTreeSet<BackendKey> {
        self.backends.iter().filter(|(_, one)| one.failed).map(|(key, _)| *key).collect()
    }

    /// What tables say once they say what the plan asks for, and what has to be written for that,
    /// in order.
    ///
    /// What ends flows can't be taken back, so it comes after all that a table may have no room
    /// for; and first only where old and new have none beside each other.
    pub(crate) fn change(&self, plan: &Plan) -> Result<(Assignment, Vec<Change>), BadPlan> {
        self.in_order(plan, EndFlows::Last).or_else(|_| self.in_order(plan, EndFlows::First))
    }

    fn in_order(&self, plan: &Plan, ends: EndFlows) -> Result<(Assignment, Vec<Change>), BadPlan> {
        let mut next = self.clone();
        let mut changes = Vec::new();
        if ends == EndFlows::First {
            next.remove_vips(plan, &mut changes);
        }
        next.add_sources(plan, &mut changes);
        next.open_settings(plan, &mut changes);
        next.add_backends(plan, &mut changes)?;
        if ends == EndFlows::Last {
            next.write_vips(plan, |vips, vip| !vips.changes_mode(vip), &mut changes)?;
            next.set_addresses(plan, &mut changes);
        }
        next.write_vips(plan, |_, _| true, &mut changes)?;
        match ends {
            EndFlows::Last => next.remove_vips(plan, &mut changes),
            EndFlows::First => next.set_addresses(plan, &mut changes),
        }
        next.drain_backends(plan, &mut changes);
        next.close_settings(plan, &mut changes);
        Ok((next, changes))
    }

    /// Takes note of one change on the way to `next`, where the others were not made.
    pub(crate) fn follow(&mut self, change: &Change, next: &Assignment) {
        match *change {
            Change::Settings(settings) => self.settings = Some(settings),
            Change::Service(key, number) => {
                let map = if key.protocol == 0 { &mut self.addresses } else { &mut self.vips };
                match number {
                    Some(number) => map.insert(key, number),
                    None => map.remove(&key),
                };
            }
            Change::Vip(number, vip) => drop(self.numbers.insert(number, vip)),
            Change::Maglev(maglev, _) => match next.maglevs.get(&maglev) {
                Some(planned) => drop(self.maglevs.insert(maglev, planned.clone())),
                None => drop(self.maglevs.remove(&maglev)),
            },
            Change::Backend(index, backend) => {
                let key = BackendKey { address: backend.address, port: backend.port };
                self.generations.insert(index, backend.generation);
                match Assigned::of(index, &backend) {
                    None => self.backends.remove(&key),
                    Some(assigned) => self.backends.insert(key, assigned),
                };
            }
            Change::Source(address, bits, rule) => match rule {
                Some(rule) => drop(self.sources.insert((address, bits), Some(rule))),
                None => drop(self.sources.remove(&(address, bits))),
            },
        }
    }

    /// Takes away a backend that has drained.
    pub(crate) fn forget(&mut self, key: BackendKey) -> Option<Change> {
        let Assigned { index, generation, .. } = self.backends.remove(&key)?;
        Some(Change::Backend(index, entry(key, generation, state::DOWN)))
    }

    /// Sends a backend's packets by this way from now on.
    pub(crate) fn turn(&mut self, key: BackendKey, link: Link) -> Option<Change> {
        let assigned = self.backends.get_mut(&key)?;
        if assigned.link == link {
            return None;
        }
        assigned.link = link;
        Some(Change::Backend(assigned.index, assigned.entry(key)))
    }

    /// The timeouts and the like of a VIP.
    pub(crate) fn vip(&self, number: u16) -> Option<&Vip> {
        self.numbers.get(&number)
    }

    /// The key first: from then on nothing begins. Then the generation, which ends its flows.
    fn remove_vips(&mut self, plan: &Plan, changes: &mut Vec<Change>) {
        let wanted: BTreeSet<VipKey> = plan.vips.iter().map(|vip| vip.key).collect();
        let gone: Vec<(VipKey, u16)> = self
            .vips
            .iter()
            .filter(|(key, _)| !wanted.contains(key))
            .map(|(key, number)| (*key, *number))
            .collect();
        for (key, number) in gone {
            self.vips.remove(&key);
            changes.push(Change::Service(key, None));
            if let Some(vip) = self.numbers.get_mut(&number) {
                vip.generation = after(vip.generation);
                changes.push(Change::Vip(number, *vip));
            }
        }
    }

    fn add_sources(&mut self, plan: &Plan, changes: &mut Vec<Change>) {
        for (address, bits, rule) in &plan.sources {
            let before = self.sources.insert((*address, *bits), Some(*rule));
            if before != Some(Some(*rule)) {
                changes.push(Change::Source(*address, *bits, Some(*rule)));
            }
        }
    }

    /// What is asked for, and what was before is not taken back yet.
    fn open_settings(&mut self, plan: &Plan, changes: &mut Vec<Change>) {
        let mut settings = plan.settings;
        if let Some(before) = self.settings {
            settings.nat |= before.nat;
            settings.sources |= before.sources;
        }
        // After a restart it is not known what is there: flows of `nat` may be.
        if self.settings.is_none() && self.numbers.values().any(|vip| vip.mode == mode::NAT) {
            settings.nat = 1;
        }
        if self.settings != Some(settings) {
            self.settings = Some(settings);
            changes.push(Change::Settings(settings));
        }
    }

    fn close_settings(&mut self, plan: &Plan, changes: &mut Vec<Change>) {
        if self.settings != Some(plan.settings) {
            self.settings = Some(plan.settings);
            changes.push(Change::Settings(plan.settings));
        }
        let wanted: BTreeSet<(Address, u8)> =
            plan.sources.iter().map(|(address, bits, _)| (*address, *bits)).collect();
        self.sources.retain(|(address, bits), _| {
            let stays = wanted.contains(&(*address, *bits));
            if !stays {
                changes.push(Change::Source(*address, *bits, None));
            }
            stays
        });
    }

    /// Backends that take flows, before any table names them.
    fn add_backends(&mut self, plan: &Plan, changes: &mut Vec<Change>) -> Result<(), BadPlan> {
        let wanted: BTreeSet<BackendKey> = taking(plan).collect();
        for key in wanted {
            let assigned = match self.backends.get(&key) {
                Some(there) if !there.drains => continue,
                Some(there) => Assigned { drains: false, failed: false, ..*there },
                None => self.new_backend(changes)?,
            };
            self.backends.insert(key, assigned);
            changes.push(Change::Backend(assigned.index, assigned.entry(key)));
        }
        Ok(())
    }

    /// An index that nobody has; where there is none, that of one that drains.
    fn new_backend(&mut self, changes: &mut Vec<Change>) -> Result<Assigned, BadPlan> {
        let taken: BTreeSet<u32> = self.backends.values().map(|one| one.index).collect();
        let index = match (0..BACKENDS_MAX).find(|index| !taken.contains(index)) {
            Some(index) => index,
            None => {
                let draining = self.backends.iter().find(|(_, one)| one.drains);
                let Some((key, index)) = draining.map(|(key, one)| (*key, one.index)) else {
                    let (count, max) = (taken.len() + 1, BACKENDS_MAX as usize);
                    return Err(BadPlan::TooMany { what: "backends", count, max });
                };
                changes.extend(self.forget(key));
                index
            }
        };
        let generation = after(self.generations.get(&index).copied().unwrap_or(0));
        self.generations.insert(index, generation);
        Ok(Assigned { index, drains: false, failed: false, generation, link: Link::default() })
    }

    /// Whether it is there, and its flows end because they are passed on otherwise.
    fn changes_mode(&self, planned: &PlannedVip) -> bool {
        let there = self.vips.get(&planned.key).and_then(|number| self.numbers.get(number));
        there.is_some_and(|vip| vip.mode != planned.mode)
    }

    fn write_vips(
        &mut self,
        plan: &Plan,
        which: impl Fn(&Assignment, &PlannedVip) -> bool,
        changes: &mut Vec<Change>,
    ) -> Result<(), BadPlan> {
        for (index, maglev) in plan.maglevs.iter().enumerate() {
            let mine = plan.vips.iter().filter(|vip| vip.maglev == index);
            let vips: Vec<&PlannedVip> = mine.filter(|vip| which(self, vip)).collect();
            if vips.is_empty() {
                continue;
            }
            let known = self.maglevs.iter().find(|(_, known)| *known == maglev);
            let number = match known.map(|(number, _)| *number) {
                Some(number) => number,
                None => self.write_maglev(maglev, changes)?,
            };
            for vip in vips {
                self.write_vip(vip, number, changes)?;
            }
        }
        // What nobody names may be written over, and its backends may get other indices.
        let named = self.named();
        self.maglevs.retain(|number, _| named.contains(number));
        Ok(())
    }

    /// The Maglev tables that VIPs name.
    fn named(&self) -> BTreeSet<u32> {
        self.vips.values().filter_map(|number| Some(self.numbers.get(number)?.maglev)).collect()
    }

    /// Writes a Maglev table where no VIP looks.
    fn write_maglev(
        &mut self,
        maglev: &PlannedMaglev,
        changes: &mut Vec<Change>,
    ) -> Result<u32, BadPlan> {
        let named = self.named();
        let free = (0..MAGLEVS_MAX).find(|number| !named.contains(number));
        let number = free.ok_or(BadPlan::TooMany {
            what: "sets of backends, old and new,",
            count: named.len() + 1,
            max: MAGLEVS_MAX as usize,
        })?;
        let index_of = |place: &u16| {
            let backend = maglev.backends.get(usize::from(*place));
            let assigned = backend.and_then(|one| self.backends.get(&one.at));
            assigned.map_or(NOBODY, |one| one.index)
        };
        let slots: Arc<[u32]> = match maglev.slots.is_empty() {
            true => vec![NOBODY; MAGLEV_SLOTS as usize].into(),
            false => maglev.slots.iter().map(index_of).collect(),
        };
        self.maglevs.insert(number, maglev.clone());
        changes.push(Change::Maglev(number, slots));
        Ok(number)
    }

    fn write_vip(
        &mut self,
        planned: &PlannedVip,
        maglev: u32,
        changes: &mut Vec<Change>,
    ) -> Result<(), BadPlan> {
        let there = self.vips.get(&planned.key).copied();
        let number = match there {
            Some(number) => number,
            None => self.new_number()?,
        };
        let before = self.numbers.get(&number);
        let generation = match (before, there) {
            (Some(vip), Some(_)) if vip.mode == planned.mode => vip.generation,
            (Some(vip), _) => after(vip.generation),
            (None, _) => 1,
        };
        let vip = Vip {
            generation,
            mode: planned.mode,
            encap: planned.encap,
            maglev,
            mtu: planned.mtu,
            moves: u8::from(planned.moves),
            zero: 0,
            timeouts: planned.timeouts,
        };
        if before != Some(&vip) {
            self.numbers.insert(number, vip);
            changes.push(Change::Vip(number, vip));
        }
        if there.is_none() {
            self.vips.insert(planned.key, number);
            changes.push(Change::Service(planned.key, Some(number)));
        }
        Ok(())
    }

    fn new_number(&self) -> Result<u16, BadPlan> {
        let taken: BTreeSet<u16> = self.vips.values().copied().collect();
        let free = (1..=VIPS_MAX).find(|number| !taken.contains(number));
        let (count, max) = (taken.len() + 1, usize::from(VIPS_MAX));
        free.ok_or(BadPlan::TooMany { what: "VIPs, old and new,", count, max })
    }

    /// Which addresses are ours, of VIPs and pools.
    fn set_addresses(&mut self, plan: &Plan, changes: &mut Vec<Change>) {
        let mut wanted: BTreeMap<VipKey, u16> = BTreeMap::new();
        for Pool { address, .. } in [plan.settings.pool_v4, plan.settings.pool_v6] {
            if plan.settings.nat != 0 && !address.is_unspecified() {
                wanted.insert(VipKey::address(address), 0);
            }
        }
        let planned: BTreeSet<VipKey> = plan.vips.iter().map(|vip| vip.key).collect();
        for (key, number) in self.vips.iter().filter(|(key, _)| planned.contains(key)) {
            // The first one of an address stands for all.
            wanted.entry(VipKey::address(key.address)).or_insert(*number);
        }
        for (key, number) in &wanted {
            if self.addresses.get(key) != Some(number) {
                changes.push(Change::Service(*key, Some(*number)));
            }
        }
        for key in self.addresses.keys().filter(|key| !wanted.contains_key(key)) {
            changes.push(Change::Service(*key, None));
        }
        self.addresses = wanted;
    }

    /// Who takes no flows any more, once no table names it. One that was found down stays so
    /// when the config lets go of it: its flows that went elsewhere don't come back.
    fn drain_backends(&mut self, plan: &Plan, changes: &mut Vec<Change>) {
        let wanted: BTreeSet<BackendKey> = taking(plan).collect();
        for (key, backend) in &mut self.backends {
            let failed = backend.failed || plan.down.contains(key);
            if !wanted.contains(key) && (!backend.drains || failed != backend.failed) {
                (backend.drains, backend.failed) = (true, failed);
                changes.push(Change::Backend(backend.index, backend.entry(*key)));
            }
        }
    }
}

/// The backends that new flows go to. One of weight 0 takes none: it drains.
fn taking(plan: &Plan) -> impl Iterator<Item = BackendKey> + '_ {
    let backends = plan.maglevs.iter().flat_map(|maglev| &maglev.backends);
    backends.filter(|backend| backend.weight > 0).map(|backend| backend.at)
}

fn entry(key: BackendKey, generation: u16, state: u8) -> Backend {
    let BackendKey { address, port } = key;
    // Back where the packet came from, until a way is known: the router may know one.
    Backend { address, link: Link::default(), port, generation, state, zero: [0; 3] }
}

/// The next generation; 0 is none.
fn after(generation: u16) -> u16 {
    generation.checked_add(1).unwrap_or(1)
}

/// No backend has this index.
const NOBODY: u32 = u32::MAX;
