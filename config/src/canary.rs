//! `filter.X.canary` and `filter.X.rollback`: how a new version of a filter comes into use, and
//! when it is taken back.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use crate::filter::{ModuleDigest, check_module};
use crate::grammar::reader::TableReader;
use crate::grammar::section::section;
use crate::payload::Payload;
use crate::values::units::Ratio;

section! {
    /// Another module, or another configuration, that a share of the requests gets beside the
    /// filter's own.
    pub struct Canary("canary", check = check_canary) {
        /// The share of requests, or of connections of layer 4, that get it.
        share: Ratio, in Ratio::percent(0)..=Ratio::percent(100);
        /// Its compiled module; the filter's own if not set.
        wasm: Option<PathBuf> = None;
        /// The digest that its module has to have.
        sha256: Option<ModuleDigest> = None;
        /// Its plugin configuration; the filter's own if not set.
        config: Option<Payload> = None;
    }
}

fn check_canary(canary: &Canary, table: &mut TableReader<'_, '_, '_>) -> Option<()> {
    match &canary.wasm {
        Some(wasm) => check_module(wasm, canary.sha256, table),
        None if canary.sha256.is_some() => table.contradict("sha256", "is the digest of no wasm"),
        None if canary.config.is_none() => {
            table.contradict("share", "needs a wasm or a config that differs from the filter's own")
        }
        None => Some(()),
    }
}

section! {
    /// When a new version is taken back: a canary, or one that a reload put in place of another.
    pub struct Rollback("rollback") = default {
        /// So many failures (traps, deadlines, memory); 0 takes nothing back...
        failures: u32 = 5, in 0..=1_000_000;
        /// ... which are this share of the requests that it got...
        rate: Ratio = Ratio::percent(1), in Ratio::percent(0)..=Ratio::percent(100);
        /// ... in this time.
        window: Duration = Duration::from_secs(60), in WINDOW;
        /// How long a version that a reload put in place is watched; a canary always is.
        probation: Duration = Duration::from_secs(600), in WINDOW;
    }
}

/// What is shorter says nothing about a rate, and what is longer is no new version's.
const WINDOW: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24);
