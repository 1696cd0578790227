//! The certificates that a config names: read, made ready, put in force and shown.
//!
//! `loader` makes of them what handshakes are made with, and knows what is the same as before;
//! `reading` reads one table's files; `renewal` looks whether they changed; `views` shows them.

mod loader;
mod reading;
mod renewal;
mod views;

use thiserror::Error;

pub(crate) use loader::{Loaded, TlsLoader};
pub(crate) use reading::examine;
pub(crate) use renewal::Renewal;
pub use views::{CertificateView, RevocationListView};

/// Why a config's certificates can't be used.
#[derive(Debug, Error)]
#[error("{key}: {file}{problem}")]
pub struct BadTls {
    /// The table that names it, as in `listener.web.tls`.
    pub key: String,
    /// The file, with a blank behind it; empty where none is to blame.
    pub file: String,
    /// What is wrong with it.
    pub problem: String,
}
