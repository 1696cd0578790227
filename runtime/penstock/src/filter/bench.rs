//! `penstock filter bench`: what a module costs per request or connection, per instance, and per
//! failure.
//!
//! Measured on the host that the proxy uses, with its deadlines on and fuel off; what stands
//! behind the host's seam here is the test harness, whose field list is part of the figures.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use penstock_filter_host::abi::{Callback, PeerType};
use penstock_filter_host::testing::{FakeSession, FakeWorld, Fields, Harness};
use penstock_filter_host::{
    Chain, ChainLink, Engine, EngineSettings, FilterHost, FilterSettings, Filters, Flow, Half,
    PluginSettings, World,
};

use crate::filter::case::{Field, RequestLine, request_fields};
use crate::filter::spec::Spec;
use crate::filter::{Failure, module};

#[derive(Args, Debug)]
pub(crate) struct Bench {
    /// The module; or a .toml file of exchanges, for its module and configuration.
    file: PathBuf,
    /// The filter's configuration: JSON or text as it stands, a .toml file as JSON.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Method and path.
    #[arg(long, value_name = "LINE", default_value = "GET /orders/42?expand=lines")]
    request: RequestLine,
    /// A field of the request, beside those that a browser sends or in place of one of them.
    #[arg(short = 'H', long = "header", value_name = "FIELD")]
    headers: Vec<Field>,
    /// How many requests, or connections; ends after a minute at the latest.
    #[arg(
        long,
        default_value_t = 200_000,
        value_parser = clap::value_parser!(u32).range(100..=10_000_000),
    )]
    requests: u32,
}

/// Measures, and shows the figures.
pub(crate) fn run(arguments: &Bench, out: &mut dyn Write) -> Result<(), Failure> {
    let (file, config) = match module::is_toml(&arguments.file) && arguments.config.is_none() {
        true => {
            let spec = Spec::read(&arguments.file)?;
            let config = spec.config_text(&arguments.file)?;
            (spec.wasm, config)
        }
        false => (arguments.file.clone(), module::config(arguments.config.as_deref())?),
    };
    let wasm = module::read(&file)?;
    let (bench, compiled) = Started::new(arguments, &wasm, &config)?;
    let requests = bench.requests(arguments.requests)?;
    let pieces = if bench.raw { Some(bench.pieces(arguments.requests)?) } else { None };
    let instances = bench.instances();
    let recovery = bench.recovery()?;
    writeln!(out, "{}", file.display())?;
    if cfg!(debug_assertions) {
        writeln!(out, "  built without optimisation: the figures say little")?;
    }
    let mut row = |name: &str, value: String| writeln!(out, "  {name:<15} {value}");
    row("compile", format!("{} ms", compiled.as_millis()))?;
    let times = |times: &Times| {
        let (median, p99) = (times.quantile(0.5), times.quantile(0.99));
        format!("median {median} ns, p99 {p99} ns ({}", times.0.len())
    };
    let (measured, answered) = (times(&requests.times), requests.answered);
    if let Some(pieces) = &pieces {
        let rest = format!("connections, a KiB each way, {answered} held or closed)");
        row("per connection", format!("{measured} {rest}"))?;
        row("per KiB", format!("{} from a client, on one connection)", times(pieces)))?;
    } else {
        let (sent, got) = (bench.session.request.iter().count(), bench.response.iter().count());
        let rest = format!("requests, {sent} + {got} fields, {answered} answered by the filter)");
        row("per request", format!("{measured} {rest}"))?;
    }
    let us = |ns: u32| format!("{:.1} us", f64::from(ns) / 1_000.0);
    let start = &instances.start;
    row(
        "instance start",
        format!("median {}, p99 {}", us(start.quantile(0.5)), us(start.quantile(0.99))),
    )?;
    let dirty = instances.dirty_bytes.map_or("unknown on this system".to_owned(), |bytes| {
        format!("{} KiB per instance, the host's part included", bytes >> 10)
    });
    row("dirty memory", dirty)?;
    row(
        "trap recovery",
        format!(
            "median {}, p99 {}, from the failure to the end of what comes next",
            us(recovery.quantile(0.5)),
            us(recovery.quantile(0.99)),
        ),
    )?;
    Ok(())
}

