//! `[runtime]`, `[admin]`, `[observe]`: what concerns the appliance as a whole.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde_json::{Value, json};

use crate::grammar::names::Names;
use crate::grammar::reader::{Node, Reader, TableReader, wrong_type};
use crate::grammar::section::section;
use crate::grammar::setting::Setting;
use crate::grammar::tree::Tree;
use crate::layer4::{DatapathChoice, Layer4};
use crate::values::address::ListenAddress;
use crate::values::text::{BadText, text_settings};
use crate::values::units::ByteSize;

/// A number, or left to the machine's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// `"auto"`.
    Auto,
    /// This many.
    Exactly(u32),
}

impl Setting for Count {
    type Allowed = RangeInclusive<u32>;
    const ANY: Self::Allowed = 1..=u32::MAX;

    fn read(node: Node<'_>, allowed: &Self::Allowed, reader: &mut Reader<'_>) -> Option<Count> {
        match node.get_ref().as_str() {
            Some("auto") => Some(Count::Auto),
            Some(_) => reader.refuse(node, wrong_type("a whole number or \"auto\"", node)),
            None => u32::read(node, allowed, reader).map(Count::Exactly),
        }
    }

    fn write(&self, _names: &Names) -> Tree {
        match self {
            Count::Auto => Tree::text("auto"),
            Count::Exactly(count) => Tree::Int(i64::from(*count)),
        }
    }

    fn schema(allowed: &Self::Allowed) -> Value {
        json!({ "anyOf": [{ "const": "auto" }, u32::schema(allowed)] })
    }
}

section! {
    /// The shards, and what they share the machine with.
    pub struct Runtime("runtime", check = check_runtime) = default {
        /// How many shards: threads with a ring each. "auto" is one per CPU that we may use.
        shards: Count = Count::Auto, in 1..=1_024;
        /// Pins each shard to its CPU.
        pin: bool = true;
        /// How long a drain waits for requests under way before it closes connections.
        drain: Duration = Duration::from_secs(30);
        /// When a drain stops whatever is still open.
        drain_max: Duration = Duration::from_secs(300);
        /// Receive buffers of 4 KiB that the connections of a shard share. A power of two.
        receive_buffers: u32 = 1_024, in 16..=32_768;
        /// Pipes of up to 1 MiB that the connections of a shard share, for bytes of services that
        /// need not leave the kernel. 0 has all of them pass through us.
        pipes: u32 = 64, in 0..=4_096;
        /// Connections, downstream and upstream together. Over it, unused upstream connections are
        /// closed, and where there are none new downstream connections are: what was accepted is
        /// always served. "auto" is 80 % of the smaller of the descriptors and the memory divided
        /// by 32 KiB, which is what one takes that does its worst; `large_heads` and `http2` have
        /// what comes on top.
        connections_max: Count = Count::Auto;
        /// Bytes of heads of requests, where a head has more than 4 KiB (or has so many already),
        /// on a shard; a quarter of it for each source. Over it, such requests are answered 503,
        /// and over HTTP/2 refused (REFUSED_STREAM).
        large_heads_bytes_max as "large_heads": ByteSize = ByteSize::mib(64), in HEADS;
        /// What connections that speak HTTP/2 share on a shard.
        http2: SharedHttp2 = SharedHttp2::default();
        /// What forwards packets of services in `nat` and `dsr`.
        datapath: DatapathChoice = DatapathChoice::Auto;
        /// What these services share.
        layer4: Layer4 = Layer4::default();
    }
}

section! {
    /// What connections that speak HTTP/2 share on a shard.
    pub struct SharedHttp2("http2") = default {
        /// Streams of clients under way. Up to half of it, each new connection may have the streams
        /// that its listener allows; beyond, fewer, down to a tenth of them; over it, new streams
        /// are refused (REFUSED_STREAM), and clients may ask again.
        streams_max as "streams": u32 = 10_000, in 1..=1_000_000;
        /// Bytes by which windows of connections may have grown, to clients and endpoints
        /// together; over it, windows stay as they are. Of a stream to an endpoint that is what it
        /// has beyond 64 KiB: connections begin with 256 KiB for each, and with 64 once half of
        /// this is taken.
        window_growth_bytes_max as "window_growth": ByteSize = ByteSize::mib(256), in GROWTH;
    }
}

fn check_runtime(runtime: &Runtime, table: &mut TableReader<'_, '_, '_>) -> Option<()> {
    if !runtime.receive_buffers.is_power_of_two() {
        // io_uring_register_buf_ring(3): the ring's entries are a power of two.
        return table.contradict("receive_buffers", "not a power of two");
    }
    if runtime.drain > runtime.drain_max {
        return table.contradict("drain", "longer than `drain_max`");
    }
    Some(())
}

