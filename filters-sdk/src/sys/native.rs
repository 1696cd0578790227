//! The host double: what a filter's calls meet on a machine that is no WASM host.
//!
//! One per thread, driven by `testing`. It holds maps, bodies, properties, shared data, metrics and
//! a clock as plain values, and answers with the statuses of the specification. What it hands out
//! is leaked: a test is short, and this way the SDK has no unsafe code outside the WASM imports.

mod rules;

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use penstock_filters_sdk_abi::pairs::Pairs;
use penstock_filters_sdk_abi::{BufferType, LogLevel, MapType, MetricType, Status, StreamType};

use super::{CallParts, GrpcParts};
use rules::{check_field, check_size, is_fixed};

/// A list of fields as the double keeps it.
pub(crate) type Fields = Vec<(String, Vec<u8>)>;

/// Everything that filters of this thread can see or cause.
#[derive(Default)]
pub(crate) struct Double {
    /// How many instances are alive: the first finds the double empty.
    pub(crate) instances: u32,
    pub(crate) last_context: u32,
    pub(crate) context: u32,
    pub(crate) streams: BTreeMap<u32, Stream>,
    pub(crate) reply: Reply,
    pub(crate) properties: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) shared: BTreeMap<String, (Vec<u8>, u32)>,
    pub(crate) queues: Vec<Queue>,
    pub(crate) metrics: Vec<Metric>,
    pub(crate) lines: Vec<(LogLevel, String)>,
    pub(crate) unix: Duration,
    pub(crate) monotonic: Duration,
    pub(crate) tick_period: Duration,
    pub(crate) calls: Vec<Call>,
    pub(crate) last_call: u32,
    /// Clusters that calls may go to; all of them while it is empty.
    pub(crate) clusters: Vec<String>,
    pub(crate) random: u64,
    /// The answers `CAS_MISMATCH` that are still to be given: a rival shard.
    pub(crate) rivals: u32,
    /// A pause of a head holds the head alone.
    pub(crate) heads_only: bool,
}

/// One exchange or connection.
#[derive(Default)]
pub(crate) struct Stream {
    pub(crate) maps: BTreeMap<u32, Fields>,
    pub(crate) bodies: BTreeMap<u32, Vec<u8>>,
    pub(crate) answer: Option<LocalAnswer>,
    pub(crate) continued: Vec<StreamType>,
    /// The filter closed it.
    pub(crate) closed: bool,
    /// How a host stands with the request and with the response of an exchange.
    pub(crate) halves: [Half; 2],
    /// The answer was shown to the filter, on its way down.
    pub(crate) answer_shown: bool,
}

/// One half of an exchange.
#[derive(Default)]
pub(crate) struct Half {
    /// Where the filter paused it, if it did.
    pub(crate) waits: Option<Stage>,
    /// How often the filter had it continued before.
    pub(crate) continued: usize,
    /// What came behind a head that waits, and is shown once that goes on.
    pub(crate) unseen: Unseen,
    /// The body's end was shown.
    pub(crate) ended: bool,
}

/// Where a filter pauses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Head,
    Body,
    Trailers,
}

/// What a filter has not seen yet.
#[derive(Default)]
pub(crate) struct Unseen {
    /// Body, and whether it was the last of it.
    pub(crate) body: Option<(Vec<u8>, bool)>,
    pub(crate) trailers: bool,
}

/// An answer of the filter's own, as the host sees it.
pub(crate) struct LocalAnswer {
    pub(crate) status: u16,
    pub(crate) cause: String,
    pub(crate) headers: Fields,
    pub(crate) body: Vec<u8>,
}

/// What came of a call, while its callback runs.
#[derive(Default)]
pub(crate) struct Reply {
    /// The fields, wherever in a call they belong: one callback has one kind.
    pub(crate) headers: Fields,
    pub(crate) body: Vec<u8>,
    /// What is said to how a gRPC call ended.
    pub(crate) message: String,
}

/// A callout of which something is to come.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) id: u32,
    pub(crate) cluster: String,
    pub(crate) headers: Fields,
    pub(crate) body: Vec<u8>,
    pub(crate) timeout: Duration,
    pub(crate) grpc: Option<GrpcSide>,
}

/// What a callout has more that is a gRPC call.
#[derive(Clone, Default)]
pub(crate) struct GrpcSide {
    pub(crate) streams: bool,
    /// What was sent on the stream.
    pub(crate) sent: Vec<Vec<u8>>,
    /// Nothing more will be.
    pub(crate) ended: bool,
}

