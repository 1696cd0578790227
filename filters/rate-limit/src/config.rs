//! What the operator writes.

use penstock::ConfigError;
use serde::Deserialize;

use crate::bucket::Rate;
use crate::key::Key;
use crate::store::WAYS;

/// The configuration: limits that all have to agree to a request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    limits: Vec<LimitConfig>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitConfig {
    /// What callers see in the answer, and what buckets are kept under over a reload.
    name: String,
    /// `ip`, `path`, `method`, `host`, `header:NAME`, `cookie:NAME`. Together they are the key.
    #[serde(default = "by_ip")]
    key: Vec<String>,
    requests: u32,
    #[serde(default = "one")]
    per_seconds: u32,
    /// How many at once; as many as `requests` if it is not there.
    #[serde(default)]
    burst: Option<u32>,
    /// How many keys can be busy at one time.
    #[serde(default = "keys_max")]
    keys_max: u32,
}

/// A limit that was checked.
pub(crate) struct Limit {
    pub(crate) name: String,
    pub(crate) key: Key,
    pub(crate) rate: Rate,
    pub(crate) rows: u32,
    pub(crate) requests: u32,
    pub(crate) per_seconds: u32,
}

impl Config {
    pub(crate) fn check(self) -> Result<Vec<Limit>, ConfigError> {
        if self.limits.is_empty() {
            return Err(ConfigError::at("limits", "at least one, or leave the filter out"));
        }
        let mut limits: Vec<Limit> = Vec::new();
        for (index, limit) in self.limits.into_iter().enumerate() {
            let limit = limit.check(&format!("limits[{index}]"))?;
            if limits.iter().any(|other| other.name == limit.name) {
                let message = format!("{:?}: another limit has this name", limit.name);
                return Err(ConfigError::at(format!("limits[{index}].name"), message));
            }
            limits.push(limit);
        }
        Ok(limits)
    }
}

impl LimitConfig {
    fn check(self, at: &str) -> Result<Limit, ConfigError> {
        // It stands in quotes in a field (RFC 9651 §3.3.3).
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if self.name.is_empty() || !self.name.bytes().all(fits) {
            let message = format!("{:?}: letters, digits, and any of -_.", self.name);
            return Err(ConfigError::at(format!("{at}.name"), message));
        }
        let key = Key::parse(&self.key).map_err(|index| {
            let message = format!(
                "{:?}: ip, path, method, host, header:NAME or cookie:NAME",
                self.key[index]
            );
            ConfigError::at(format!("{at}.key[{index}]"), message)
        })?;
        let burst = self.burst.unwrap_or(self.requests);
        for (entry, value, max) in [
            ("requests", self.requests, 1_000_000),
            ("per_seconds", self.per_seconds, 86_400),
            ("burst", burst, 1_000_000),
            ("keys_max", self.keys_max, 1 << 20),
        ] {
            if !(1..=max).contains(&value) {
                let message = format!("{value}: from 1 to {max}");
                return Err(ConfigError::at(format!("{at}.{entry}"), message));
            }
        }
        Ok(Limit {
            name: self.name,
            key,
            rate: Rate::new(self.requests, self.per_seconds, burst),
            rows: self.keys_max.div_ceil(WAYS as u32),
            requests: self.requests,
            per_seconds: self.per_seconds,
        })
    }
}

fn by_ip() -> Vec<String> {
    vec!["ip".to_owned()]
}

fn one() -> u32 {
    1
}

/// 1 MiB of shared data when all are busy: 64 bytes per row, and the host's own for the key.
fn keys_max() -> u32 {
    16_384
}
