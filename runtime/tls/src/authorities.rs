//! The authorities that peers' certificates are verified against.

use std::sync::Arc;

use rustls::RootCertStore;

use crate::certificate::read_chain;
use crate::error::TlsError;
use crate::explain::sentence;

/// A set of trusted certificates.
#[derive(Clone, Debug)]
pub struct Authorities(pub(crate) Arc<RootCertStore>);

impl Authorities {
    /// From PEM text. Of a bundle, what can't be used is passed over, as long as one can.
    ///
    /// # Errors
    /// There is none, or none that can be used.
    pub fn read(pem: &[u8]) -> Result<Authorities, TlsError> {
        let (mut store, mut last) = (RootCertStore::empty(), None);
        for certificate in read_chain(pem)? {
            if let Err(error) = store.add(certificate) {
                last = Some(error);
            }
        }
        match last {
            Some(error) if store.is_empty() => {
                Err(TlsError::UnusableAuthorities { reason: sentence(&error) })
            }
            _ => Ok(Authorities(Arc::new(store))),
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}
