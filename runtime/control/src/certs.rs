//! Certificates while the process runs: looked at for changes, and shown.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use penstock_config::Config;
use penstock_env::{Time, Unix};
use penstock_tls::{Certificate, RevocationList};
use serde::Serialize;

use crate::acme::certificate_path;
use crate::{Control, DiskFiles, Refused};

/// How often files are looked at, and tickets' keys.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(5);

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

/// What is known of the files that certificates were read from.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    stamps: Vec<Stamp>,
    /// Why what lies on disk now is not in force.
    pub(crate) refused: Option<String>,
    pub(crate) next_look: Time,
}

/// A file as it was: a path, and when it was changed, with its size and inode.
type Stamp = (PathBuf, Option<(i64, i64, u64, u64)>);

impl Watch {
    /// Takes note of the files as they are; whether that is otherwise than before. To be called
    /// before they are read: what changes in between is found by the next look.
    pub(crate) fn note(&mut self, config: &Config, files: &DiskFiles) -> bool {
        let now = stamps(config, files);
        let changed = now != self.stamps;
        self.stamps = now;
        changed
    }
}

fn stamps(config: &Config, files: &DiskFiles) -> Vec<Stamp> {
    let (mut paths, mut acme): (Vec<&Path>, Vec<PathBuf>) = (Vec::new(), Vec::new());
    for listener in &config.listeners {
        let Some(tls) = &listener.tls else { continue };
        for files in tls.certificates.iter() {
            paths.extend([&*files.cert, &*files.key]);
            paths.extend(files.ocsp.as_deref());
        }
        paths.extend(tls.client_ca.as_deref());
        paths.extend(tls.client_crl.iter().map(PathBuf::as_path));
        acme.extend(tls.acme.as_ref().map(|acme| certificate_path(acme, &listener.name)));
        paths.extend(tls.session_ticket_key.as_deref());
    }
    for tls in config.clusters.iter().filter_map(|cluster| cluster.tls.as_ref()) {
        paths.extend([&tls.ca, &tls.cert, &tls.key].into_iter().filter_map(Option::as_deref));
        paths.extend(tls.crl.iter().map(PathBuf::as_path));
    }
    let stamp = |path: &Path| {
        let path = files.resolve(path);
        let meta = std::fs::metadata(&path).ok();
        let stamp = meta.map(|m| (m.mtime(), m.mtime_nsec(), m.size(), m.ino()));
        (path, stamp)
    };
    paths.into_iter().chain(acme.iter().map(PathBuf::as_path)).map(stamp).collect()
}

impl Control {
    /// Every certificate that is presented, to downstreams and to endpoints.
    pub fn certificate_views(&self) -> Vec<CertificateView> {
        let now = i64::try_from(self.unix().us / 1_000_000).unwrap_or(i64::MAX);
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
        let now = i64::try_from(self.unix().us / 1_000_000).unwrap_or(i64::MAX);
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

    /// Why the certificates on disk are not those in force, if they are not.
    pub fn refused_certificates(&self) -> Option<&str> {
        self.watch.refused.as_deref()
    }

    pub(crate) fn unix(&self) -> Unix {
        self.clock.unix()
    }

    /// Looks whether files have changed, and puts what they hold in force; no connection notices.
    pub(crate) fn look_at_certificates(&mut self) {
        self.watch.next_look = self.clock.now() + LOOK_EVERY;
        self.tls.turn_tickets(self.unix());
        let config = Arc::clone(&self.snapshot.config);
        if !self.ending.is_serving() || !self.watch.note(&config, &self.files) {
            return;
        }
        match self.renew_certificates(&config) {
            Ok(true) => tracing::info!("new certificates are in force"),
            Ok(false) => {}
            Err(refused) => {
                tracing::error!("changed certificates are refused, the old ones stay: {refused}");
                self.watch.refused = Some(refused.to_string());
            }
        }
    }

    /// Whether there was anything new.
    pub(crate) fn renew_certificates(&mut self, config: &Arc<Config>) -> Result<bool, Refused> {
        let loaded = self.tls.load(config, &self.files, self.unix(), true)?;
        self.watch.refused = None;
        if loaded.is_in_force(&self.snapshot) {
            return Ok(false);
        }
        self.put_in_force(Arc::clone(config), self.snapshot.filters.clone(), loaded)?;
        Ok(true)
    }
}
