//! A listener's side of TLS: what it presents, what it asks for, what it speaks.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, NoServerSessionStorage, UnbufferedServerConnection};
use rustls::time_provider::TimeProvider;

use crate::authorities::Authorities;
use crate::certificate::{Certificate, TlsProof};
use crate::error::TlsError;
use crate::explain::sentence;
use crate::identity::Telling;
use crate::names::{Names, covers};
use crate::provider::{Versions, provider};
use crate::revocations::{RevocationList, Revocations};
use crate::session::{Session, SessionError};
use crate::store::Store;
use crate::tickets::Tickets;

/// What is done with a name that no certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownName {
    /// The handshake is refused.
    Refuse,
    /// The first certificate is presented.
    First,
}

/// RFC 8737 §6.2: spoken by authorities alone, and over with the handshake.
pub const ACME_PROTOCOL: &[u8] = b"acme-tls/1";

/// Whether peers have to show who they are.
#[derive(Clone, Debug)]
pub struct ClientCertificates {
    /// Who may have signed theirs.
    pub authorities: Authorities,
    /// What those have revoked.
    pub revocations: Revocations,
    /// Whether one that shows none is refused.
    pub required: bool,
}

/// What an [`Acceptor`] is made of.
pub struct AcceptorSettings {
    /// What is presented; at least one, unless some are awaited.
    pub certificates: Vec<Certificate>,
    /// Whether certificates are still to come: until then handshakes are refused.
    pub awaits_more: bool,
    /// What shows an authority that hosts are ours (RFC 8737).
    pub proofs: Vec<TlsProof>,
    /// What is done with other names.
    pub unknown_name: UnknownName,
    /// What is spoken.
    pub versions: Versions,
    /// Whose certificates are asked for, if any are.
    pub clients: Option<ClientCertificates>,
    /// How endpoints are told of those.
    pub tellings: Vec<Telling>,
    /// Seals tickets; without it no session is resumed.
    pub tickets: Option<Arc<Tickets>>,
    /// Protocols by their ALPN names, the preferred one first.
    pub protocols: Vec<Vec<u8>>,
    /// Tells the time.
    pub clock: Arc<dyn TimeProvider>,
}

/// A listener's side, ready for connections. Shared by all shards.
#[derive(Debug)]
pub struct Acceptor {
    config: Arc<ServerConfig>,
    store: Arc<Store>,
    tellings: Vec<Telling>,
    asks: bool,
    revocations: Revocations,
}

impl Acceptor {
    /// Makes one.
    ///
    /// # Errors
    /// No certificate, or authorities that nothing can be verified with.
    pub fn new(settings: AcceptorSettings) -> Result<Acceptor, TlsError> {
        let AcceptorSettings { certificates, unknown_name, versions, clients, .. } = settings;
        if certificates.is_empty() && !settings.awaits_more {
            return Err(TlsError::NothingToPresent);
        }
        let unusable =
            |error: rustls::Error| TlsError::UnusableCertificate { reason: sentence(&error) };
        let asks = clients.is_some();
        let revocations = clients.as_ref().map(|clients| clients.revocations.clone());
        let clock = Arc::clone(&settings.clock);
        let store = Arc::new(Store::new(certificates, settings.proofs, unknown_name, clock));
        let builder = ServerConfig::builder_with_details(provider(), settings.clock)
            .with_protocol_versions(versions.of_rustls())
            .map_err(unusable)?
            .with_client_cert_verifier(verifier(clients)?);
        let mut config = builder.with_cert_resolver(Arc::clone(&store) as _);
        config.alpn_protocols = settings.protocols;
        if store.has_proofs() {
            config.alpn_protocols.push(ACME_PROTOCOL.to_vec());
        }
        // The suite is ours to choose, in the provider's order: no peer gets the weakest by asking.
        config.ignore_client_order = true;
        // Tickets alone: a store of sessions would be a lock that every shard takes.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        match settings.tickets {
            Some(tickets) => config.ticketer = tickets,
            None => config.send_tls13_tickets = 0,
        }
        // A session's records are made by us once it is open.
        config.enable_secret_extraction = true;
        // RFC 8446 §8: early data can be replayed, and we don't take any.
        config.max_early_data_size = 0;
        let (config, tellings) = (Arc::new(config), settings.tellings);
        let revocations = revocations.unwrap_or_default();
        Ok(Acceptor { config, store, tellings, asks, revocations })
    }

    /// Begins a session for a connection that was accepted.
    ///
    /// # Errors
    /// Something is wrong with our configuration.
    pub fn begin(&self) -> Result<Session, SessionError> {
        let connection = UnbufferedServerConnection::new(Arc::clone(&self.config))?;
        Ok(Session::of_server(connection))
    }

    /// How endpoints are told of downstreams' certificates.
    pub fn tellings(&self) -> &[Telling] {
        &self.tellings
    }

    /// Whether downstreams are asked for certificates.
    pub fn asks_for_certificates(&self) -> bool {
        self.asks
    }

    /// What is looked at of downstreams' certificates.
    pub fn revocation_lists(&self) -> &[RevocationList] {
        self.revocations.lists()
    }

    /// What it presents.
    pub fn certificates(&self) -> &[Certificate] {
        self.store.certificates()
    }

    /// Whether a connection that was opened for `server_name` may ask for `authority`.
    pub fn serves(&self, server_name: &str, authority: &str) -> bool {
        let served = self.store.named(Some(server_name));
        covers(server_name, authority, served.map(|certificate| -> &Names { &certificate.names }))
    }
}

fn verifier(clients: Option<ClientCertificates>) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let Some(ClientCertificates { authorities, revocations, required }) = clients else {
        return Ok(Arc::new(NoClientAuth));
    };
    let builder = WebPkiClientVerifier::builder_with_provider(authorities.0, provider());
    let builder = builder.with_crls(revocations.der());
    let over = revocations.refuse_when_over();
    let builder = if over { builder.enforce_revocation_expiration() } else { builder };
    let builder = if required { builder } else { builder.allow_unauthenticated() };
    builder.build().map_err(|error| TlsError::UnusableAuthorities { reason: error.to_string() })
}