/// A filter that runs, and what it is given.
struct Started {
    harness: Harness,
    session: FakeSession,
    response: Fields,
    /// The filter knows raw connections alone.
    raw: bool,
    /// What reading the clock costs by itself.
    clock_ns: u32,
}

struct Requests {
    times: Times,
    answered: u32,
}

struct Instances {
    start: Times,
    dirty_bytes: Option<u64>,
}

/// Nanoseconds, sorted.
struct Times(Vec<u32>);

impl Times {
    fn new(mut times: Vec<u32>, clock_ns: u32) -> Times {
        times.iter_mut().for_each(|ns| *ns = ns.saturating_sub(clock_ns));
        times.sort_unstable();
        Times(times)
    }

    fn quantile(&self, share: f64) -> u32 {
        let last = self.0.len().saturating_sub(1);
        self.0.get((last as f64 * share) as usize).copied().unwrap_or(0)
    }
}

impl Started {
    /// Loads and starts the filter; also answers how long compiling and the first start took.
    fn new(arguments: &Bench, wasm: &[u8], config: &str) -> Result<(Started, Duration), Failure> {
        let host = FilterHost::new(Engine::new(EngineSettings::default())?, None, 1, SEED);
        let mut settings = FilterSettings::new("filter");
        let plugin = PluginSettings { config: config.as_bytes().into(), ..Default::default() };
        settings.plugins = Arc::new([plugin]);
        // A deadline is wall time, and a machine that is measured on may be busy.
        settings.header_deadline = HEADER_DEADLINE;
        let world = Rc::new(FakeWorld::new(SEED));
        let seen: Rc<dyn World> = world.clone();
        let began = now();
        let filter = host.load(wasm, settings, &seen).map_err(|error| {
            let lines = world.lines.borrow();
            let lines: Vec<String> = lines.iter().map(|(_, line)| line.clone()).collect();
            module::refused(&arguments.file, &error, &lines)
        })?;
        let compiled = began.elapsed();
        let filters = Filters::new(0, seen);
        filters.apply(&[Arc::clone(&filter).into()]);
        let harness = Harness { world, filters, filter, host };
        let request = fields(arguments);
        let session = FakeSession {
            properties: [("source.address".to_owned(), b"192.0.2.1:4711".to_vec())].into(),
            ..FakeSession::new(&request)
        };
        let clock = (0..CLOCK_READS).map(|_| ns(now().elapsed())).collect();
        let clock_ns = Times::new(clock, 0).quantile(0.5);
        let callbacks = harness.filter.module().callbacks();
        let has = |all: &[Callback]| all.iter().any(|&one| callbacks.has(one));
        let raw = !has(&[Callback::RequestHeaders, Callback::ResponseHeaders])
            && has(&[Callback::NewConnection, Callback::DownstreamData, Callback::UpstreamData]);
        let response = Fields::new(RESPONSE);
        Ok((Started { harness, session, response, raw, clock_ns }, compiled))
    }

    /// The header callbacks of that many requests, or those of connections, one after the other.
    fn requests(&self, count: u32) -> Result<Requests, Failure> {
        let mut progress = Progress::new(count);
        let mut times = Vec::with_capacity(count as usize);
        let mut chain = Chain::new();
        let (mut answered, mut warm_up) = (0, (count / 20).max(50));
        while times.len() < count as usize {
            let mut session = self.session.clone();
            let response = self.response.clone();
            let began = now();
            let went = self.pass(&self.harness.filters, &mut chain, &mut session, response);
            let took = ns(began.elapsed());
            self.harness.world.advance(BETWEEN_REQUESTS);
            if warm_up > 0 {
                warm_up -= 1;
                continue;
            }
            times.push(took);
            answered += u32::from(!went);
            if times.len().is_multiple_of(1_024) {
                // Timers that became due meanwhile.
                self.harness.advance(Duration::ZERO);
                if progress.is_over(times.len() as u32) {
                    break;
                }
            }
        }
        progress.end();
        self.check_failures()?;
        Ok(Requests { times: Times::new(times, self.clock_ns), answered })
    }

