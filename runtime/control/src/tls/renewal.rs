//! Looks whether the files of certificates have changed, and puts what they hold in force.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use penstock_config::Config;
use penstock_env::Time;

use crate::acme::certificate_path;
use crate::{Control, DiskFiles, Refused};

/// How often files are looked at, and tickets' keys.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What came of the last look at the files that certificates were read from, and when the next
/// one is due.
#[derive(Debug, Default)]
pub(crate) struct Renewal {
    stamps: Vec<Stamp>,
    /// Why what lies on disk now is not in force.
    pub(crate) refused: Option<String>,
    pub(crate) next_look: Time,
}

/// A file as it was: a path, and when it was changed, with its size and inode.
type Stamp = (PathBuf, Option<(i64, i64, u64, u64)>);

impl Renewal {
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
    /// Why the certificates on disk are not those in force, if they are not.
    pub(crate) fn refused_certificates(&self) -> Option<&str> {
        self.renewal.refused.as_deref()
    }

    /// Looks whether files have changed, and puts what they hold in force; no connection notices.
    pub(crate) fn look_at_certificates(&mut self) {
        self.renewal.next_look = self.clock.now() + LOOK_EVERY;
        self.tls.turn_tickets(self.unix());
        let config = Arc::clone(&self.snapshot.config);
        let changed = self.renewal.note(&config, &self.files);
        // What could not be read, for want of descriptors or of a file server, can be later on.
        if !self.ending.is_serving() || !(changed || self.renewal.refused.is_some()) {
            return;
        }
        match self.renew_certificates(&config) {
            Ok(true) => tracing::info!("new certificates are in force"),
            Ok(false) => {}
            Err(refused) => {
                let refused = refused.to_string();
                if changed || self.renewal.refused.as_ref() != Some(&refused) {
                    tracing::error!(
                        "changed certificates are refused, the old ones stay: {refused}"
                    );
                }
                self.renewal.refused = Some(refused);
            }
        }
    }

    /// Whether there was anything new.
    pub(crate) fn renew_certificates(&mut self, config: &Arc<Config>) -> Result<bool, Refused> {
        let loaded = self.tls.load(config, &self.files, self.unix(), true)?;
        self.renewal.refused = None;
        if loaded.is_in_force(&self.snapshot) {
            return Ok(false);
        }
        self.put_in_force(Arc::clone(config), self.snapshot.filters.clone(), loaded)?;
        Ok(true)
    }
}
