//! A listener's certificates, and which is presented to whom.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;

use crate::acceptor::{ACME_PROTOCOL, UnknownName};
use crate::certificate::{Certificate, TlsProof};
use crate::names::Names;

/// Certificates by the names that they are for. Several may be for one name: of those the first
/// is presented whose key the peer can verify.
#[derive(Debug)]
pub(crate) struct Store {
    certificates: Vec<Certificate>,
    exact: BTreeMap<Box<str>, Vec<usize>>,
    wildcard: BTreeMap<Box<str>, Vec<usize>>,
    proofs: Vec<TlsProof>,
    unknown: UnknownName,
    /// Tells whether staples hold.
    clock: Arc<dyn TimeProvider>,
}

impl Store {
    pub(crate) fn new(
        certificates: Vec<Certificate>,
        proofs: Vec<TlsProof>,
        unknown: UnknownName,
        clock: Arc<dyn TimeProvider>,
    ) -> Store {
        let (mut exact, mut wildcard) = (BTreeMap::new(), BTreeMap::new());
        for (index, certificate) in certificates.iter().enumerate() {
            let Names { exact: names, wildcard: parents, .. } = &certificate.names;
            for (names, map) in [(names, &mut exact), (parents, &mut wildcard)] {
                for name in names {
                    map.entry(name.clone()).or_insert_with(Vec::new).push(index);
                }
            }
        }
        Store { certificates, exact, wildcard, proofs, unknown, clock }
    }

    pub(crate) fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }

    pub(crate) fn has_proofs(&self) -> bool {
        !self.proofs.is_empty()
    }

    /// RFC 8737 §3: for whoever offers this protocol alone, the proof for the name and no other
    /// certificate.
    fn proof(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let proof = self.proofs.iter().find(|proof| name.is_some_and(|name| proof.is_for(name)));
        proof.map(|proof| Arc::clone(&proof.key))
    }

    /// The certificates for a name in the ClientHello: exact ones before wildcards.
    pub(crate) fn named(&self, name: Option<&str>) -> impl Iterator<Item = &Certificate> {
        let every = 0..self.certificates.len();
        let found = match name {
            // RFC 6066 §3: a name is never an address, so one that connects by it has none.
            None => Found::Every(every),
            Some(name) => {
                let name = name.trim_end_matches('.').to_ascii_lowercase();
                let parent = name.split_once('.').map(|(_, parent)| parent);
                let exact = self.exact.get(&*name);
                let known = exact.or_else(|| parent.and_then(|p| self.wildcard.get(p)));
                match (known, self.unknown) {
                    (Some(known), _) => Found::These(known.iter()),
                    (None, UnknownName::First) => Found::Every(every),
                    (None, UnknownName::Refuse) => Found::Every(0..0),
                }
            }
        };
        found.map(|index| &self.certificates[index])
    }
}

enum Found<'s> {
    These(std::slice::Iter<'s, usize>),
    Every(std::ops::Range<usize>),
}

impl Iterator for Found<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        match self {
            Found::These(indexes) => indexes.next().copied(),
            Found::Every(range) => range.next(),
        }
    }
}

impl ResolvesServerCert for Store {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        ASKED.set(Some(hello.server_name().map(Into::into)));
        if self.has_proofs() && hello.alpn().is_some_and(|mut list| list.all(is_acme)) {
            return self.proof(hello.server_name());
        }
        let schemes = hello.signature_schemes();
        let mut candidates = self.named(hello.server_name());
        let fits =
            |certificate: &&Certificate| certificate.key.key.choose_scheme(schemes).is_some();
        candidates.find(fits).map(|certificate| certificate.presented(&*self.clock))
    }
}

fn is_acme(protocol: &[u8]) -> bool {
    protocol == ACME_PROTOCOL
}

thread_local! {
    /// The name in the ClientHello that this thread has just looked at. rustls tells it to the
    /// resolver alone, and calls that from within the session's own call.
    static ASKED: RefCell<Option<Option<Box<str>>>> = const { RefCell::new(None) };
}

/// What the last ClientHello asked for, if there was one since the last call.
pub(crate) fn take_asked() -> Option<Option<Box<str>>> {
    ASKED.take()
}
