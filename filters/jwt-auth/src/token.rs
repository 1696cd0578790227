//! A token in its compact form (RFC 7515 §7.1), taken apart but not yet believed.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use crate::claims::Claims;

/// A token's parts.
pub(crate) struct Token<'t> {
    pub(crate) algorithm: Algorithm,
    pub(crate) key_id: Option<String>,
    /// What the signature is over: header, dot, payload, as they came.
    pub(crate) signed: &'t [u8],
    payload: &'t str,
    pub(crate) signature: Vec<u8>,
}

/// How a token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Hs256,
    Rs256,
    Es256,
}

/// Why a request does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denial {
    Missing,
    Ambiguous,
    Malformed,
    Algorithm,
    UnknownKey,
    Signature,
    Expired,
    NotYet,
    NoExpiry,
    Issuer,
    Audience,
}

/// The protected header. Members that are not here are ignored, as RFC 7515 §4 asks, but for
/// `crit`: what it names must be understood, and nothing that it could name is.
#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    crit: Option<serde::de::IgnoredAny>,
}

impl Algorithm {
    /// The algorithm by its name. `none` is not among them (RFC 8725 §3.1).
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "HS256" => Some(Self::Hs256),
            "RS256" => Some(Self::Rs256),
            "ES256" => Some(Self::Es256),
            _ => None,
        }
    }
}

impl<'t> Token<'t> {
    pub(crate) fn parse(text: &'t str) -> Result<Self, Denial> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(Denial::Malformed);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(Denial::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(Denial::Malformed)?;
        if payload.contains('.') {
            return Err(Denial::Malformed);
        }
        let header: Header =
            serde_json::from_slice(&decode(header)?).map_err(|_| Denial::Malformed)?;
        // RFC 7515 §4.1.11: what is marked critical and not understood makes a token invalid.
        if header.crit.is_some() {
            return Err(Denial::Algorithm);
        }
        Ok(Self {
            algorithm: Algorithm::named(&header.alg).ok_or(Denial::Algorithm)?,
            key_id: header.kid,
            signed: signed.as_bytes(),
            payload,
            signature: decode(signature)?,
        })
    }

    /// The claims. To be asked for after the signature was found good, not before.
    pub(crate) fn claims(&self) -> Result<Claims, Denial> {
        Claims::parse(&decode(self.payload)?)
    }
}

fn decode(part: &str) -> Result<Vec<u8>, Denial> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Denial::Malformed)
}

impl Denial {
    /// The reason in a sentence that may go to the caller: it tells nothing about keys or rules
    /// that the caller could use.
    pub(crate) fn description(self) -> &'static str {
        match self {
            Self::Missing => "The request has no token",
            Self::Ambiguous => "The request has more than one token",
            Self::Malformed => "The token is malformed",
            Self::Algorithm => "The token's algorithm is not accepted",
            Self::UnknownKey => "The token's key is unknown",
            Self::Signature => "The token's signature is wrong",
            Self::Expired => "The token has expired",
            Self::NotYet => "The token is not valid yet",
            Self::NoExpiry => "The token never expires",
            Self::Issuer => "The token's issuer is not accepted",
            Self::Audience => "The token is for someone else",
        }
    }

    /// The reason in one word, for the access log.
    pub(crate) fn cause(self) -> &'static str {
        match self {
            Self::Missing => "jwt_missing",
            Self::Ambiguous => "jwt_ambiguous",
            Self::Malformed => "jwt_malformed",
            Self::Algorithm => "jwt_algorithm",
            Self::UnknownKey => "jwt_unknown_key",
            Self::Signature => "jwt_signature",
            Self::Expired => "jwt_expired",
            Self::NotYet => "jwt_not_yet",
            Self::NoExpiry => "jwt_no_expiry",
            Self::Issuer => "jwt_issuer",
            Self::Audience => "jwt_audience",
        }
    }
}

/// Twice what a cookie may hold; more is not a token but an attempt to keep us busy.
const TOKEN_BYTES_MAX: usize = 8 * 1024;