section! {
    /// The admin API.
    pub struct Admin("admin", check = check_admin) = default {
        /// Where it listens. TCP needs `token_file`.
        listen: ListenAddress = ListenAddress::Unix("/run/penstock/admin.sock".into());
        /// The file with the bearer token that TCP clients send.
        token_file: Option<PathBuf> = None;
        /// Lets `listen` be an address that other machines can reach.
        allow_remote: bool = false;
    }
}

fn check_admin(admin: &Admin, table: &mut TableReader<'_, '_, '_>) -> Option<()> {
    if let Some(node) = table.peek("listen") {
        table.reader.below("listen", |reader| reader.claim(node, &admin.listen));
    }
    if let Some(path) = &admin.token_file {
        let span = table.span_of("token_file");
        table.reader.below("token_file", |reader| token_file(path, span, reader))?;
    }
    let over_tcp = admin.listen.socket_address().is_some();
    if over_tcp && admin.token_file.is_none() {
        return table.contradict("listen", "TCP needs a `token_file`");
    }
    if !admin.listen.is_local() && !admin.allow_remote {
        let problem = "other machines can reach this; set `allow_remote = true` if that is meant";
        return table.contradict("listen", problem);
    }
    Some(())
}

fn token_file(
    path: &std::path::Path,
    span: std::ops::Range<usize>,
    reader: &mut Reader<'_>,
) -> Option<()> {
    if !reader.files.are_checked() {
        return Some(());
    }
    match reader.files.read(path) {
        Err(error) => reader.refuse_file(span, format!("cannot be read: {error}")),
        Ok(token) if token.trim_ascii().is_empty() => {
            reader.refuse_file(span, "holds no token".to_owned())
        }
        Ok(_) => Some(()),
    }
}

/// Where the access log goes, and in which form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// `"off"`.
    Off,
    /// `"json:stdout"` or `"json:/var/log/penstock/access.log"`: an object per line.
    Json(LogTarget),
    /// `"text:stdout"` or `"text:/var/log/penstock/access.log"`: a line for people.
    Text(LogTarget),
}

/// What a log is written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// Our standard output.
    Stdout,
    /// A file, appended to.
    File(PathBuf),
}

impl fmt::Display for LogTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogTarget::Stdout => f.write_str("stdout"),
            LogTarget::File(path) => path.display().fmt(f),
        }
    }
}

impl fmt::Display for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AccessLog::Off => f.write_str("off"),
            AccessLog::Json(target) => write!(f, "json:{target}"),
            AccessLog::Text(target) => write!(f, "text:{target}"),
        }
    }
}

impl FromStr for AccessLog {
    type Err = BadText;

    fn from_str(text: &str) -> Result<AccessLog, BadText> {
        const EXPECTED: BadText =
            BadText("a log is \"off\", \"json:/PATH\", \"text:/PATH\", or either with stdout");
        let target = |text: &str| match text {
            "stdout" => Ok(LogTarget::Stdout),
            path if path.starts_with('/') && !path.contains('\0') => {
                Ok(LogTarget::File(path.into()))
            }
            _ => Err(EXPECTED),
        };
        match text.split_once(':') {
            None if text == "off" => Ok(AccessLog::Off),
            Some(("json", rest)) => target(rest).map(AccessLog::Json),
            Some(("text", rest)) => target(rest).map(AccessLog::Text),
            _ => Err(EXPECTED),
        }
    }
}

text_settings! {
    AccessLog: "\"off\", \"json:/PATH\", \"text:/PATH\", \"json:stdout\" or \"text:stdout\"";
}

section! {
    /// What can be seen of the traffic.
    pub struct Observe("observe") = default {
        /// The access log: one record per request.
        access_log: AccessLog = AccessLog::Off;
        /// Series of metrics; over it, new label values are counted together.
        series_max: u32 = 10_000, in 100..=1_000_000;
        /// Methods of gRPC that are counted one by one; those over it are counted together.
        grpc_methods_max: u32 = 200, in 0..=10_000;
        /// Tells the downstream the cause of every answer of our own: `x-penstock-cause`.
        cause_header: bool = false;
    }
}

const HEADS: RangeInclusive<ByteSize> = ByteSize::mib(1)..=ByteSize::gib(64);
const GROWTH: RangeInclusive<ByteSize> = ByteSize::bytes(0)..=ByteSize::gib(64);