    /// Runs a request, or a connection, through the filter; whether it let it pass.
    fn pass(
        &self,
        filters: &Filters,
        chain: &mut Chain,
        session: &mut FakeSession,
        response: Fields,
    ) -> bool {
        match self.raw {
            true => connection(filters, chain, session),
            false => exchange(filters, chain, session, response),
        }
    }

    /// Pieces from a client on one connection, each as large as those of [`connection`].
    fn pieces(&self, count: u32) -> Result<Times, Failure> {
        let (mut chain, mut session) = (Chain::new(), self.session.clone());
        chain.begin_connection(&self.harness.filters, LINKS);
        // Whatever the filter makes of it: what is measured is the call.
        let _ = chain.new_connection(&mut session);
        let mut times = Vec::with_capacity(count as usize);
        let (began, mut bytes) = (now(), Vec::new());
        while times.len() < count as usize && began.elapsed() < TIME_MAX {
            bytes.clear();
            bytes.extend_from_slice(&PIECE);
            let began = now();
            let _ = chain.data(Half::Downstream, &mut session, &mut bytes, false);
            times.push(ns(began.elapsed()));
            if chain.room(Half::Downstream) < PIECE.len() {
                // It holds them, and has all that it may.
                break;
            }
        }
        chain.finish(&mut session);
        self.check_failures()?;
        Ok(Times::new(times, self.clock_ns))
    }

    /// A figure for a filter that fails would be one for its failures.
    fn check_failures(&self) -> Result<(), Failure> {
        let failures = self.harness.filter.stats().shards.iter().flat_map(|one| &one.failures);
        let count = failures.map(penstock_filter_host::metrics::Cell::value).sum();
        if count == 0 {
            return Ok(());
        }
        let lines = self.harness.world.lines.borrow();
        let last = lines.last().map_or(String::new(), |(_, line)| line.clone());
        Err(Failure::Failed { count, last })
    }

    /// Starts instances beside each other, gives each a request, and asks the system what they
    /// made of its memory.
    fn instances(&self) -> Instances {
        let mut chain = Chain::new();
        let mut start = Vec::with_capacity(INSTANCES);
        let mut running = Vec::with_capacity(INSTANCES);
        let before = dirty_bytes();
        for _ in 0..INSTANCES {
            let began = now();
            let filters = Filters::new(0, self.harness.world.clone());
            filters.apply(&[Arc::clone(&self.harness.filter).into()]);
            start.push(ns(began.elapsed()));
            self.pass(&filters, &mut chain, &mut self.session.clone(), self.response.clone());
            running.push(filters);
        }
        let more = before.zip(dirty_bytes()).map(|(before, after)| after.saturating_sub(before));
        let dirty_bytes = more.map(|bytes| bytes / INSTANCES as u64);
        Instances { start: Times::new(start, self.clock_ns), dirty_bytes }
    }

    /// Fails the instance and runs the next request, which needs a fresh one.
    fn recovery(&self) -> Result<Times, Failure> {
        let mut chain = Chain::new();
        let mut times = Vec::with_capacity(FAILURES);
        for _ in 0..FAILURES {
            let mut session = self.session.clone();
            let response = self.response.clone();
            let began = now();
            self.harness.fail();
            self.pass(&self.harness.filters, &mut chain, &mut session, response);
            times.push(ns(began.elapsed()));
            // Slow enough that the host does not take it for a storm and switch the filter off.
            self.harness.world.advance(BETWEEN_FAILURES);
        }
        Ok(Times::new(times, self.clock_ns))
    }
}

/// One request and its response; whether the filter let them pass.
fn exchange(
    filters: &Filters,
    chain: &mut Chain,
    session: &mut FakeSession,
    response: Fields,
) -> bool {
    chain.begin(filters, LINKS);
    let mut went = chain.request_headers(session, true) == Flow::Continue;
    if went {
        session.response = Some(response);
        went = chain.response_headers(session, true) == Flow::Continue;
    }
    // A filter that waits for a callout waits in vain: nobody replies here.
    while chain.callout().is_some() {}
    chain.finish(session);
    went
}

