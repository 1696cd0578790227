//! Keys as JSON Web Keys (RFC 7517, RFC 7518 §6), and the verification of a signature.
//!
//! A key has one algorithm, told by its kind. The token's `alg` only has to agree with it
//! (RFC 8725 §3.1): the token never chooses how it is verified.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use p256::ecdsa::signature::Verifier;
use p256::{EncodedPoint, FieldBytes, ecdsa};
use penstock::debug;
use rsa::traits::PublicKeyParts;
use rsa::{BigUint, Pkcs1v15Sign, RsaPublicKey};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::token::{Algorithm, Denial, Token};

/// The keys that are known at one time.
#[derive(Default)]
pub(crate) struct KeySet {
    keys: Vec<Key>,
}

struct Key {
    id: Option<String>,
    material: Material,
}

enum Material {
    Hmac(Vec<u8>),
    Rsa(RsaPublicKey),
    P256(ecdsa::VerifyingKey),
}

/// A JWK set as text has it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Jwks {
    keys: Vec<Jwk>,
}

/// A key as text has it. Members that do not matter for verification are ignored.
#[derive(Clone, Debug, Deserialize)]
struct Jwk {
    kty: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    alg: Option<String>,
    #[serde(default, rename = "use")]
    purpose: Option<String>,
    #[serde(default)]
    key_ops: Option<Vec<String>>,
    #[serde(default)]
    crv: Option<String>,
    #[serde(default)]
    k: Option<String>,
    #[serde(default)]
    n: Option<String>,
    #[serde(default)]
    e: Option<String>,
    #[serde(default)]
    x: Option<String>,
    #[serde(default)]
    y: Option<String>,
}

/// Where a set comes from decides what may be in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The operator wrote it: secrets may be in it.
    Configuration,
    /// An issuer publishes it. A secret that is published is none.
    Issuer,
}

/// What is wrong with one key of a set.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadKey {
    pub(crate) index: usize,
    pub(crate) reason: &'static str,
}

impl KeySet {
    /// The usable keys of `set`. Keys of a kind or for a purpose that is not ours are left out
    /// (RFC 7517 §5). One that is ours but unfit is left out too where an issuer published it, and
    /// an error where the operator wrote it.
    pub(crate) fn new(set: &Jwks, source: Source) -> Result<Self, BadKey> {
        let mut keys = Vec::new();
        for (index, jwk) in set.keys.iter().enumerate().take(KEYS_MAX) {
            match jwk.key(source) {
                Ok(Some(key)) => keys.push(key),
                Ok(None) => {}
                Err(reason) if source == Source::Issuer => {
                    debug!("the issuer's key {index} is left out: {reason}");
                }
                Err(reason) => return Err(BadKey { index, reason }),
            }
        }
        Ok(Self { keys })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether the token's signature was made with the key that it names.
    pub(crate) fn verify(&self, token: &Token<'_>) -> Result<(), Denial> {
        let mut fitting = self.keys.iter().filter(|key| {
            key.material.algorithm() == token.algorithm
                && (token.key_id.is_none() || token.key_id == key.id)
        });
        let key = fitting.next().ok_or(Denial::UnknownKey)?;
        // A token that names no key must leave no choice: trying one after the other would have
        // callers choose how much work we do.
        if fitting.next().is_some() {
            return Err(Denial::UnknownKey);
        }
        match key.material.verifies(token) {
            true => Ok(()),
            false => Err(Denial::Signature),
        }
    }
}

impl Material {
    fn algorithm(&self) -> Algorithm {
        match self {
            Self::Hmac(_) => Algorithm::Hs256,
            Self::Rsa(_) => Algorithm::Rs256,
            Self::P256(_) => Algorithm::Es256,
        }
    }

    fn verifies(&self, token: &Token<'_>) -> bool {
        match self {
            Self::Hmac(secret) => {
                let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else { return false };
                mac.update(token.signed);
                // Compares in constant time.
                mac.verify_slice(&token.signature).is_ok()
            }
            Self::Rsa(key) => {
                let digest = Sha256::digest(token.signed);
                key.verify(Pkcs1v15Sign::new::<Sha256>(), &digest, &token.signature).is_ok()
            }
            // RFC 7518 §3.4: the signature is R and S side by side, 64 bytes, not ASN.1.
            Self::P256(key) => ecdsa::Signature::from_slice(&token.signature)
                .is_ok_and(|signature| key.verify(token.signed, &signature).is_ok()),
        }
    }
}

impl Jwk {
    /// The key, or `None` for one that is not for us.
    fn key(&self, source: Source) -> Result<Option<Key>, &'static str> {
        let signs = self.purpose.as_deref().is_none_or(|purpose| purpose == "sig");
        let verifies = self.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        if !signs || !verifies {
            return Ok(None);
        }
        let material = match (self.kty.as_str(), self.crv.as_deref()) {
            ("oct", _) if source == Source::Issuer => return Ok(None),
            ("oct", _) => self.hmac()?,
            ("RSA", _) => self.rsa()?,
            ("EC", Some("P-256")) => self.p256()?,
            _ => return Ok(None),
        };
        let algorithm = material.algorithm();
        match self.alg.as_deref().map(Algorithm::named) {
            Some(named) if named != Some(algorithm) => Ok(None),
            _ => Ok(Some(Key { id: self.kid.clone(), material })),
        }
    }

    fn hmac(&self) -> Result<Material, &'static str> {
        let secret = bytes(&self.k).ok_or("`k` must be the secret in base64url")?;
        // RFC 7518 §3.2: a key of at least the size of the hash.
        if secret.len() < 32 {
            return Err("a secret for HS256 has at least 32 bytes");
        }
        Ok(Material::Hmac(secret))
    }

    fn rsa(&self) -> Result<Material, &'static str> {
        let number = |member| bytes(member).map(|bytes| BigUint::from_bytes_be(&bytes));
        let modulus = number(&self.n).ok_or("`n` must be the modulus in base64url")?;
        let exponent = number(&self.e).ok_or("`e` must be the exponent in base64url")?;
        let key = RsaPublicKey::new(modulus, exponent).map_err(|_| "not an RSA key we can use")?;
        // RFC 7518 §3.3: 2048 bits or more. `RsaPublicKey::new` refuses more than 4096.
        if key.size() < 256 {
            return Err("an RSA key has at least 2048 bits");
        }
        Ok(Material::Rsa(key))
    }

    fn p256(&self) -> Result<Material, &'static str> {
        let coordinate = |member| bytes(member).filter(|bytes| bytes.len() == 32);
        let x = coordinate(&self.x).ok_or("`x` must be 32 bytes in base64url")?;
        let y = coordinate(&self.y).ok_or("`y` must be 32 bytes in base64url")?;
        let point = EncodedPoint::from_affine_coordinates(
            FieldBytes::from_slice(&x),
            FieldBytes::from_slice(&y),
            false,
        );
        // It checks that the point is on the curve.
        ecdsa::VerifyingKey::from_encoded_point(&point)
            .map(Material::P256)
            .map_err(|_| "the point is not on the curve P-256")
    }
}

fn bytes(member: &Option<String>) -> Option<Vec<u8>> {
    // Some issuers pad, though RFC 7515 §2 says that they must not.
    URL_SAFE_NO_PAD.decode(member.as_deref()?.trim_end_matches('=')).ok()
}

/// More keys than any issuer has in use at one time.
const KEYS_MAX: usize = 64;
