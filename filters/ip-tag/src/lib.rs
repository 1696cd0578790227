//! Tags requests by the network that they come from: one header field, for routes and upstreams.
//!
//! ```toml
//! [filter.tag.config]
//! header = "x-ip-tag"
//! deny = ["blocked"]
//!
//! [filter.tag.config.tags]
//! office = ["192.0.2.0/24", "2001:db8:1::/48"]
//! vpn = ["192.0.2.128/25"]
//! blocked = ["203.0.113.7"]
//! ```
//!
//! Of several networks that an address is in the longest prefix decides: `192.0.2.200` is `vpn`.
//! What downstream wrote into the field itself is always removed. The address is `source.address`,
//! whom proxies that the listener trusts speak for. `trusted_hops` is for hosts that don't know: it
//! counts from the right of `X-Forwarded-For`; where there are fewer, the tag is none.

#![deny(unsafe_code)]

mod networks;

use std::collections::BTreeMap;
use std::net::IpAddr;

use penstock::{Answer, ConfigError, Counter, Filter, Flow, Request};
use serde::Deserialize;

use networks::{Network, Networks};

#[cfg(test)]
mod tests;

/// The filter.
pub struct IpTag {
    header: String,
    networks: Networks,
    tags: Vec<Tag>,
    trusted_hops: usize,
    denied: Counter,
}

struct Tag {
    name: String,
    deny: bool,
}

/// What the operator writes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The field that gets the tag.
    #[serde(default = "header")]
    header: String,
    /// Networks by tag.
    tags: BTreeMap<String, Vec<String>>,
    /// Tags whose requests are answered 403.
    #[serde(default)]
    deny: Vec<String>,
    /// How many proxies of one's own stand before this one.
    #[serde(default)]
    trusted_hops: usize,
}

#[penstock::filter]
impl Filter for IpTag {
    type Config = Config;

    fn new(config: Config) -> Result<Self, ConfigError> {
        check_text("header", &config.header)?;
        if let Some(index) = config.deny.iter().position(|tag| !config.tags.contains_key(tag)) {
            let message = format!("{:?}: there is no such tag", config.deny[index]);
            return Err(ConfigError::at(format!("deny[{index}]"), message));
        }
        let mut tags = Vec::new();
        let mut networks = Vec::new();
        for (name, texts) in config.tags {
            check_text(&format!("tags.{name}"), &name)?;
            for (index, text) in texts.iter().enumerate() {
                let network = Network::parse(text).map_err(|reason| {
                    let message = format!("{text:?}: {reason}");
                    ConfigError::at(format!("tags.{name}[{index}]"), message)
                })?;
                networks.push((network, tags.len()));
            }
            tags.push(Tag { deny: config.deny.contains(&name), name });
        }
        let networks = Networks::new(networks).map_err(|(network, one, other)| {
            let (one, other) = (&tags[one].name, &tags[other].name);
            ConfigError::at("tags", format!("{network} is both {one:?} and {other:?}"))
        })?;
        let (header, trusted_hops) = (config.header, config.trusted_hops);
        Ok(Self { header, networks, tags, trusted_hops, denied: Counter::define("denied") })
    }

    fn on_request(&self, request: &mut Request<'_>) -> Flow {
        let tag = self.address(request).and_then(|ip| self.networks.find(ip));
        match tag.map(|tag| &self.tags[tag]) {
            None => request.remove_header(&self.header),
            Some(tag) if tag.deny => {
                self.denied.increment();
                return Answer::new(403).cause("ip_denied").into();
            }
            Some(tag) => request.set_header(&self.header, &tag.name),
        }
        Flow::Continue
    }
}

impl IpTag {
    fn address(&self, request: &Request<'_>) -> Option<IpAddr> {
        let Some(from_right) = self.trusted_hops.checked_sub(1) else {
            return request.source_ip();
        };
        // RFC 9110 §5.3: several fields are one list, in their order.
        let addresses: Vec<&[u8]> = request
            .header_values("x-forwarded-for")
            .flat_map(|value| value.split(|byte| *byte == b','))
            .collect();
        let text = addresses.iter().nth_back(from_right)?;
        core::str::from_utf8(text.trim_ascii()).ok()?.parse().ok()
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
    "x-ip-tag".to_owned()
}
