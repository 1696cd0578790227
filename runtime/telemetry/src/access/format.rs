//! The formats of a line, and the names behind a record's indexes.

use super::record::{AccessRecord, Tls};
use super::{json, text};

/// How a record is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object per line.
    Json,
    /// nginx' combined format, then `key=value` for what that does not know.
    Text,
}

impl Format {
    /// Appends one line, its line feed included.
    pub fn write(self, record: &AccessRecord, names: &Names, out: &mut Vec<u8>) {
        match self {
            Format::Json => json::write(record, names, out),
            Format::Text => text::write(record, names, out),
        }
    }
}

/// The names of one snapshot, by index. An index without a name is written as `?`.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Listeners.
    pub listeners: Vec<String>,
    /// Services.
    pub services: Vec<String>,
    /// Routes, by the listener that they are of.
    pub routes: Vec<Vec<String>>,
    /// Clusters.
    pub clusters: Vec<String>,
    /// Causes.
    pub causes: &'static [&'static str],
    /// Codes of gRPC.
    pub codes: &'static [&'static str],
    /// Cipher suites: the version of TLS that each is of, and its name.
    pub suites: &'static [(&'static str, &'static str)],
}

impl Names {
    /// No names at all.
    pub const NONE: Names = Names {
        listeners: Vec::new(),
        services: Vec::new(),
        routes: Vec::new(),
        clusters: Vec::new(),
        causes: &[],
        codes: &[],
        suites: &[],
    };

    pub(super) fn listener(&self, record: &AccessRecord) -> &str {
        name(&self.listeners, usize::from(record.listener))
    }

    pub(super) fn service(&self, record: &AccessRecord) -> Option<&str> {
        record.service.map(|index| name(&self.services, usize::from(index)))
    }

    pub(super) fn route(&self, record: &AccessRecord) -> Option<&str> {
        let routes = self.routes.get(usize::from(record.listener));
        record.route.map(|index| name(routes.map_or(&[][..], |routes| routes), index as usize))
    }

    pub(super) fn cluster(&self, record: &AccessRecord) -> Option<&str> {
        record.cluster.map(|index| name(&self.clusters, usize::from(index)))
    }

    pub(super) fn cause(&self, record: &AccessRecord) -> Option<&str> {
        record.cause.map(|index| name(self.causes, usize::from(index)))
    }

    pub(super) fn code(&self, record: &AccessRecord) -> Option<&str> {
        record.code.map(|index| name(self.codes, usize::from(index)))
    }

    /// Version and cipher suite.
    pub(super) fn tls(&self, tls: Tls) -> (&'static str, &'static str) {
        self.suites.get(usize::from(tls.suite)).copied().unwrap_or(("?", "?"))
    }
}

fn name<T: AsRef<str>>(names: &[T], index: usize) -> &str {
    names.get(index).map_or("?", T::as_ref)
}
