//! The cipher suites that are spoken, by the names that the IANA gives them.

use rustls::{CipherSuite, SupportedCipherSuite};

/// A cipher suite: its place in [`Suite::ALL`], so that a log can keep it in a byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Suite(u8);

impl Suite {
    /// Each suite's version of TLS, and its name.
    pub const ALL: &'static [(&'static str, &'static str)] = &[
        ("?", "?"),
        ("TLSv1.3", "TLS_AES_128_GCM_SHA256"),
        ("TLSv1.3", "TLS_AES_256_GCM_SHA384"),
        ("TLSv1.3", "TLS_CHACHA20_POLY1305_SHA256"),
        ("TLSv1.2", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
        ("TLSv1.2", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"),
        ("TLSv1.2", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"),
        ("TLSv1.2", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
        ("TLSv1.2", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"),
        ("TLSv1.2", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"),
    ];

    pub(crate) fn of(suite: SupportedCipherSuite) -> Suite {
        Suite(match suite.suite() {
            CipherSuite::TLS13_AES_128_GCM_SHA256 => 1,
            CipherSuite::TLS13_AES_256_GCM_SHA384 => 2,
            CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => 3,
            CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => 4,
            CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => 5,
            CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => 6,
            CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => 7,
            CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => 8,
            CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => 9,
            _ => 0,
        })
    }

    /// Its place in [`Suite::ALL`].
    pub fn index(self) -> u8 {
        self.0
    }

    /// `TLSv1.2` or `TLSv1.3`: no suite is of both.
    pub fn version(self) -> &'static str {
        Suite::ALL[usize::from(self.0)].0
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Suite::ALL[usize::from(self.0)].1
    }
}

#[cfg(test)]
mod tests {
    use super::Suite;
    use crate::provider::provider;

    #[test]
    fn every_suite_that_is_spoken_has_its_name_and_version() {
        let suites = &provider().cipher_suites;
        assert_eq!(suites.len(), Suite::ALL.len() - 1);
        for &suite in suites {
            let ours = Suite::of(suite);
            let theirs = suite.suite().as_str().unwrap_or_default();
            assert_eq!(ours.name(), theirs.replace("TLS13_", "TLS_"));
            assert_eq!(ours.version() == "TLSv1.3", suite.tls13().is_some());
        }
    }
}
