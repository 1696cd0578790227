//! What a token says, and whether it may be believed here and now (RFC 7519 §4.1).

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::config::Rules;
use crate::token::Denial;

/// The claims of a token whose signature is good.
pub(crate) struct Claims(Map<String, Value>);

/// From when until when a token is valid, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Times {
    from: Option<f64>,
    until: Option<f64>,
}

/// Fields for upstream, made of claims.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Forwarded(Vec<(String, String)>);

impl Claims {
    pub(crate) fn parse(json: &[u8]) -> Result<Self, Denial> {
        // RFC 7519 §4: of a claim that is there twice the last counts, which is what a map does.
        serde_json::from_slice(json).map(Self).map_err(|_| Denial::Malformed)
    }

    /// Whether issuer, audience and times are right. Answers the times, which are to be checked
    /// again each time that the token is seen.
    pub(crate) fn check(&self, rules: &Rules, now: u64) -> Result<Times, Denial> {
        let times = Times { from: self.time("nbf")?, until: self.time("exp")? };
        if times.until.is_none() && rules.require_expiry {
            return Err(Denial::NoExpiry);
        }
        times.check(now, rules.leeway)?;
        if !rules.issuers.is_empty() {
            let issuer = self.0.get("iss").and_then(Value::as_str);
            if !issuer.is_some_and(|issuer| rules.issuers.iter().any(|ours| ours == issuer)) {
                return Err(Denial::Issuer);
            }
        }
        if !rules.audiences.is_empty() && !self.is_for(&rules.audiences) {
            return Err(Denial::Audience);
        }
        Ok(times)
    }

    /// RFC 7519 §4.1.3: the audience is a string or a list of strings; one of ours must be in it.
    fn is_for(&self, ours: &[String]) -> bool {
        let matches =
            |value: &Value| value.as_str().is_some_and(|name| ours.iter().any(|o| o == name));
        match self.0.get("aud") {
            Some(Value::Array(names)) => names.iter().any(matches),
            Some(name) => matches(name),
            None => false,
        }
    }

    /// RFC 7519 §2: seconds since 1970, which may have a fraction.
    fn time(&self, name: &str) -> Result<Option<f64>, Denial> {
        match self.0.get(name) {
            None => Ok(None),
            Some(value) => {
                let seconds = value.as_f64().filter(|seconds| seconds.is_finite());
                seconds.map(Some).ok_or(Denial::Malformed)
            }
        }
    }

    /// The fields that `forward` (claim to field name) makes of the claims that are there.
    pub(crate) fn forward(&self, forward: &BTreeMap<String, String>) -> Result<Forwarded, Denial> {
        let mut fields = Vec::new();
        for (claim, header) in forward {
            if let Some(value) = self.0.get(claim) {
                fields.push((header.clone(), text(value)));
            }
        }
        Ok(Forwarded(fields))
    }
}

impl Times {
    /// Whether the token is valid at `now`, give or take `leeway` for clocks that differ.
    pub(crate) fn check(&self, now: u64, leeway: u64) -> Result<(), Denial> {
        let (now, leeway) = (now as f64, leeway as f64);
        // RFC 7519 §4.1.4: not accepted on or after the expiry.
        if self.until.is_some_and(|until| now >= until + leeway) {
            return Err(Denial::Expired);
        }
        // RFC 7519 §4.1.5: not accepted before.
        if self.from.is_some_and(|from| now + leeway < from) {
            return Err(Denial::NotYet);
        }
        Ok(())
    }
}

impl Forwarded {
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(header, value)| (header.as_str(), value.as_str()))
    }
}

/// A claim as a field's value: text as it is, a list with commas, anything else as JSON.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) if items.iter().all(Value::is_string) => {
            items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")
        }
        other => other.to_string(),
    }
}
