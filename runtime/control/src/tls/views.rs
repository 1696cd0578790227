//! Certificates and revocation lists as the admin API shows them.

use penstock_tls::{Certificate, RevocationList};
use serde::Serialize;

use crate::Control;

/// A certificate that is presented.
#[derive(Clone, Debug, Serialize)]
pub struct CertificateView {
    /// The table that names it, as in `listener.web`.
    pub block: String,
    /// The hosts that it is for.
    pub names: Vec<String>,
    /// Whose it is.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// Its first second, in seconds since 1970.
    pub not_before: i64,
    /// Its last.
    pub not_after: i64,
    /// Seconds that it has left; below zero once it is over.
    pub expires_in_seconds: i64,
    /// Its SHA-256.
    pub sha256: String,
}

/// A list of revoked certificates that peers' certificates are looked up in.
#[derive(Clone, Debug, Serialize)]
pub struct RevocationListView {
    /// The table that names it, as in `listener.web`.
    pub block: String,
    /// Whose list it is.
    pub issuer: String,
    /// When it was made, in seconds since 1970.
    pub this_update: i64,
    /// By when there should be a newer one.
    pub next_update: i64,
    /// Seconds until then; below zero once it is over.
    pub expires_in_seconds: i64,
    /// How many certificates it names.
    pub revoked: usize,
    /// Its SHA-256.
    pub sha256: String,
}

impl Control {
    /// Every certificate that is presented, to downstreams and to endpoints.
    pub fn certificate_views(&self) -> Vec<CertificateView> {
        let now = self.unix().seconds();
        let view = |block: String, one: &Certificate| CertificateView {
            block,
            names: one.names.shown(),
            subject: one.subject.clone(),
            issuer: one.issuer.clone(),
            not_before: one.validity.not_before,
            not_after: one.validity.not_after,
            expires_in_seconds: one.validity.not_after - now,
            sha256: one.fingerprint.to_string(),
        };
        let mut views = Vec::new();
        for listener in &self.snapshot.listeners {
            let block = format!("listener.{}", listener.config.name);
            let presented = listener.tls.iter().flat_map(|tls| tls.certificates());
            views.extend(presented.map(|one| view(block.clone(), one)));
        }
        for cluster in &self.snapshot.clusters {
            let block = format!("cluster.{}", cluster.config.name);
            let presented = cluster.tls.iter().filter_map(|tls| tls.certificate());
            views.extend(presented.map(|one| view(block.clone(), one)));
        }
        views
    }

    /// Every revocation list that is looked into.
    pub fn revocation_list_views(&self) -> Vec<RevocationListView> {
        let now = self.unix().seconds();
        let view = |block: &str, one: &RevocationList| RevocationListView {
            block: block.to_owned(),
            issuer: one.issuer.clone(),
            this_update: one.validity.not_before,
            next_update: one.validity.not_after,
            expires_in_seconds: one.validity.not_after - now,
            revoked: one.revoked_count,
            sha256: one.fingerprint.to_string(),
        };
        let mut views = Vec::new();
        for listener in &self.snapshot.listeners {
            let block = format!("listener.{}", listener.config.name);
            let lists = listener.tls.iter().flat_map(|tls| tls.revocation_lists());
            views.extend(lists.map(|one| view(&block, one)));
        }
        for cluster in &self.snapshot.clusters {
            let block = format!("cluster.{}", cluster.config.name);
            let lists = cluster.tls.iter().flat_map(|tls| tls.revocation_lists());
            views.extend(lists.map(|one| view(&block, one)));
        }
        views
    }
}
