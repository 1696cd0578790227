//! What the operator writes, checked once into what requests are judged by.

use std::collections::BTreeMap;

use penstock::{ConfigError, Request};
use serde::Deserialize;

use crate::fetch::{FetchConfig, Keyring};
use crate::keys::{Jwks, KeySet, Source};
use crate::token::Denial;

/// The configuration. At least one of `keys` and `fetch` is there.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Whose tokens are accepted (`iss`). Empty: anybody's whose key we have.
    #[serde(default)]
    issuer: OneOrMany,
    /// Who the token must be for (`aud`): one of these. Empty: for anybody.
    #[serde(default)]
    audience: OneOrMany,
    /// Keys, as a JWK set.
    #[serde(default)]
    keys: Option<Jwks>,
    /// Where the issuer publishes its keys.
    #[serde(default)]
    fetch: Option<FetchConfig>,
    /// The field that carries the token, after the word `Bearer` where it is `authorization`.
    #[serde(default = "authorization")]
    header: String,
    /// A cookie that carries the token where the field is absent.
    #[serde(default)]
    cookie: Option<String>,
    /// Claims for upstream: the claim's name to the field's.
    #[serde(default)]
    forward: BTreeMap<String, String>,
    /// Let requests without a token go on. One with a bad token does not.
    #[serde(default)]
    optional: bool,
    /// Take the token's field off the request before it goes upstream.
    #[serde(default)]
    strip: bool,
    /// Refuse tokens that never expire.
    #[serde(default = "yes")]
    require_expiry: bool,
    /// By how much clocks may differ.
    #[serde(default = "leeway")]
    leeway_seconds: u64,
    /// What the caller is told to log in to.
    #[serde(default = "realm")]
    realm: String,
}

/// A name, or a list of them.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a text or a list of texts")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl Default for OneOrMany {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl OneOrMany {
    fn list(self) -> Vec<String> {
        match self {
            Self::One(name) => vec![name],
            Self::Many(names) => names,
        }
    }
}

/// What requests are judged by.
pub(crate) struct Rules {
    pub(crate) issuers: Vec<String>,
    pub(crate) audiences: Vec<String>,
    header: String,
    cookie: Option<String>,
    pub(crate) forward: BTreeMap<String, String>,
    pub(crate) optional: bool,
    pub(crate) strip: bool,
    pub(crate) require_expiry: bool,
    pub(crate) leeway: u64,
    pub(crate) realm: String,
}

impl Config {
    pub(crate) fn check(self) -> Result<(Rules, Keyring), ConfigError> {
        for (claim, header) in &self.forward {
            check_name(&format!("forward.{claim}"), header)?;
        }
        check_name("header", &self.header)?;
        if self.leeway_seconds > LEEWAY_SECONDS_MAX {
            let message = format!("{}: at most {LEEWAY_SECONDS_MAX}", self.leeway_seconds);
            return Err(ConfigError::at("leeway_seconds", message));
        }
        if self.realm.bytes().any(|byte| matches!(byte, b'"' | b'\\') || byte.is_ascii_control()) {
            return Err(ConfigError::at("realm", "no quotes, backslashes or control characters"));
        }
        let fixed = match &self.keys {
            None => KeySet::default(),
            Some(set) => KeySet::new(set, Source::Configuration)
                .map_err(|bad| ConfigError::at(format!("keys.keys[{}]", bad.index), bad.reason))?,
        };
        match &self.fetch {
            None if self.keys.is_none() => {
                return Err(ConfigError::new("`keys` or `fetch`: one of them must be there"));
            }
            None if fixed.is_empty() => {
                return Err(ConfigError::at("keys.keys", "none of them verifies a signature"));
            }
            Some(fetch) => fetch.check()?,
            None => {}
        }
        let keyring = Keyring::new(fixed, self.fetch);
        let rules = Rules {
            issuers: self.issuer.list(),
            audiences: self.audience.list(),
            header: self.header,
            cookie: self.cookie,
            forward: self.forward,
            optional: self.optional,
            strip: self.strip,
            require_expiry: self.require_expiry,
            leeway: self.leeway_seconds,
            realm: self.realm,
        };
        Ok((rules, keyring))
    }
}

impl Rules {
    /// The token of a request, if it has one.
    pub(crate) fn find_token<'a>(&self, request: &Request<'a>) -> Result<Option<&'a str>, Denial> {
        // One call for the common case; all values only if there is one.
        if request.header_bytes(&self.header).is_none() {
            return Ok(self.cookie.as_deref().and_then(|name| request.cookie(name)));
        }
        let mut values = request.header_values(&self.header);
        let value = values.next().unwrap_or_default();
        // Which of two an upstream would believe is anyone's guess.
        if values.next().is_some() {
            return Err(Denial::Ambiguous);
        }
        let value = core::str::from_utf8(value).map_err(|_| Denial::Malformed)?.trim_ascii();
        if self.header != "authorization" {
            return Ok(Some(value));
        }
        // RFC 6750 §2.1; RFC 9110 §11.1: the scheme's case does not matter.
        match value.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
                Ok(Some(token.trim_ascii()))
            }
            // Credentials of another kind are not a token.
            _ => Ok(None),
        }
    }

    pub(crate) fn strip_token(&self, request: &mut Request<'_>) {
        request.remove_header(&self.header);
    }
}

/// RFC 9110 §5.6.2: a field's name is a token. Lower case, as the proxy has it.
fn check_name(at: &str, name: &str) -> Result<(), ConfigError> {
    let fits = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&byte)
    };
    if name.is_empty() || !name.bytes().all(fits) {
        return Err(ConfigError::at(at, format!("{name:?} is not a field's name in lower case")));
    }
    Ok(())
}

fn authorization() -> String {
    "authorization".to_owned()
}

fn yes() -> bool {
    true
}

/// RFC 7519 §4.1.4 speaks of "no more than a few minutes"; clocks that NTP keeps need far less.
fn leeway() -> u64 {
    30
}

fn realm() -> String {
    "penstock".to_owned()
}

const LEEWAY_SECONDS_MAX: u64 = 300;
