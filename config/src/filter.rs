//! `[filter.X]`: a WASM module with its configuration, its limits and what it may do.

use std::fmt;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::canary::{Canary, Rollback};
use crate::cluster::ClusterProtocol;
use crate::config::Config;
use crate::grammar::block::BlockName;
use crate::grammar::names::ClusterId;
use crate::grammar::reader::TableReader;
use crate::grammar::section::{choice, section};
use crate::passthrough::refuse;
use crate::payload::{Environment, Payload};
use crate::values::text::{BadText, text_settings};
use crate::values::units::ByteSize;

section! {
    /// A module that looks at, changes or answers requests, or looks at raw connections.
    pub struct Filter("filter", check = check_filter) {
        .. {
            /// The name after `filter.`.
            name: BlockName;
        }
        /// The compiled module.
        wasm: PathBuf;
        /// The digest that the module has to have.
        sha256: Option<ModuleDigest> = None;
        /// What the module is given as its plugin configuration: text as it stands, or anything
        /// else as JSON.
        config: Payload = Payload::default();
        /// What the module is given as its VM configuration.
        vm_config: Payload = Payload::default();
        /// Which of a module's plugins this is, as the module names them.
        root_id: String = String::new(), in 0..=256;
        /// Whose shared data it sees: filters with one `vm_id` share theirs. Its own name, and
        /// so nobody else's, if not set.
        vm_id: Option<String> = None, in 0..=256;
        /// Environment variables that the module sees. It sees none of ours.
        environment: Environment = Environment::default();
        /// Memory that an instance may have.
        memory_max as "memory": ByteSize = ByteSize::mib(16), in MEMORY;
        /// How long one call may take.
        deadlines as "deadline": Deadlines = Deadlines::default();
        /// What happens to requests and connections that the filter fails on.
        on_error: OnError = OnError::Deny;
        /// What it may do; everything if not set, but for calls to clusters not listed.
        capabilities: Option<Vec<Capability>> = None;
        /// The clusters that it may call.
        http_calls: Vec<ClusterId> = Vec::new();
        /// Callouts that an instance may have under way.
        http_calls_max: u32 = 256, in 1..=65_536;
        /// Requests and connections that are over and that an instance may keep, until it is done
        /// with them (`proxy_on_done`).
        ended_max: u32 = 1_024, in 0..=65_536;
        /// The clusters that it may call by gRPC; what they speak is `h2`.
        grpc_calls: Vec<ClusterId> = Vec::new();
        /// gRPC calls and streams that an instance may have under way.
        grpc_calls_max: u32 = 256, in 1..=65_536;
        /// The largest message of a gRPC call, either way.
        grpc_message_max: ByteSize = ByteSize::mib(4), in ByteSize::bytes(1)..=ByteSize::gib(1);
        /// Messages of one gRPC call that may wait to be sent.
        grpc_buffer_max: ByteSize = ByteSize::mib(8), in ByteSize::bytes(1)..=ByteSize::gib(1);
        /// Whether requests, or connections, share an instance.
        isolation: Isolation = Isolation::Shared;
        /// What a pause in the header callbacks holds back.
        pause_headers: PauseHeaders = PauseHeaders::All;
        /// Body that is kept for a filter that asks to see it whole; over it, 413. Of a connection,
        /// bytes of each direction that are kept for a filter that holds them; its sender has to
        /// wait then.
        body_buffer_max: ByteSize = ByteSize::mib(1), in ByteSize::bytes(0)..=ByteSize::gib(1);
        /// Bytes that one hostcall may hand over.
        hostcall_bytes_max: ByteSize = ByteSize::mib(4), in ByteSize::kib(1)..=ByteSize::gib(1);
        /// Shared data that filters of one `vm_id` may keep.
        shared_data_max: ByteSize = ByteSize::mib(16), in ByteSize::bytes(0)..=ByteSize::gib(4);
        /// Lines that it may log in a second, per shard; the rest is counted.
        log_lines_max: u32 = 100, in 0..=1_000_000;
        /// When failures switch the filter off for a while.
        storm: Storm = Storm::default();
        /// A version of it that a share of the requests gets.
        canary: Option<Canary> = None;
        /// When a new version is taken back.
        rollback: Rollback = Rollback::default();
    }
}

fn check_filter(filter: &Filter, table: &mut TableReader<'_, '_, '_>) -> Option<()> {
    check_module(&filter.wasm, filter.sha256, table)
}

/// The file that `wasm` of this table names has to be a module, with the digest of `sha256`.
pub(crate) fn check_module(
    path: &Path,
    pinned: Option<ModuleDigest>,
    table: &mut TableReader<'_, '_, '_>,
) -> Option<()> {
    if !table.reader.files.are_checked() {
        return Some(());
    }
    let (wasm, sha256) = (table.span_of("wasm"), table.span_of("sha256"));
    let bytes = match table.reader.files.read(path) {
        Ok(bytes) => bytes,
        Err(error) => return refuse_file(table, "wasm", wasm, format!("cannot be read: {error}")),
    };
    // WebAssembly core 1.0 §5.5.16: a module starts with `\0asm`.
    if !bytes.starts_with(b"\0asm") {
        return refuse_file(table, "wasm", wasm, "not a WebAssembly module".to_owned());
    }
    let actual = ModuleDigest(Sha256::digest(&bytes).into());
    match pinned {
        Some(pinned) if pinned != actual => {
            refuse_file(table, "sha256", sha256, format!("the module's digest is {actual}"))
        }
        _ => Some(()),
    }
}

