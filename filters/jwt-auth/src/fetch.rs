//! Where keys come from: the configuration, and the issuer's published set, fetched and kept.
//!
//! The set is kept as shared data too. So one shard asks for all, and an instance that is new
//! (after a reload or a trap) judges its first request by the keys that the appliance already has.
//! A fetch that fails changes nothing: the keys that were good stay good until the issuer says
//! otherwise.

use core::cell::{Cell, RefCell};
use core::time::Duration;

use penstock::{ConfigError, HttpCall, Reply, Shared, SharedValue, clock, info, warn};
use serde::Deserialize;

use crate::keys::{Jwks, KeySet, Source};
use crate::token::{Denial, Token};

/// Where the issuer publishes its keys.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FetchConfig {
    /// The cluster that the issuer is in.
    cluster: String,
    /// The issuer's name. The cluster's by default.
    #[serde(default)]
    authority: Option<String>,
    /// The path of the key set.
    path: String,
    /// How often to look for new keys.
    #[serde(default = "refresh")]
    refresh_seconds: u64,
    /// How long to wait for an answer.
    #[serde(default = "timeout")]
    timeout_ms: u64,
}

impl FetchConfig {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if self.cluster.is_empty() {
            return Err(ConfigError::at("fetch.cluster", "must name a cluster"));
        }
        if !self.path.starts_with('/') {
            return Err(ConfigError::at("fetch.path", "must begin with /"));
        }
        within("fetch.refresh_seconds", self.refresh_seconds, 10, 86_400)?;
        within("fetch.timeout_ms", self.timeout_ms, 1, 60_000)
    }
}

fn within(at: &str, value: u64, min: u64, max: u64) -> Result<(), ConfigError> {
    match (min..=max).contains(&value) {
        true => Ok(()),
        false => Err(ConfigError::at(at, format!("{value}: from {min} to {max}"))),
    }
}

/// All keys that tokens are judged by.
pub(crate) struct Keyring {
    fixed: KeySet,
    fetched: RefCell<KeySet>,
    fetch: Option<FetchConfig>,
    /// The set as it was last taken, to see whether it changed.
    taken: RefCell<String>,
    /// Counts the changes of `fetched`.
    generation: Cell<u64>,
    /// When a token with an unknown key last made us ask.
    asked: Cell<Option<Duration>>,
    failures: Cell<u32>,
}

/// The issuer's answer, as all shards see it.
struct Published {
    /// When it was fetched, in milliseconds of the monotonic clock, which all shards share.
    at_ms: u64,
    text: String,
}

impl SharedValue for Published {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.at_ms.to_le_bytes());
        out.extend_from_slice(self.text.as_bytes());
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (at_ms, text) = bytes.split_first_chunk()?;
        let text = String::from_utf8(text.to_vec()).ok()?;
        Some(Self { at_ms: u64::from_le_bytes(*at_ms), text })
    }
}

impl Keyring {
    pub(crate) fn new(fixed: KeySet, fetch: Option<FetchConfig>) -> Self {
        Self {
            fixed,
            fetched: RefCell::default(),
            fetch,
            taken: RefCell::default(),
            generation: Cell::new(0),
            asked: Cell::new(None),
            failures: Cell::new(0),
        }
    }

    /// Takes what other shards have, and sets the timer for the rest.
    pub(crate) fn start(&self) {
        if self.fetch.is_some() {
            self.take_published();
            // The first look follows at once: calls are not possible before the timer runs.
            clock::every(Duration::from_millis(1));
        }
    }

    pub(crate) fn has_keys(&self) -> bool {
        !self.fixed.is_empty() || !self.fetched.borrow().is_empty()
    }

