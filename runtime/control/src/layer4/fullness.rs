//! How full the tables of flows are: counted now and again, and told in the log when one of them
//! is nearly full, because flows that were idle for longest give way in a full one.
//!
//! The tables forget by themselves and tell nobody, and the program that fills them has no time to
//! count. An entry whose flow has ended stays until its place is needed: only those that hold are
//! counted.

use std::time::Duration;

use penstock_env::Time;
use penstock_l4::Tenure;
use penstock_telemetry::metrics::Scrape;

use super::running::Running;

/// How full both tables were, when they were last counted.
#[derive(Debug)]
pub(super) struct Fullness {
    next: Time,
    tables: [Table; 2],
}

#[derive(Debug)]
struct Table {
    tenure: Tenure,
    name: &'static str,
    entries: u64,
    entries_max: u64,
    is_nearly_full: bool,
}

impl Fullness {
    /// Of tables for so many flows.
    pub(super) fn new(flows_max: u32) -> Fullness {
        let table = |tenure, name| Table {
            tenure,
            name,
            entries: 0,
            entries_max: u64::from(entries_max(flows_max, tenure)),
            is_nearly_full: false,
        };
        let tables = [table(Tenure::New, "new"), table(Tenure::Proven, "proven")];
        Fullness { next: Time::default(), tables }
    }

    /// Counts, where that is due.
    pub(super) fn look(running: &mut Running, now: Time) {
        if now < running.fullness.next {
            return;
        }
        running.fullness.next = now + EVERY;
        for index in 0..running.fullness.tables.len() {
            let flows = running.datapath.flows(running.fullness.tables[index].tenure);
            let entries = flows.filter(|(key, flow)| running.is_alive(key, flow)).count();
            running.fullness.tables[index].note(entries as u64);
        }
    }

    /// Its part of `/metrics`.
    pub(super) fn scrape(&self, scrape: &mut Scrape) {
        for Table { name, entries, entries_max, .. } in &self.tables {
            let labels = [("table", *name)];
            let help = "Entries of flows that hold, two per flow in nat; counted every 10 s.";
            scrape.gauge("penstock_flow_entries", help, &labels, *entries as f64);
            let help = "Entries that there is room for; in a full table the idlest give way.";
            scrape.gauge("penstock_flow_entries_max", help, &labels, *entries_max as f64);
        }
    }
}

impl Table {
    fn note(&mut self, entries: u64) {
        self.entries = entries;
        let (percent, was) = (100 * entries / self.entries_max.max(1), self.is_nearly_full);
        self.is_nearly_full = percent >= if was { ROOM_AGAIN_PERCENT } else { NEARLY_FULL_PERCENT };
        let Table { name, entries_max: max, .. } = self;
        match (was, self.is_nearly_full) {
            (false, true) => tracing::warn!(
                table = name,
                entries,
                max,
                "a table of flows is nearly full: those that are idle for longest give way"
            ),
            (true, false) => {
                tracing::info!(table = name, entries, max, "a table of flows has room again");
            }
            _ => {}
        }
    }
}

/// The places of a table, where there may be so many flows: each takes two of them in `nat`, and
/// half as many as go on may be at their first packets.
pub fn entries_max(flows_max: u32, tenure: Tenure) -> u32 {
    match tenure {
        Tenure::New => flows_max / 2,
        Tenure::Proven => flows_max.saturating_mul(2),
    }
}

/// How often tables are counted: each entry is read for it.
const EVERY: Duration = Duration::from_secs(10);
/// Each processor has its own part of a table, and the fullest one gives way first.
const NEARLY_FULL_PERCENT: u64 = 80;
const ROOM_AGAIN_PERCENT: u64 = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_nearly_full_until_there_is_room_again() {
        let [mut table, _] = Fullness::new(200).tables;
        assert_eq!(table.entries_max, 100);
        for (entries, expected) in [(79, false), (80, true), (60, true), (59, false), (79, false)] {
            table.note(entries);
            assert_eq!(table.is_nearly_full, expected, "{entries}");
        }
    }
}
