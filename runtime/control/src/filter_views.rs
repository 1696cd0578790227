//! What each filter did and cost, and the versions of it that are beside each other.

use penstock_filter_host::metrics::{FilterState, Histogram, ShardStats};
use penstock_filter_host::{Installed, Role, Stage, TrapCause, Trial, TrialKind, hex};
use serde::Serialize;

/// One filter.
#[derive(Clone, Debug, Serialize)]
pub struct FilterView {
    /// Its name.
    pub name: String,
    /// The digest of the module that the config names.
    pub sha256: String,
    /// `serving`; `canary`, `probation` or `promoted` while a new version is beside the one before,
    /// `rolled-back` when it failed.
    pub state: &'static str,
    /// The version before and the new one, while there are two.
    pub versions: Vec<VersionView>,
    /// New versions that were taken back since the start.
    pub rollbacks: u64,
    /// By shard: `idle`, `ready`, `failed` or `disabled`.
    pub states: Vec<&'static str>,
    /// Callbacks that were called.
    pub calls: u64,
    /// Failures, by what they were.
    pub failures: Vec<(String, u64)>,
    /// Exchanges that were answered 503 by its policy.
    pub denied: u64,
    /// Exchanges that went on without it by its policy.
    pub skipped: u64,
    /// Hostcalls, and bodies that it held, refused for a limit.
    pub limited: u64,
    /// gRPC calls and streams that it began.
    pub grpc_calls: u64,
    /// Memory of its instances.
    pub memory_bytes: u64,
    /// Contexts that are open.
    pub contexts: u64,
    /// The mean cost of a callback.
    pub mean_us: f64,
}

/// A version of a filter that is beside another.
#[derive(Clone, Debug, Serialize)]
pub struct VersionView {
    /// `stable` or `candidate`.
    pub version: &'static str,
    /// The digest of its module.
    pub sha256: String,
    /// The part of the requests that it gets now.
    pub share: f64,
    /// Requests that it got since they are beside each other.
    pub requests: u64,
    /// How often it failed since then.
    pub failures: u64,
}

pub(crate) fn filter_view(installed: &Installed) -> FilterView {
    let filter = installed.filter();
    let all: Vec<&ShardStats> = filter.stats().serving().collect();
    let sum = |of: fn(&ShardStats) -> u64| all.iter().map(|&shard| of(shard)).sum::<u64>();
    // Those of trial starts on this thread are told, too.
    let failures = TrapCause::ALL.iter().map(|&cause| {
        let shards = filter.stats().shards.iter();
        (cause.to_string(), shards.map(|shard| shard.failures_of(cause)).sum())
    });
    let mut buckets = [0; Histogram::BUCKETS];
    let cpu_ns: u64 = all.iter().map(|shard| shard.cpu_ns.collect(&mut buckets)).sum();
    let measured = buckets.iter().sum::<u64>().max(1);
    let shown = installed.in_use().serving().iter();
    FilterView {
        name: filter.settings().name.to_string(),
        sha256: hex(filter.module().sha256()),
        state: installed.trial().map_or("serving", |trial| trial_state(trial)),
        versions: installed.trial().map_or(Vec::new(), |trial| version_views(trial)),
        rollbacks: sum(|shard| shard.rollbacks.value()),
        states: shown.map(|shard| state_name(shard.state())).collect(),
        calls: sum(|shard| shard.calls.value()),
        failures: failures.filter(|(_, count)| *count > 0).collect(),
        denied: sum(|shard| shard.denied.value()),
        skipped: sum(|shard| shard.skipped.value()),
        limited: sum(|shard| shard.limits.value()),
        grpc_calls: sum(|shard| shard.grpc_calls.value()),
        memory_bytes: sum(|shard| shard.memory_bytes.value()),
        contexts: sum(|shard| shard.contexts.value()),
        mean_us: cpu_ns as f64 / measured as f64 / 1e3,
    }
}

fn trial_state(trial: &Trial) -> &'static str {
    match (trial.stage(), trial.kind) {
        (Stage::TakenBack, _) => "rolled-back",
        (_, TrialKind::Promotion) => "promoted",
        (Stage::Running, TrialKind::Canary) => "canary",
        (Stage::Running, TrialKind::Swap) => "probation",
        (Stage::Passed, _) => "serving",
    }
}

fn version_views(trial: &Trial) -> Vec<VersionView> {
    let view = |version: &'static str, role: Role| VersionView {
        version,
        sha256: hex(trial.version(role).module().sha256()),
        share: f64::from(trial.share_of(role)) / 10_000.0,
        requests: trial.requests(role),
        failures: trial.failures(role),
    };
    vec![view("stable", Role::Stable), view("candidate", Role::Candidate)]
}

fn state_name(state: FilterState) -> &'static str {
    STATES[match state {
        FilterState::Idle => 0,
        FilterState::Ready => 1,
        FilterState::Failed => 2,
        FilterState::Disabled => 3,
    }]
}

/// How a filter may stand on a shard.
pub(crate) const STATES: [&str; 4] = ["idle", "ready", "failed", "disabled"];