/// A queue; its id is its place, plus one.
#[derive(Default)]
pub(crate) struct Queue {
    pub(crate) vm_id: String,
    pub(crate) name: String,
    pub(crate) items: VecDeque<Vec<u8>>,
    /// The root context that hears of items, and of how many it was not told.
    pub(crate) root: u32,
    pub(crate) owed: usize,
}

/// A metric: the sum of a counter, the level of a gauge, the values of a histogram.
pub(crate) struct Metric {
    pub(crate) kind: MetricType,
    pub(crate) name: String,
    pub(crate) value: u64,
    pub(crate) values: Vec<u64>,
}

thread_local! {
    static DOUBLE: RefCell<Double> = RefCell::default();
}

/// The double of this thread.
pub(crate) fn with<T>(action: impl FnOnce(&mut Double) -> T) -> T {
    DOUBLE.with_borrow_mut(action)
}

/// The fields of an encoded list.
pub(crate) fn decode(list: &[u8]) -> Fields {
    let pairs = Pairs::parse(list, u32::MAX).expect("the SDK wrote this list");
    pairs.iter().map(|(name, value)| (text(name), value.to_vec())).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn leak(bytes: &[u8]) -> &'static [u8] {
    Box::leak(bytes.to_vec().into_boxed_slice())
}

impl Double {
    fn stream(&mut self) -> Result<&mut Stream, Status> {
        self.streams.get_mut(&self.context).ok_or(Status::NotFound)
    }

    fn map(&mut self, map: MapType) -> Result<&mut Fields, Status> {
        match map {
            MapType::HttpCallResponseHeaders
            | MapType::GrpcInitialMetadata
            | MapType::GrpcTrailingMetadata => Ok(&mut self.reply.headers),
            _ => Ok(self.stream()?.maps.entry(map as u32).or_default()),
        }
    }
}

impl Double {
    /// Whether calls may go to this cluster.
    fn knows(&self, cluster: &str) -> bool {
        self.clusters.is_empty() || self.clusters.iter().any(|known| known == cluster)
    }

    fn begin(&mut self, call: Call) -> u32 {
        self.last_call += 1;
        self.calls.push(Call { id: self.last_call, ..call });
        self.last_call
    }

    fn queue(&mut self, id: u32) -> Result<&mut Queue, Status> {
        let place = (id as usize).checked_sub(1).ok_or(Status::NotFound)?;
        self.queues.get_mut(place).ok_or(Status::NotFound)
    }

    fn grpc(&mut self, id: u32) -> Option<&mut GrpcSide> {
        self.calls.iter_mut().find(|call| call.id == id)?.grpc.as_mut()
    }
}

pub(crate) fn log(level: LogLevel, line: &str) {
    with(|double| double.lines.push((level, line.to_owned())));
}

pub(crate) fn log_level() -> u32 {
    LogLevel::Trace as u32
}

pub(crate) fn unix_nanoseconds() -> u64 {
    with(|double| u64::try_from(double.unix.as_nanos()).unwrap_or(u64::MAX))
}

pub(crate) fn monotonic_nanoseconds() -> u64 {
    with(|double| u64::try_from(double.monotonic.as_nanos()).unwrap_or(u64::MAX))
}

pub(crate) fn random(bytes: &mut [u8]) -> bool {
    with(|double| {
        for byte in bytes {
            // SplitMix64 (Steele, Lea, Flood 2014): the same bytes in every run of a test.
            double.random = double.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut mixed = double.random;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            *byte = (mixed >> 56) as u8;
        }
    });
    true
}

pub(crate) fn tick_period(milliseconds: u32) {
    with(|double| double.tick_period = Duration::from_millis(u64::from(milliseconds)));
}

pub(crate) fn buffer(from: BufferType, start: usize, max: usize) -> Result<&'static [u8], Status> {
    with(|double| {
        let bytes = match from {
            BufferType::HttpCallResponseBody | BufferType::GrpcCallMessage => &double.reply.body,
            _ => double.stream()?.bodies.entry(from as u32).or_default(),
        };
        let end = start.checked_add(max).ok_or(Status::BadArgument)?.min(bytes.len());
        Ok(leak(bytes.get(start..end).unwrap_or(&[])))
    })
}

pub(crate) fn buffer_length(of: BufferType) -> usize {
    with(|double| {
        let body = double.stream().ok().and_then(|stream| stream.bodies.get(&(of as u32)));
        body.map_or(0, Vec::len)
    })
}

pub(crate) fn replace_buffer(
    to: BufferType,
    start: usize,
    length: usize,
    bytes: &[u8],
) -> Result<(), Status> {
    check_size(bytes.len())?;
    with(|double| {
        let body = double.stream()?.bodies.entry(to as u32).or_default();
        let start = start.min(body.len());
        let end = start.saturating_add(length).min(body.len());
        body.splice(start..end, bytes.iter().copied());
        Ok(())
    })
}