/// One connection, with a piece each way; whether the filter let them pass.
fn connection(filters: &Filters, chain: &mut Chain, session: &mut FakeSession) -> bool {
    chain.begin_connection(filters, LINKS);
    let mut went = chain.new_connection(session) == Flow::Continue;
    for half in [Half::Downstream, Half::Upstream] {
        if went {
            went = chain.data(half, session, &mut PIECE.to_vec(), true) == Flow::Continue;
        }
    }
    while chain.callout().is_some() {}
    chain.closed(Half::Upstream, session, PeerType::Remote);
    chain.closed(Half::Downstream, session, PeerType::Remote);
    chain.finish(session);
    went
}

/// What a browser sends, and what the command line has in its place.
fn fields(arguments: &Bench) -> Vec<(&str, &str)> {
    let given = |name: &str| arguments.headers.iter().any(|field| field.name == name);
    let browser = REQUEST.iter().filter(|(name, _)| !given(name));
    let head = request_fields(&arguments.request, &arguments.headers);
    browser.fold(head, |mut fields, field| {
        fields.push(*field);
        fields
    })
}

/// Private memory of this process that no file could give back; `None` where the kernel does not
/// tell.
fn dirty_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Private_Dirty:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

/// A line on a terminal that says how far it is; and the end of patience.
struct Progress {
    count: u32,
    began: Instant,
    shown: Instant,
    on_terminal: bool,
}

impl Progress {
    fn new(count: u32) -> Progress {
        Progress { count, began: now(), shown: now(), on_terminal: io::stderr().is_terminal() }
    }

    /// Shows it now and then; whether time has run out.
    fn is_over(&mut self, done: u32) -> bool {
        if self.on_terminal && self.shown.elapsed() > SHOW_EVERY {
            self.shown = now();
            eprint!("\r{done} of {} requests", self.count);
        }
        self.began.elapsed() > TIME_MAX
    }

    fn end(&self) {
        if self.on_terminal {
            eprint!("\r\x1b[K");
        }
    }
}

fn ns(time: Duration) -> u32 {
    u32::try_from(time.as_nanos()).unwrap_or(u32::MAX)
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures with the real clock")]
fn now() -> Instant {
    Instant::now()
}

/// The chain that is measured.
const LINKS: &[ChainLink] = &[ChainLink { filter: 0, plugin: 0 }];
/// What comes at once on a connection.
const PIECE: [u8; 1024] = [b'x'; 1024];
/// Of the random numbers that the filter is given.
const SEED: u64 = 7;
/// No bench runs longer.
const TIME_MAX: Duration = Duration::from_secs(60);
/// Far above what any callback takes, and below what one waits for that loops.
const HEADER_DEADLINE: Duration = Duration::from_secs(1);
const SHOW_EVERY: Duration = Duration::from_millis(200);
/// The filter's clock: ten thousand requests per second.
const BETWEEN_REQUESTS: Duration = Duration::from_micros(100);
/// 50 failures in 10 s are a storm.
const BETWEEN_FAILURES: Duration = Duration::from_secs(1);
const CLOCK_READS: usize = 10_001;
/// Enough that what one of them rounds away is not missed: the kernel counts pages.
const INSTANCES: usize = 32;
const FAILURES: usize = 200;

/// With the four of the request line they are fifteen.
const REQUEST: &[(&str, &str)] = &[
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("accept-language", "en-GB,en;q=0.5"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("referer", "https://shop.example.com/orders"),
    ("cookie", "session=0123456789abcdef0123456789abcdef; theme=dark; consent=yes"),
    ("sec-fetch-dest", "document"),
    ("sec-fetch-mode", "navigate"),
    ("sec-fetch-site", "same-origin"),
    ("cache-control", "max-age=0"),
    ("x-request-id", "6f9619ff-8b86-d011-b42d-00c04fc964ff"),
];

/// Eight fields, the status among them.
const RESPONSE: &[(&str, &str)] = &[
    (":status", "200"),
    ("date", "Thu, 01 Jan 2026 00:00:00 GMT"),
    ("server", "origin"),
    ("content-type", "application/json; charset=utf-8"),
    ("content-length", "0"),
    ("cache-control", "private, max-age=60"),
    ("etag", "\"33a64df551425fcc55e4d42a148795d9f25f89d4\""),
    ("vary", "accept-encoding"),
];
