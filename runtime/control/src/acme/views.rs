//! How certificates by ACME stand, as the admin API shows it.

use serde::Serialize;

use super::jobs::Job;
use crate::Control;

/// A listener's certificate by ACME, as the admin API shows it.
#[derive(Clone, Debug, Serialize)]
pub struct AcmeView {
    /// The table that names it, as in `listener.web`.
    pub block: String,
    /// The hosts that it is for.
    pub names: Vec<String>,
    /// The rest.
    pub acme: AcmeState,
}

/// How an order stands.
#[derive(Clone, Debug, Serialize)]
pub struct AcmeState {
    /// In a word.
    pub state: AcmeStanding,
    /// The authority's directory.
    pub directory: String,
    /// Seconds until the next order; below zero while one is under way or due.
    pub next_order_in_seconds: i64,
    /// Failures in a row.
    pub failures: u32,
    /// The name of the last one, as in the metric.
    pub error: Option<&'static str>,
    /// A sentence about it.
    pub detail: Option<String>,
    /// Orders since the start, by how they ended.
    #[serde(skip)]
    pub orders: Vec<(&'static str, u64)>,
}

/// How a certificate by ACME stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AcmeStanding {
    /// There is none yet.
    Missing,
    /// It is being ordered.
    Ordering,
    /// There is one.
    Valid,
}

impl Control {
    /// How every certificate by ACME stands.
    pub fn acme_views(&self) -> Vec<AcmeView> {
        let now = self.unix().seconds();
        let view = |job: &Job| AcmeView {
            block: format!("listener.{}", job.listener),
            names: job.wish.names.iter().map(ToString::to_string).collect(),
            acme: AcmeState {
                state: job.state,
                directory: job.wish.directory.to_string(),
                next_order_in_seconds: job.due - now,
                failures: job.failures,
                error: job.last.as_ref().map(|last| last.name),
                detail: job.last.as_ref().map(|last| last.detail.clone()),
                orders: job.orders.clone(),
            },
        };
        self.acme.jobs.iter().map(view).collect()
    }
}