    /// Changes whenever the keys do.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.get()
    }

    /// Whether the token is signed with the key that it names.
    pub(crate) fn verify(&self, token: &Token<'_>) -> Result<(), Denial> {
        match self.fixed.verify(token) {
            Err(Denial::UnknownKey) => self.fetched.borrow().verify(token),
            decided => decided,
        }
    }

    /// Whether a token with an unknown key is worth a question to the issuer. While there are keys
    /// at all it is so twice a minute: made-up key ids must not turn into calls.
    pub(crate) fn may_ask_again(&self) -> bool {
        if self.fetch.is_none() {
            return false;
        }
        let now = clock::monotonic();
        let rested = self.asked.get().is_none_or(|asked| now.saturating_sub(asked) >= ASK_EVERY);
        if rested || !self.has_keys() {
            self.asked.set(Some(now));
            return true;
        }
        false
    }

    /// The call that asks the issuer.
    pub(crate) fn call(&self) -> Option<HttpCall> {
        let fetch = self.fetch.as_ref()?;
        let authority = fetch.authority.as_deref().unwrap_or(&fetch.cluster);
        let call = HttpCall::new(&fetch.cluster, "GET", authority, &fetch.path)
            .header("accept", "application/jwk-set+json, application/json")
            .timeout(Duration::from_millis(fetch.timeout_ms));
        Some(call)
    }

    /// The timer ran: the call that is due now, if no other shard was faster.
    pub(crate) fn due(&self) -> Option<HttpCall> {
        let refresh = self.refresh()?;
        clock::every(refresh);
        let age = self.take_published();
        // Half: so that of shards whose timers run side by side only the first one asks.
        if age.is_some_and(|age| age < refresh / 2) {
            return None;
        }
        self.call()
    }

    /// The reply has come: takes its keys.
    pub(crate) fn take(&self, reply: &Reply<'_>) {
        let text = core::str::from_utf8(reply.body()).ok();
        let taken = match text.filter(|_| reply.is_success()) {
            Some(text) => self.take_text(text),
            None => Err("no answer with status 200"),
        };
        match taken {
            Ok(()) => {
                self.failures.set(0);
                if let Some(refresh) = self.refresh() {
                    clock::every(refresh);
                }
                self.publish(text.unwrap_or_default());
            }
            Err(reason) => {
                let status = reply.status().unwrap_or(0);
                warn!("keys were not taken: {reason} (status {status})");
                self.failed();
            }
        }
    }

    /// A fetch failed: try again soon, but later each time.
    pub(crate) fn failed(&self) {
        let Some(refresh) = self.refresh() else { return };
        let failures = self.failures.get().min(10);
        self.failures.set(failures + 1);
        clock::every(Duration::from_secs(1 << failures).min(refresh));
    }

    fn refresh(&self) -> Option<Duration> {
        self.fetch.as_ref().map(|fetch| Duration::from_secs(fetch.refresh_seconds))
    }

    /// Takes the set that `text` is, if it is one.
    fn take_text(&self, text: &str) -> Result<(), &'static str> {
        if *self.taken.borrow() == text {
            return Ok(());
        }
        let set: Jwks = serde_json::from_str(text).map_err(|_| "not a JWK set")?;
        let keys = KeySet::new(&set, Source::Issuer).map_err(|bad| bad.reason)?;
        // An issuer without any key is one that is broken, not one that trusts nobody.
        if keys.is_empty() {
            return Err("no key in it verifies a signature");
        }
        self.fetched.replace(keys);
        text.clone_into(&mut self.taken.borrow_mut());
        self.generation.set(self.generation.get() + 1);
        info!("took new keys");
        Ok(())
    }

    /// Takes the set that some shard published; answers how old it is.
    fn take_published(&self) -> Option<Duration> {
        let published = self.shared()?.load()?;
        self.take_text(&published.text).ok()?;
        Some(clock::monotonic().saturating_sub(Duration::from_millis(published.at_ms)))
    }

    fn publish(&self, text: &str) {
        let Some(shared) = self.shared() else { return };
        let at_ms = u64::try_from(clock::monotonic().as_millis()).unwrap_or(u64::MAX);
        if shared.store(&Published { at_ms, text: text.to_owned() }).is_err() {
            warn!("keys could not be shared: every shard fetches its own");
        }
    }

    fn shared(&self) -> Option<Shared<Published>> {
        let fetch = self.fetch.as_ref()?;
        let authority = fetch.authority.as_deref().unwrap_or(&fetch.cluster);
        Some(Shared::new(format!("jwks {} {authority}{}", fetch.cluster, fetch.path)))
    }
}

fn refresh() -> u64 {
    300
}

fn timeout() -> u64 {
    2_000
}

/// How long after one question about an unknown key the next may follow.
const ASK_EVERY: Duration = Duration::from_secs(30);
