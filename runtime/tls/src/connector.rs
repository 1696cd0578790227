//! A cluster's side of TLS: how its endpoints are verified, and who we are to them.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::{Resumption, UnbufferedClientConnection, WebPkiServerVerifier};
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::time_provider::TimeProvider;

use crate::authorities::Authorities;
use crate::certificate::Certificate;
use crate::error::TlsError;
use crate::explain::sentence;
use crate::pins::{Pin, Verifier};
use crate::provider::{Versions, provider};
use crate::revocations::{RevocationList, Revocations};
use crate::session::{Session, SessionError};

/// Sessions that a shard remembers of one cluster, to resume them.
const SESSIONS_MAX: usize = 256;

/// How an endpoint proves who it is.
#[derive(Clone, Debug)]
pub enum Verify {
    /// By a certificate that an authority signed for its name; and by its key, if any is pinned.
    Authorities(Authorities, Vec<Pin>),
    /// By its key alone.
    Pins(Vec<Pin>),
    /// It does not: whoever answers is believed.
    Nothing,
}

/// What a [`Connector`] is made of.
pub struct ConnectorSettings {
    /// How endpoints are verified.
    pub verify: Verify,
    /// What the authorities have revoked, where they verify.
    pub revocations: Revocations,
    /// The name that is asked for and verified; an endpoint's own address without one.
    pub server_name: Option<String>,
    /// Who we are, where endpoints ask.
    pub certificate: Option<Certificate>,
    /// What is spoken.
    pub versions: Versions,
    /// Protocols by their ALPN names, the preferred one first.
    pub protocols: Vec<Vec<u8>>,
    /// Tells the time.
    pub clock: Arc<dyn TimeProvider>,
}

/// A cluster's side. Shared by all shards; each makes its own [`Dialer`] of it.
#[derive(Debug)]
pub struct Connector {
    config: ClientConfig,
    server_name: Option<ServerName<'static>>,
    certificate: Option<Certificate>,
    revocations: Revocations,
}

impl Connector {
    /// Makes one.
    ///
    /// # Errors
    /// A name that is none, or authorities that nothing can be verified with.
    pub fn new(settings: ConnectorSettings) -> Result<Connector, TlsError> {
        let ConnectorSettings { verify, revocations, certificate, .. } = settings;
        let server_name = settings.server_name.map(|name| {
            ServerName::try_from(name.clone()).map_err(|_| TlsError::BadServerName { name })
        });
        let builder = ClientConfig::builder_with_details(provider(), settings.clock)
            .with_protocol_versions(settings.versions.of_rustls())
            .map_err(|error| TlsError::UnusableCertificate { reason: sentence(&error) })?;
        let verifier = Arc::new(verifier(verify, &revocations)?);
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        let mut config = match &certificate {
            Some(certificate) => builder.with_client_cert_resolver(Arc::new(
                SingleCertAndKey::from(Arc::clone(&certificate.key)),
            )),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = settings.protocols;
        config.resumption = Resumption::disabled();
        // A session's records are made by us once it is open.
        config.enable_secret_extraction = true;
        Ok(Connector { config, server_name: server_name.transpose()?, certificate, revocations })
    }

    /// Who we are to the endpoints, if anybody.
    pub fn certificate(&self) -> Option<&Certificate> {
        self.certificate.as_ref()
    }

    /// What is looked at of endpoints' certificates.
    pub fn revocation_lists(&self) -> &[RevocationList] {
        self.revocations.lists()
    }

    /// One shard's way to begin sessions: it alone remembers them, so nothing is shared.
    pub fn dialer(&self) -> Dialer {
        let mut config = self.config.clone();
        config.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
        Dialer { config: Arc::new(config), server_name: self.server_name.clone() }
    }
}

fn verifier(verify: Verify, revocations: &Revocations) -> Result<Verifier, TlsError> {
    let provider = provider();
    let (authorities, pins) = match verify {
        Verify::Authorities(authorities, pins) => {
            let builder =
                WebPkiServerVerifier::builder_with_provider(authorities.0, Arc::clone(&provider));
            let builder = builder.with_crls(revocations.der());
            let over = revocations.refuse_when_over();
            let builder = if over { builder.enforce_revocation_expiration() } else { builder };
            let built = builder.build();
            let unusable = |error: rustls::client::VerifierBuilderError| {
                TlsError::UnusableAuthorities { reason: error.to_string() }
            };
            (Some(built.map_err(unusable)?), pins)
        }
        Verify::Pins(pins) => (None, pins),
        Verify::Nothing => (None, Vec::new()),
    };
    Ok(Verifier { authorities, pins, provider })
}

/// One shard's way to begin sessions with a cluster's endpoints.
#[derive(Clone, Debug)]
pub struct Dialer {
    config: Arc<ClientConfig>,
    server_name: Option<ServerName<'static>>,
}

impl Dialer {
    /// Begins a session with the endpoint at `address`; `None` is one without an IP address,
    /// which only a configured name can verify.
    ///
    /// # Errors
    /// Neither a name nor an address to verify.
    pub fn begin(&self, address: Option<IpAddr>) -> Result<Session, SessionError> {
        let name = match (&self.server_name, address) {
            (Some(name), _) => name.clone(),
            (None, Some(address)) => ServerName::IpAddress(address.into()),
            (None, None) => return Err(SessionError::nameless()),
        };
        let connection = UnbufferedClientConnection::new(Arc::clone(&self.config), name)?;
        Ok(Session::of_client(connection))
    }
}