pub(crate) fn pairs(map: MapType) -> Result<&'static [u8], Status> {
    with(|double| {
        let mut list = crate::pairs::FieldList::default();
        for (name, value) in double.map(map)? {
            list.push(name, value);
        }
        Ok(leak(&list.encode()))
    })
}

pub(crate) fn header(map: MapType, name: &str) -> Result<&'static [u8], Status> {
    with(|double| {
        let fields = double.map(map)?;
        let found = fields.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.map(|(_, value)| leak(value)).ok_or(Status::NotFound)
    })
}

pub(crate) fn add_header(map: MapType, name: &str, value: &[u8]) -> Result<(), Status> {
    if name.starts_with(':') {
        return replace_header(map, name, value);
    }
    check_field(map, name, value)?;
    with(|double| {
        double.map(map)?.push((name.to_owned(), value.to_vec()));
        Ok(())
    })
}

pub(crate) fn replace_header(map: MapType, name: &str, value: &[u8]) -> Result<(), Status> {
    check_field(map, name, value)?;
    if is_fixed(name) {
        return Ok(());
    }
    with(|double| {
        let fields = double.map(map)?;
        let place = fields.iter().position(|(other, _)| other.eq_ignore_ascii_case(name));
        fields.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        let place = place.unwrap_or(fields.len()).min(fields.len());
        fields.insert(place, (name.to_owned(), value.to_vec()));
        Ok(())
    })
}

pub(crate) fn remove_header(map: MapType, name: &str) -> Result<(), Status> {
    if name.starts_with(':') {
        return Ok(());
    }
    with(|double| {
        double.map(map)?.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        Ok(())
    })
}

pub(crate) fn property(path: &[u8]) -> Result<&'static [u8], Status> {
    with(|double| double.properties.get(path).map(|value| leak(value)).ok_or(Status::NotFound))
}

pub(crate) fn set_property(path: &[u8], value: &[u8]) -> Result<(), Status> {
    with(|double| double.properties.insert(path.to_vec(), value.to_vec()));
    Ok(())
}

pub(crate) fn respond(
    status: u16,
    details: &str,
    headers: &[u8],
    body: &[u8],
) -> Result<(), Status> {
    // RFC 9110 §15: 1xx are interim, and no final answer.
    if !(200..600).contains(&status) {
        return Err(Status::BadArgument);
    }
    check_size(headers.len() + body.len())?;
    let mut answer = LocalAnswer {
        status,
        cause: details.to_owned(),
        headers: decode(headers),
        body: body.to_vec(),
    };
    // An answer with a field that can't be sent is a 500 without any.
    let is_bad = |(name, value): &(String, Vec<u8>)| {
        check_field(MapType::ResponseHeaders, name, value).is_err()
    };
    if answer.headers.iter().any(is_bad) {
        (answer.status, answer.headers) = (500, Fields::new());
    }
    with(|double| {
        // Of two answers the first counts.
        double.stream()?.answer.get_or_insert(answer);
        Ok(())
    })
}

pub(crate) fn continue_half(half: StreamType) {
    with(|double| {
        if let Ok(stream) = double.stream() {
            stream.continued.push(half);
        }
    });
}

pub(crate) fn close_half(_half: StreamType) {
    with(|double| {
        if let Ok(stream) = double.stream() {
            stream.closed = true;
        }
    });
}

pub(crate) fn call(call: &CallParts<'_>) -> Result<u32, Status> {
    with(|double| {
        let known = double.knows(call.cluster);
        let headers = decode(call.headers);
        let complete = [":method", ":path", ":authority"]
            .iter()
            .all(|name| headers.iter().any(|(other, value)| other == name && !value.is_empty()));
        if !known || !complete {
            return Err(Status::BadArgument);
        }
        check_size(call.headers.len() + call.body.len())?;
        Ok(double.begin(Call {
            id: 0,
            cluster: call.cluster.to_owned(),
            headers,
            body: call.body.to_vec(),
            timeout: Duration::from_millis(u64::from(call.timeout_ms)),
            grpc: None,
        }))
    })
}

pub(crate) fn grpc_call(call: &GrpcParts<'_>) -> Result<u32, Status> {
    begin_grpc(call, false)
}

pub(crate) fn grpc_stream(call: &GrpcParts<'_>) -> Result<u32, Status> {
    begin_grpc(call, true)
}

