//! Whether the datapath is still where packets come by, and what is done where it is not.
//!
//! Interfaces go and come (a bond or VLAN that is made anew), and a TUN device can be removed under
//! its lanes. An appliance that passes nothing on says so: it is not ready, and routers are told.

use std::time::Duration;

use penstock_env::Time;

use super::running::Layer4;
use crate::{Control, health};

/// How often it is looked at: a question to the kernel for each interface.
const EVERY: Duration = Duration::from_secs(1);

/// What is wrong with a datapath, and when that is looked for.
#[derive(Debug, Default)]
pub(crate) struct Care {
    pub(crate) next_look: Time,
    ailment: Option<Ailment>,
}

#[derive(Debug, PartialEq, Eq)]
struct Ailment {
    why: String,
    /// No packet is passed on at all.
    total: bool,
}

/// What a look came to.
enum Found {
    Well,
    /// What it is on has changed, but for these interfaces: it has to be put there anew.
    Changed(Vec<String>),
    /// Of its interfaces these are missing, and whether they are all.
    Missing(Vec<String>, bool),
}

impl Layer4 {
    /// Whether packets that should be passed on are not.
    pub(crate) fn is_out(&self) -> bool {
        self.care.ailment.as_ref().is_some_and(|ailment| ailment.total)
    }

    /// When it is next looked at.
    pub(crate) fn next_care(&self) -> Time {
        match self.running.is_some() || self.care.ailment.is_some() {
            true => self.care.next_look,
            false => Time::NEVER,
        }
    }

    /// Why it does not do all that it should.
    pub(crate) fn ailment(&self) -> Option<&str> {
        self.care.ailment.as_ref().map(|ailment| ailment.why.as_str())
    }

    fn look(&mut self) -> Found {
        let Some(running) = &mut self.running else {
            // One that could not be started anew is tried again.
            let ails = self.care.ailment.is_some();
            return if ails { Found::Changed(Vec::new()) } else { Found::Well };
        };
        if !running.datapath.is_running() {
            tracing::error!("somebody has removed the device that packets come by");
            self.running = None;
            return Found::Changed(Vec::new());
        }
        let (mut missing, mut kept) = (Vec::new(), Vec::new());
        for name in &running.plan.interfaces {
            let known = self.facts.interface(name).map(|facts| facts.index).ok();
            match self.datapaths.interface(name) {
                Ok(facts) if known == Some(facts.index) => kept.push(name.clone()),
                Ok(_) => {}
                Err(_) => missing.push(name.clone()),
            }
        }
        let count = running.plan.interfaces.len();
        match missing.is_empty() {
            false if missing.len() == count => Found::Missing(missing, true),
            false => Found::Missing(missing, false),
            true if kept.len() == count && self.care.ailment.is_none() => Found::Well,
            true => Found::Changed(kept),
        }
    }
}

impl Control {
    /// Sees to it that the datapath is where packets come by.
    pub(crate) fn look_after_datapath(&mut self) {
        let now = self.clock.now();
        if now < self.layer4.care.next_look || !self.ending.is_serving() {
            return;
        }
        self.layer4.care.next_look = now + EVERY;
        match self.layer4.look() {
            Found::Well => {}
            Found::Changed(kept) => self.put_datapath_anew(&kept),
            Found::Missing(names, total) => {
                let why = format!("there is no interface {}", names.join(", "));
                self.note_ailment(Some(Ailment { why, total }));
            }
        }
    }

    fn put_datapath_anew(&mut self, kept: &[String]) {
        let fallen = health::fallen(&self.snapshot);
        let config = health::without(&self.snapshot.config, &fallen);
        // What is remembered of an interface of before is not of the one by its name.
        self.layer4.release_others(kept);
        let ailment = match self.layer4.apply(&config, &fallen, &self.snapshot.seed) {
            Ok(()) => {
                self.layer4.settle();
                tracing::warn!("the datapath was put where packets come by, anew");
                None
            }
            Err(error) => {
                Some(Ailment { why: error.to_string(), total: self.layer4.running.is_none() })
            }
        };
        self.note_ailment(ailment);
    }

    fn note_ailment(&mut self, ailment: Option<Ailment>) {
        if self.layer4.care.ailment == ailment {
            return;
        }
        if let Some(Ailment { why, .. }) = &ailment {
            tracing::error!("packets are not passed on as they should be: {why}");
        }
        self.layer4.care.ailment = ailment;
        self.announcer.look();
    }
}
