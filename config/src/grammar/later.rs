//! Keys and words of the language that later versions have: known, and refused by name.
//!
//! One table, so that a config written for a newer version gets "not in this version" in place
//! of "unknown key". A key moves from here to its section when it becomes true.

/// What `key` of the table called `kind` will be, if it is one of a later version.
pub(crate) fn key(kind: &str, key: &str) -> Option<&'static str> {
    KEYS.iter().find(|(table, later, _)| *table == kind && *later == key).map(|(_, _, what)| *what)
}

/// True if `word` is one that a later version takes for the choice called `kind`.
pub(crate) fn is_word(kind: &str, word: &str) -> bool {
    WORDS.iter().any(|(choice, words)| *choice == kind && words.contains(&word))
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
    ("protocol", &["http2", "redis", "tcp", "udp", "mongodb", "mysql", "kafka"]),
    ("balance", &["peak-ewma", "hrw", "ring-hash"]),
    ("capability", &["grpc-call"]),
    ("retry-on", &["gateway-error", "refused-stream"]),
];
