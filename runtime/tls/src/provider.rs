//! The cryptography that is used: aws-lc-rs, the hybrid key exchange first.

use std::sync::Arc;

use rustls::SupportedProtocolVersion;
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::version::{TLS12, TLS13};

/// A version of TLS. Older ones are not spoken (RFC 8996).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// TLS 1.2, with ephemeral keys and authenticated encryption only.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// The versions that are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versions {
    /// TLS 1.2 and 1.3.
    Both,
    /// One alone.
    Only(Version),
}

impl Versions {
    pub(crate) fn of_rustls(self) -> &'static [&'static SupportedProtocolVersion] {
        match self {
            Versions::Both => BOTH,
            Versions::Only(Version::Tls12) => &BOTH[1..],
            Versions::Only(Version::Tls13) => &BOTH[..1],
        }
    }
}

static BOTH: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];

/// Everything cryptographic.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider { kx_groups: GROUPS.to_vec(), ..default_provider() })
}

/// draft-ietf-tls-ecdhe-mlkem: what is recorded today stays closed to the quantum computers of
/// later. The classical ones are for peers that don't know it.
const GROUPS: &[&dyn SupportedKxGroup] =
    &[kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1];
