//! Holds the tree to the rules of the house: floors, rooms, lengths, bans.
//!
//! The data is here, the rules are beside it, and every rule has rows in `tests.rs` that break
//! it. What rustc and clippy can check is left to them. Changing a table below is a decision
//! about the architecture and its own commit.

#![forbid(unsafe_code)]

mod code;
mod documents;
mod lexer;
mod manifests;
#[cfg(test)]
mod tests;
mod tree;

use tree::{Finding, Tree};

/// Who may see whom: a crate depends on crates of lower floors only, and those of one floor do
/// not see each other. Folders that don't exist yet have their floor already.
const FLOORS: &[(&str, u8)] = &[
    ("config", 0),
    ("runtime/env", 0),
    ("filters-sdk/abi", 0),
    ("filters-sdk/macros", 0),
    ("runtime/wire", 1),
    ("runtime/balance", 1),
    ("runtime/l4", 1),
    ("runtime/tls", 1),
    ("runtime/telemetry", 1),
    ("runtime/filter-host", 1),
    ("filters-sdk", 1),
    ("runtime/proxy", 2),
    ("filters-sdk/testing", 2),
    ("filters/*", 2),
    ("runtime/shard", 3),
    ("runtime/xdp", 3),
    ("runtime/control", 3),
    ("runtime/admin", 4),
    ("runtime/penstock", 5),
    ("tests", 6),
    ("benches", 6),
    ("benches/filter", 2),
    ("packaging/xtask", 7),
];

/// Crates of ours that may name no more of ours than these, whatever their floor allows: a filter
/// is compiled for the sandbox, and what it may import is what its author may import.
const NARROW: &[(&str, &[&str])] =
    &[("filters/*", &["penstock-filters-sdk"]), ("benches/filter", &["penstock-filters-sdk"])];

/// The rooms that a heavy dependency is locked in. Outside them it is not even named.
const ROOMS: &[(&str, &[&str])] = &[
    ("glommio", &["runtime/shard"]),
    ("io-uring", &["runtime/shard"]),
    ("ringbuf", &["runtime/shard"]),
    ("aya", &["runtime/xdp"]),
    ("wasmtime", &["runtime/filter-host"]),
    // Tests ask with its client, and so do health checks.
    ("h2", &["runtime/proxy", "runtime/control", "benches", "tests"]),
    ("httparse", &["runtime/wire"]),
    // One crate decides what is spoken and who is believed.
    ("rustls", &["runtime/tls"]),
    ("rustls-webpki", &["runtime/tls"]),
    ("aws-lc-rs", &["runtime/tls"]),
    // The product reads its configuration in one place. Tools read manifests; `penstock filter`
    // is one, and reads a filter's test cases too.
    ("toml", &["config", "runtime/penstock", "tests", "packaging/xtask"]),
    ("metrics-exporter-prometheus", &["runtime/telemetry"]),
    // In proxy and shard for its I/O traits only: see TOKIO_TRAITS_ONLY.
    (
        "tokio",
        &["runtime/control", "runtime/admin", "runtime/proxy", "runtime/shard", "benches", "tests"],
    ),
    ("axum", &["runtime/admin"]),
    ("hyper", &["runtime/control", "runtime/admin"]),
    ("instant-acme", &["runtime/control"]),
    ("reqwest", &["runtime/control"]),
    ("tonic", &["runtime/control"]),
    ("etcd-client", &["runtime/control"]),
    ("hickory-resolver", &["runtime/control"]),
    ("opentelemetry-otlp", &["runtime/control"]),
];

/// The data plane and its simulation: of tokio they may name `tokio::io` and nothing else.
const TOKIO_TRAITS_ONLY: &[&str] =
    &["runtime/proxy/", "runtime/shard/", "tests/sim/", "tests/src/"];

/// Crates that may hold `unsafe` code. All others forbid it at their root.
const UNSAFE_ROOMS: &[(&str, &str)] = &[
    ("runtime/shard", "the ring: buffers that the kernel owns for a while"),
    ("runtime/xdp", "loads programs into the kernel, reads its maps"),
    ("runtime/xdp/ebpf", "the program: the driver's page, helpers of the kernel"),
    ("runtime/l4", "packet access that the BPF verifier can follow"),
    ("runtime/filter-host", "guest memory, deserialising compiled modules"),
    ("filters-sdk", "imports of the host's functions"),
];

/// Words that must not be in code, where they may be all the same, and why they may not.
/// A place is a folder or a file; an empty list means nowhere.
const BANS: &[Ban] = &[
    Ban { word: "todo!", places: &[], why: "what is missing goes to ARCHITECTURE.md's list" },
    Ban { word: "unimplemented!", places: &[], why: "what is missing goes to ARCHITECTURE.md" },
    Ban { word: "dbg!", places: &[], why: "left from debugging; events go through tracing" },
    Ban { word: "Mutex", places: &[], why: "shards share nothing: a message or a Snapshot" },
    Ban { word: "RwLock", places: &[], why: "shards share nothing: a message or a Snapshot" },
    Ban { word: "parking_lot", places: &[], why: "a lock by another name" },
    Ban {
        word: "HashMap",
        // In xdp it is the name of a map of the kernel, which seeds each itself.
        places: &["runtime/env/src/map.rs", "runtime/xdp/"],
        why: "env::Map is seeded by the world, so that runs replay and nobody aims collisions",
    },
    Ban {
        word: "HashSet",
        places: &["runtime/env/src/map.rs"],
        why: "env::Map is seeded by the world, so that runs replay and nobody aims collisions",
    },
    Ban { word: "RandomState", places: CLOCK_ROOMS, why: "randomness is Env's: it replays" },
    Ban { word: "thread_rng", places: CLOCK_ROOMS, why: "randomness is Env's: it replays" },
    Ban { word: "OsRng", places: CLOCK_ROOMS, why: "randomness is Env's: it replays" },
    Ban { word: "getrandom", places: CLOCK_ROOMS, why: "randomness is Env's: it replays" },
    Ban { word: "clock_gettime", places: CLOCK_ROOMS, why: "time is Env's: now is an argument" },
    Ban { word: "Instant::now", places: CLOCK_ROOMS, why: "time is Env's: now is an argument" },
    Ban { word: "SystemTime::now", places: CLOCK_ROOMS, why: "time is Env's: now is an argument" },
    Ban { word: "thread::sleep", places: CLOCK_ROOMS, why: "waiting is Env's: a Timer" },
];

/// Where the real clock may be read and real randomness be had. All that the simulator runs is
/// outside of it.
const CLOCK_ROOMS: &[&str] = &[
    "runtime/shard/",
    "runtime/xdp/",
    "runtime/control/",
    "runtime/admin/",
    "runtime/penstock/",
    "tests/",
    "benches/",
    "packaging/",
];

/// A word and the places where it may stand.
struct Ban {
    word: &'static str,
    places: &'static [&'static str],
    why: &'static str,
}

/// No file of Rust is longer, in lines.
const FILE_LINES_MAX: usize = 600;
/// A longer one is named by the test's output: it may hold a second subject.
const FILE_LINES_WANTED_MAX: usize = 400;
/// No line of Rust is longer, in letters.
const LINE_COLUMNS_MAX: usize = 100;

/// Parts of names that say nothing.
const EMPTY_NAMES: &[&str] = &["utils", "util", "helpers", "helper", "manager", "misc", "common"];

/// What a newcomer runs, word for word.
const README_COMMANDS: &[&str] = &["cargo run --release -- demo", "cargo test --workspace"];
