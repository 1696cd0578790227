//! Gives each request to a variant, by share or by sign, so that routes can tell them apart.
//!
//! ```toml
//! [filter.canary.config]
//! key = ["cookie:session", "ip"]
//!
//! [[filter.canary.config.variants]]
//! name = "canary"
//! percent = 5.0
//! when = [{ header = "x-tester", value = "yes" }]
//!
//! [[listener.web.route]]
//! headers = { x-variant = "canary" }
//! to = "api-canary"
//! ```
//!
//! The variant's name is written into the request field `x-variant` (`header`), which routes match
//! on: so put the filter on the listener, before the routes. What downstream wrote there itself is
//! replaced. A request is given to the first variant whose `when` it meets; else the hash of its
//! `key` decides by `percent`; else it is `default`.
//!
//! The hash is fixed (FNV-1a and a mixer), so all shards and appliances decide alike, and a caller
//! stays where it is: with a larger `percent` callers only move into the variant, never out of it.
//! New variants go to the end of the list.

#![deny(unsafe_code)]

mod config;

use penstock::{ConfigError, Filter, Flow, Request};

use config::{Config, Rules};

#[cfg(test)]
mod tests;

/// The filter.
pub struct CanaryRoute {
    rules: Rules,
}

#[penstock::filter]
impl Filter for CanaryRoute {
    type Config = Config;

    fn new(config: Config) -> Result<Self, ConfigError> {
        Ok(Self { rules: config.check()? })
    }

    fn on_request(&self, request: &mut Request<'_>) -> Flow {
        let variant = self.rules.variant(request);
        request.set_header(&self.rules.header, variant);
        Flow::Continue
    }
}

impl Rules {
    fn variant(&self, request: &Request<'_>) -> &str {
        if let Some(variant) = self.variants.iter().find(|variant| variant.is_signed_by(request)) {
            return &variant.name;
        }
        let Some(key) = self.key.iter().find_map(|part| part.of(request)) else {
            return &self.default;
        };
        let mut share = share(&self.salt, &key);
        for variant in &self.variants {
            if share < variant.share {
                return &variant.name;
            }
            share -= variant.share;
        }
        &self.default
    }
}

/// Where a key lies in the whole, in hundredths of a percent.
fn share(salt: &str, key: &[u8]) -> u32 {
    // FNV-1a, 64 bits (Fowler, Noll, Vo), with a NUL between the two.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in salt.bytes().chain([0]).chain(key.iter().copied()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    // Its high bits are poor for short keys: the finalizer of MurmurHash3 spreads them.
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^= hash >> 33;
    // The high half times the whole: an even share without a division (Lemire 2016).
    (((hash >> 32) * u64::from(config::WHOLE)) >> 32) as u32
}