fn begin_grpc(call: &GrpcParts<'_>, streams: bool) -> Result<u32, Status> {
    let path = format!("/{}/{}", call.service, call.method);
    let head = [(":method", "POST"), (":path", &*path), (":authority", call.cluster)];
    let mut headers: Fields =
        head.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec())).into();
    headers.extend(decode(call.metadata));
    with(|double| {
        if !double.knows(call.cluster) {
            return Err(Status::ParseFailure);
        }
        Ok(double.begin(Call {
            id: 0,
            cluster: call.cluster.to_owned(),
            headers,
            body: if streams { Vec::new() } else { call.message.to_vec() },
            timeout: Duration::from_millis(u64::from(call.timeout_ms)),
            grpc: Some(GrpcSide { streams, ..GrpcSide::default() }),
        }))
    })
}

pub(crate) fn grpc_send(id: u32, message: &[u8], end: bool) -> Result<(), Status> {
    with(|double| {
        let side = double.grpc(id).ok_or(Status::NotFound)?;
        if !side.streams || side.ended {
            return Err(Status::BadArgument);
        }
        side.sent.push(message.to_vec());
        side.ended = end;
        Ok(())
    })
}

pub(crate) fn grpc_cancel(id: u32) {
    with(|double| double.calls.retain(|call| call.id != id));
}

pub(crate) fn grpc_close(id: u32) {
    with(|double| {
        if let Some(side) = double.grpc(id) {
            side.ended = true;
        }
    });
}

pub(crate) fn call_message() -> &'static [u8] {
    with(|double| leak(double.reply.message.as_bytes()))
}

pub(crate) fn effective_context(context: u32) -> Result<(), Status> {
    with(|double| {
        if !double.streams.contains_key(&context) {
            return Err(Status::BadArgument);
        }
        double.context = context;
        Ok(())
    })
}

pub(crate) fn define_metric(kind: MetricType, name: &str) -> Result<u32, Status> {
    with(|double| {
        let place = double.metrics.iter().position(|metric| metric.name == name);
        let place = place.unwrap_or_else(|| {
            let name = name.to_owned();
            double.metrics.push(Metric { kind, name, value: 0, values: Vec::new() });
            double.metrics.len() - 1
        });
        u32::try_from(place).map_err(|_| Status::InternalFailure)
    })
}

pub(crate) fn add_metric(id: u32, delta: i64) {
    with(|double| {
        let metric = &mut double.metrics[id as usize];
        assert!(metric.kind != MetricType::Counter || delta >= 0, "a counter only rises");
        metric.value = metric.value.wrapping_add_signed(delta);
    });
}

pub(crate) fn record_metric(id: u32, value: u64) {
    with(|double| {
        let metric = &mut double.metrics[id as usize];
        metric.value = value;
        metric.values.push(value);
    });
}

pub(crate) fn shared(key: &str) -> Result<(&'static [u8], u32), Status> {
    with(|double| {
        double.shared.get(key).map(|(value, cas)| (leak(value), *cas)).ok_or(Status::NotFound)
    })
}

pub(crate) fn set_shared(key: &str, value: &[u8], cas: u32) -> Result<(), Status> {
    with(|double| {
        let present = double.shared.get(key).map_or(0, |(_, cas)| *cas);
        if double.rivals > 0 && cas != 0 {
            double.rivals -= 1;
            return Err(Status::CasMismatch);
        }
        if cas != 0 && cas != present {
            return Err(Status::CasMismatch);
        }
        double.shared.insert(key.to_owned(), (value.to_vec(), present + 1));
        Ok(())
    })
}

pub(crate) fn register_queue(name: &str) -> Result<u32, Status> {
    let id = resolve_queue("", name).or_else(|_| {
        with(|double| {
            double.queues.push(Queue { name: name.to_owned(), ..Queue::default() });
            u32::try_from(double.queues.len()).map_err(|_| Status::InternalFailure)
        })
    })?;
    with(|double| {
        let root = double.context;
        let queue = double.queue(id)?;
        queue.root = root;
        queue.owed = queue.items.len();
        Ok(id)
    })
}

pub(crate) fn resolve_queue(vm_id: &str, name: &str) -> Result<u32, Status> {
    with(|double| {
        let is = |queue: &Queue| queue.vm_id == vm_id && queue.name == name;
        let place = double.queues.iter().position(is).ok_or(Status::NotFound)?;
        u32::try_from(place + 1).map_err(|_| Status::InternalFailure)
    })
}

pub(crate) fn push_queue(id: u32, item: &[u8]) -> Result<(), Status> {
    with(|double| {
        let queue = double.queue(id)?;
        queue.items.push_back(item.to_vec());
        queue.owed += 1;
        Ok(())
    })
}

pub(crate) fn pop_queue(id: u32) -> Result<&'static [u8], Status> {
    with(|double| double.queue(id)?.items.pop_front().map(|item| leak(&item)).ok_or(Status::Empty))
}
