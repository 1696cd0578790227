//! Keys and words of the language that later versions have: known, and refused by name.
//!
//! One table, so that a config written for a newer version gets "not in this version" in place
//! of "unknown key". A key moves from here to its section when it becomes true.

/// What `key` of the table called `kind` will be, if it is one of a later version.
pub(crate) fn key(kind: &str, key: &str) -> Option<&'static str> {
    KEYS.iter().find(|(table, later, _)| *table == kind && *later == key).map(|(_, _, what)| *what)
}

/// Where `word` of the choice called `kind` leads: what to say in its place, or that a later
/// version takes it.
pub(crate) fn word(kind: &str, word: &str) -> Option<Elsewhere> {
    let told =
        SAID_OTHERWISE.iter().find(|(choice, words, _)| *choice == kind && words.contains(&word));
    if let Some((_, _, instead)) = told {
        return Some(Elsewhere::SaidOtherwise(instead));
    }
    let is_later = WORDS.iter().any(|(choice, words)| *choice == kind && words.contains(&word));
    is_later.then_some(Elsewhere::Later)
}

/// What a word that a choice does not have means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Elsewhere {
    /// It is there under another name.
    SaidOtherwise(&'static str),
    /// Not in this version.
    Later,
}

/// Table, key, what it will be.
pub(crate) const KEYS: &[(&str, &str, &str)] = &[
    ("observe", "otlp", "export over OTLP"),
    ("observe", "sample", "sampling of traces"),
    ("listener", "transparent", "transparent listeners"),
    ("route", "mirror", "mirroring"),
    ("route", "hedge", "hedging"),
    ("route", "fault", "fault injection"),
    ("cluster", "discover", "discovery"),
    ("health", "redis", "health checks of Redis"),
    ("cluster", "panic", "panic thresholds"),
    ("cluster", "slow_start", "slow start"),
    ("cluster", "sticky", "stickiness"),
    ("cluster", "zones", "zone awareness"),
    ("cluster", "proxy_protocol", "the PROXY protocol"),
    ("endpoint", "zone", "zone awareness"),
    ("endpoint", "priority", "priorities"),
];

/// Choice, words.
const WORDS: &[(&str, &[&str])] = &[
    ("protocol", &["redis", "mongodb", "mysql", "kafka"]),
    ("balance", &["peak-ewma", "hrw", "ring-hash"]),
];

/// Choice, words of it that are there under another name, and how.
const SAID_OTHERWISE: &[(&str, &[&str], &str)] = &[
    (
        "protocol",
        &["http1", "http2", "h2", "h2c"],
        "\"http\" speaks both versions: see `http2.mode`",
    ),
    ("protocol", &["https", "tls"], "\"http\", with `tls = { cert = ..., key = ... }` beside it"),
    ("protocol", &["tcp", "udp"], "layer 4 is [service.NAME], with `ports = [\"tcp/80\"]`"),
    ("cluster-protocol", &["http2", "h2c", "grpc"], "HTTP/2 is \"h2\""),
    ("cluster-protocol", &["http", "http/1.1"], "HTTP/1.1 is \"http1\""),
    ("cluster-protocol", &["https", "tls"], "set `tls = {}` of the cluster"),
    ("retry-on", &["gateway-error"], "say \"502\", \"503\" and \"504\""),
    ("retry-on", &["refused-stream"], "a refused stream is always asked again: leave it out"),
];