fn refuse_file(
    table: &mut TableReader<'_, '_, '_>,
    key: &str,
    span: Range<usize>,
    problem: String,
) -> Option<()> {
    table.reader.below(key, |reader| reader.refuse_file(span, problem))
}

/// What filters call by gRPC has to speak HTTP/2: that is what gRPC is carried by.
pub(crate) fn check_grpc_calls(config: &Config, table: &mut TableReader<'_, '_, '_>) -> Option<()> {
    let mut sound = Some(());
    for filter in &config.filters {
        let mut called = filter.grpc_calls.iter().map(|&id| config.cluster(id));
        if let Some(cluster) = called.find(|one| one.protocol != ClusterProtocol::Http2) {
            let problem =
                format!("gRPC needs [cluster.{}] to have protocol = \"h2\"", cluster.name);
            sound = refuse(table, ["filter", &filter.name, "grpc_calls"], &problem);
        }
    }
    sound
}

section! {
    /// How long one call of a filter may take before it is stopped.
    pub struct Deadlines("deadline") = default {
        /// Callbacks for headers, trailers, new connections, ticks, callouts and ends.
        headers: Duration = Duration::from_millis(5), in DEADLINE_MIN..=DEADLINE_MAX;
        /// Callbacks for body chunks, and for bytes of connections.
        body: Duration = Duration::from_millis(10), in DEADLINE_MIN..=DEADLINE_MAX;
        /// Starting an instance, and giving it its configuration.
        start: Duration = Duration::from_secs(1), in DEADLINE_MIN..=START_MAX;
        /// How long it may keep a request or connection that is over, its root context too.
        ended: Duration = Duration::from_secs(30), in DEADLINE_MIN..=ENDED_MAX;
    }
}

section! {
    /// When a filter is switched off, and how it comes back.
    pub struct Storm("storm") = default {
        /// So many traps on one shard...
        traps: u32 = 50, in 1..=1_000_000;
        /// ... in this time switch it off under its `on_error`.
        window: Duration = Duration::from_secs(10);
        /// The first time that it stays off; doubled each time.
        rearm_min: Duration = Duration::from_secs(1);
        /// The longest time that it stays off.
        rearm_max: Duration = Duration::from_secs(64);
    }
}

choice! {
    /// What happens to requests and connections that a filter fails on: by trap, deadline or
    /// memory.
    pub enum OnError("on-error") {
        /// They are answered 503, or reset. For filters that protect something.
        Deny = "deny",
        /// They go on without the filter. For filters that only observe.
        Allow = "allow",
    }
}

choice! {
    /// Whether requests share an instance of a filter.
    pub enum Isolation("isolation") {
        /// One instance per shard. Where it traps, the requests that it keeps something of fail
        /// with it; a filter of our SDK without `State` keeps nothing, and a fresh one goes on.
        Shared = "shared",
        /// One per request: for filters not trusted with other requests' memory.
        Request = "request",
    }
}

choice! {
    /// What a pause in the header callbacks holds back.
    pub enum PauseHeaders("pause-headers") {
        /// Head and body, as Envoy does.
        All = "all",
        /// The head alone: body callbacks go on.
        HeadersOnly = "headers-only",
    }
}

choice! {
    /// A group of hostcalls. A call that is not granted links, and returns a status.
    pub enum Capability("capability") {
        /// Reading and changing headers and trailers.
        Headers = "headers",
        /// Reading and changing bodies, and the bytes of connections.
        Body = "body",
        /// Reading and setting properties.
        Properties = "properties",
        /// Pausing, resuming and closing streams.
        Streams = "streams",
        /// Answering requests itself.
        LocalResponse = "local-response",
        /// Calling the clusters in `http_calls`.
        HttpCall = "http-call",
        /// Calling the clusters in `grpc_calls`.
        GrpcCall = "grpc-call",
        /// Data shared over all shards.
        SharedData = "shared-data",
        /// Metrics of its own.
        Metrics = "metrics",
        /// Ticks.
        Timers = "timers",
        /// Lines in our log.
        Log = "log",
        /// The time.
        Clock = "clock",
        /// Random bytes.
        Random = "random",
        /// Calls beyond the ABI, by name.
        Foreign = "foreign",
    }
}

/// The SHA-256 of a module, in 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ModuleDigest(pub [u8; 32]);

impl fmt::Display for ModuleDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for ModuleDigest {
    type Err = BadText;

    fn from_str(text: &str) -> Result<ModuleDigest, BadText> {
        const EXPECTED: BadText = BadText("a SHA-256 is 64 hexadecimal digits");
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(EXPECTED);
        }
        let mut digest = [0; 32];
        for (index, byte) in digest.iter_mut().enumerate() {
            let digits = &text[2 * index..2 * index + 2];
            *byte = u8::from_str_radix(digits, 16).map_err(|_| EXPECTED)?;
        }
        Ok(ModuleDigest(digest))
    }
}

text_settings! {
    ModuleDigest: "64 hexadecimal digits";
}

/// From one WebAssembly page to all that 32 bits can address.
const MEMORY: RangeInclusive<ByteSize> = ByteSize::kib(64)..=ByteSize::gib(4);

/// The ticker that stops filters has a step of 2.5 ms and takes three at least: what is less than
/// 7.5 ms ends a loop after 5 to 7.5.
const DEADLINE_MIN: Duration = Duration::from_millis(1);
const DEADLINE_MAX: Duration = Duration::from_secs(1);
const START_MAX: Duration = Duration::from_secs(60);
const ENDED_MAX: Duration = Duration::from_secs(600);
