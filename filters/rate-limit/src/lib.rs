//! Limits how often a caller may ask, over all shards together.
//!
//! ```toml
//! [[filter.limit.config.limits]]
//! name = "per-caller"
//! key = ["header:x-api-key"]
//! requests = 100
//! per_seconds = 60
//! burst = 20
//! ```
//!
//! Each key has a token bucket: it fills by `requests` per `per_seconds` and holds `burst`. A
//! request over a limit answers 429 with `Retry-After`; every answer says what is left, in the
//! fields `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers).
//!
//! The buckets are shared data, changed by compare-and-swap, so the limit holds for the appliance
//! and not per shard. Their number is fixed (`keys_max`): where more keys than that are busy, the
//! one that is closest to being full again makes room. If the proxy has no memory left for shared
//! data, requests go on and `unjudged` counts them.

#![deny(unsafe_code)]

mod bucket;
mod config;
mod key;
mod store;

use std::time::Duration;

use penstock::{
    Answer, ConfigError, Counter, Filter, Flow, Plugin, Request, Response, Shared, clock, random,
};

use bucket::Decision;
use config::{Config, Limit};

#[cfg(test)]
mod tests;

/// The filter.
pub struct RateLimit {
    limits: Vec<Limit>,
    /// Makes the places of keys unpredictable: nobody aims at another one's bucket.
    seed: std::cell::Cell<u64>,
    limited: Counter,
    unjudged: Counter,
}

/// What the response will say: the limit that is closest to its end.
#[derive(Default)]
pub struct Tightest {
    fields: Option<(String, String)>,
}

#[penstock::filter]
impl Filter for RateLimit {
    type Config = Config;
    type State = Tightest;

    fn new(config: Config) -> Result<Self, ConfigError> {
        let limits = config.check()?;
        // Of two shards that start at the same moment the later one's seed stays; the tick below
        // has the other one take it.
        clock::every(SEED_SETTLED);
        Ok(Self {
            limits,
            seed: std::cell::Cell::new(seed()),
            limited: Counter::define("limited"),
            unjudged: Counter::define("unjudged"),
        })
    }

    fn on_tick(&self, _: &mut Plugin<'_>) {
        self.seed.set(seed());
        clock::every(Duration::ZERO);
    }

    fn on_request(&self, request: &mut Request<'_, Tightest>) -> Flow {
        let now = clock::monotonic();
        let mut tightest: Option<(u64, &Limit, Decision)> = None;
        for limit in &self.limits {
            let key = limit.key.of(request, self.seed.get());
            let Ok(decision) = store::take(limit, key, now) else {
                self.unjudged.increment();
                continue;
            };
            if let Decision::Refused { retry_after } = decision {
                self.limited.increment();
                return refusal(limit, retry_after).into();
            }
            let left = decision.left();
            if tightest.as_ref().is_none_or(|(least, ..)| left < *least) {
                tightest = Some((left, limit, decision));
            }
        }
        request.state.fields = tightest.map(|(_, limit, decision)| fields(limit, &decision));
        Flow::Continue
    }

    fn on_response(&self, response: &mut Response<'_, Tightest>) -> Flow {
        if let Some((policy, state)) = response.state.fields.take() {
            response.set_header("ratelimit-policy", policy);
            response.set_header("ratelimit", state);
        }
        Flow::Continue
    }
}

fn refusal(limit: &Limit, retry_after: Duration) -> Answer {
    let (policy, state) = fields(limit, &Decision::Refused { retry_after });
    // RFC 6585 §4 and RFC 9110 §10.2.3: whole seconds; rounded up, or the retry comes too soon.
    let seconds = retry_after.as_millis().div_ceil(1000);
    Answer::new(429)
        .header("retry-after", seconds.to_string())
        .header("ratelimit-policy", policy)
        .header("ratelimit", state)
        .cause("rate_limited")
}

/// The two fields: the limit, and where the key stands with it.
fn fields(limit: &Limit, decision: &Decision) -> (String, String) {
    let (name, requests, window) = (&limit.name, limit.requests, limit.per_seconds);
    let seconds = decision.reset().as_millis().div_ceil(1000);
    (
        format!("\"{name}\";q={requests};w={window}"),
        format!("\"{name}\";r={};t={seconds}", decision.left()),
    )
}

/// The seed of all shards: the one that is there, or a new one.
fn seed() -> u64 {
    let shared = Shared::<u64>::new("rate-limit seed");
    shared.load().unwrap_or_else(|| {
        let seed = random::number();
        // Refused: no memory for shared data, so no buckets either; any seed will do.
        let _ = shared.store(&seed);
        seed
    })
}

/// Long enough for every shard to have started.
const SEED_SETTLED: Duration = Duration::from_secs(1);
