//! TLS without sockets: certificates, tickets, handshakes and records, over rustls.
//!
//! An [`Acceptor`] is one listener's side, a [`Connector`] one cluster's; both begin [`Session`]s,
//! which take received bytes and give plain ones, and the other way round. Whoever owns the
//! stream moves the bytes. Not for files (the control side reads them), nor for deadlines.

#![forbid(unsafe_code)]

mod acceptor;
mod authorities;
mod certificate;
mod connector;
mod der;
mod error;
mod explain;
mod identity;
mod keys;
mod machine;
mod names;
mod pins;
#[cfg(any(test, feature = "property"))]
pub mod property;
mod provider;
mod responder;
mod revocations;
mod session;
mod staple;
mod store;
mod suites;
#[cfg(test)]
mod tests;
mod tickets;
mod traffic;
mod x509;

pub use acceptor::{ACME_PROTOCOL, Acceptor, AcceptorSettings, ClientCertificates, UnknownName};
pub use authorities::Authorities;
pub use certificate::{Certificate, Fingerprint, TlsProof, Validity};
pub use connector::{Connector, ConnectorSettings, Dialer, Verify};
pub use error::TlsError;
pub use explain::{Refusal, explain};
pub use identity::{Identity, Telling};
pub use names::{Names, covers};
pub use pins::Pin;
pub use provider::{Version, Versions};
pub use revocations::{ListOver, RevocationList, Revocations};
pub use session::{Facts, Received, Session, SessionError};
pub use staple::Staple;
pub use suites::Suite;
pub use tickets::{TicketSecrets, Tickets};

/// Seconds since 1970, as [`TimeProvider`] tells them.
pub use rustls::pki_types::UnixTime;
/// Tells the time where certificates and tickets are judged; the simulator has its own.
pub use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
