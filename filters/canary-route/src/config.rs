//! What the operator writes: variants, their shares and signs, and what callers are told apart by.

use std::borrow::Cow;

use penstock::{ConfigError, Request};
use serde::Deserialize;

/// The configuration.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The field that routes match on.
    #[serde(default = "header")]
    header: String,
    /// What the field says of requests that are given to no variant.
    #[serde(default = "default_name")]
    default: String,
    /// What callers are told apart by: the first of these that a request has.
    #[serde(default = "by_ip")]
    key: Vec<String>,
    /// Makes this filter's choice independent of another's.
    #[serde(default)]
    salt: String,
    variants: Vec<VariantConfig>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct VariantConfig {
    name: String,
    /// Its share of all callers, down to 0.01.
    #[serde(default)]
    percent: f64,
    /// Signs that give a request to it whatever its share.
    #[serde(default)]
    when: Vec<SignConfig>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignConfig {
    #[serde(default)]
    header: Option<String>,
    #[serde(default)]
    cookie: Option<String>,
    value: String,
}

/// The configuration, checked.
pub(crate) struct Rules {
    pub(crate) header: String,
    pub(crate) default: String,
    pub(crate) key: Vec<Part>,
    pub(crate) salt: String,
    pub(crate) variants: Vec<Variant>,
}

/// A part of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Ip,
    Header(String),
    Cookie(String),
}

/// A variant.
pub(crate) struct Variant {
    pub(crate) name: String,
    /// In parts of [`WHOLE`].
    pub(crate) share: u32,
    when: Vec<(Part, String)>,
}

/// All callers, in hundredths of a percent.
pub(crate) const WHOLE: u32 = 10_000;

impl Part {
    fn parse(text: &str) -> Option<Self> {
        match text.split_once(':') {
            None => (text == "ip").then_some(Self::Ip),
            Some((_, "")) => None,
            Some(("header", name)) => Some(Self::Header(name.to_ascii_lowercase())),
            Some(("cookie", name)) => Some(Self::Cookie(name.to_owned())),
            Some(_) => None,
        }
    }

    /// What the request has of it.
    pub(crate) fn of<'a>(&self, request: &Request<'a>) -> Option<Cow<'a, [u8]>> {
        match self {
            Self::Ip => request.source_ip().map(|ip| ip.to_string().into_bytes().into()),
            Self::Header(name) => request.header_bytes(name).map(Cow::from),
            Self::Cookie(name) => request.cookie(name).map(|value| value.as_bytes().into()),
        }
    }
}

impl Variant {
    /// The request has one of its signs.
    pub(crate) fn is_signed_by(&self, request: &Request<'_>) -> bool {
        let has = |(part, value): &(Part, String)| {
            part.of(request).is_some_and(|found| *found == *value.as_bytes())
        };
        self.when.iter().any(has)
    }
}

impl Config {
    pub(crate) fn check(self) -> Result<Rules, ConfigError> {
        check_text("header", &self.header)?;
        check_text("default", &self.default)?;
        let mut key = Vec::new();
        for (index, text) in self.key.iter().enumerate() {
            key.push(Part::parse(text).ok_or_else(|| {
                let message = format!("{text:?}: ip, header:NAME or cookie:NAME");
                ConfigError::at(format!("key[{index}]"), message)
            })?);
        }
        let mut variants: Vec<Variant> = Vec::new();
        let mut left = WHOLE;
        for (index, variant) in self.variants.into_iter().enumerate() {
            let at = format!("variants[{index}]");
            let variant = variant.check(&at)?;
            let taken = variants.iter().any(|other| other.name == variant.name);
            if taken || variant.name == self.default {
                let message = format!("{:?} is there already", variant.name);
                return Err(ConfigError::at(format!("{at}.name"), message));
            }
            left = left.checked_sub(variant.share).ok_or_else(|| {
                ConfigError::at(format!("{at}.percent"), "more than 100 together")
            })?;
            variants.push(variant);
        }
        Ok(Rules { header: self.header, default: self.default, key, salt: self.salt, variants })
    }
}

impl VariantConfig {
    fn check(self, at: &str) -> Result<Variant, ConfigError> {
        check_text(&format!("{at}.name"), &self.name)?;
        if !(0.0..=100.0).contains(&self.percent) {
            let message = format!("{}: from 0 to 100", self.percent);
            return Err(ConfigError::at(format!("{at}.percent"), message));
        }
        let mut when = Vec::new();
        for (index, sign) in self.when.into_iter().enumerate() {
            let part = match (sign.header, sign.cookie) {
                (Some(name), None) => Part::Header(name.to_ascii_lowercase()),
                (None, Some(name)) => Part::Cookie(name),
                _ => {
                    let message = "`header` or `cookie`, one of them";
                    return Err(ConfigError::at(format!("{at}.when[{index}]"), message));
                }
            };
            when.push((part, sign.value));
        }
        // In range: 0 to 10,000 by the check above.
        let share = (self.percent * 100.0).round() as u32;
        Ok(Variant { name: self.name, share, when })
    }
}

/// A field's name or value that is safe anywhere.
fn check_text(at: &str, text: &str) -> Result<(), ConfigError> {
    let fits =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    if text.is_empty() || !text.bytes().all(fits) {
        let message = format!("{text:?}: small letters, digits, and any of -_.");
        return Err(ConfigError::at(at, message));
    }
    Ok(())
}

fn header() -> String {
    "x-variant".to_owned()
}

fn default_name() -> String {
    "stable".to_owned()
}

fn by_ip() -> Vec<String> {
    vec!["ip".to_owned()]
}
