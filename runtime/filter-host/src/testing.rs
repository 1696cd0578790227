//! A session and a world without a proxy: for filters' tests, and this crate's own.
//!
//! [`Harness`] runs one filter as a shard would, with a clock that moves when told and fuel
//! counted if wanted. What a test does with it is the SDK's business.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use penstock_env::{Rng, Time, Unix};

use crate::abi::pairs::Pairs;
use crate::abi::{LogLevel, MapType};
use crate::{
    BadField, Chain, ChainLink, Engine, EngineSettings, Filter, FilterHost, FilterSettings,
    Filters, HeaderMap, LoadError, LocalResponse, Session, World,
};

/// A list of fields that holds itself to what HTTP allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    fields: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Fields {
    /// These fields, in this order.
    pub fn new(fields: &[(&str, &str)]) -> Fields {
        let owned = |&(name, value): &(&str, &str)| (name.into(), value.into());
        Fields { fields: fields.iter().map(owned).collect() }
    }

    /// An answer's fields behind its status; `None` when one of them can't be sent.
    pub fn of_answer(answer: &LocalResponse) -> Option<Fields> {
        let status = answer.status.to_string();
        let mut fields = Fields::new(&[(":status", &status)]);
        let added = answer.headers.iter().try_for_each(|(name, value)| fields.add(name, value));
        added.is_ok().then_some(fields)
    }

    /// Every field, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Every value of the field.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.iter().filter(move |(other, _)| same(other, name.as_bytes())).map(|(_, value)| value)
    }
}

impl HeaderMap for Fields {
    fn len(&self) -> usize {
        self.fields.len()
    }

    fn bytes(&self) -> usize {
        self.fields.iter().map(|(name, value)| name.len() + value.len()).sum()
    }

    fn value(&self, name: &[u8]) -> Option<&[u8]> {
        self.iter().find(|(other, _)| same(other, name)).map(|(_, value)| value)
    }

    fn for_each(&self, visit: &mut dyn FnMut(&[u8], &[u8])) {
        self.iter().for_each(|(name, value)| visit(name, value));
    }

    fn add(&mut self, name: &[u8], value: &[u8]) -> Result<(), BadField> {
        if name.starts_with(b":") {
            return self.replace(name, value);
        }
        check(name, value)?;
        self.fields.push((name.to_vec(), value.to_vec()));
        Ok(())
    }

    fn replace(&mut self, name: &[u8], value: &[u8]) -> Result<(), BadField> {
        if name.starts_with(b":") && !self.takes_pseudo(name) {
            return Err(BadField::Name);
        }
        check(name, value)?;
        match self.fields.iter().position(|(other, _)| same(other, name)) {
            None => self.fields.push((name.to_vec(), value.to_vec())),
            Some(first) => {
                self.fields[first].1 = value.to_vec();
                let mut index = 0;
                self.fields.retain(|(other, _)| {
                    index += 1;
                    index <= first + 1 || !same(other, name)
                });
            }
        }
        Ok(())
    }

    fn remove(&mut self, name: &[u8]) -> Result<(), BadField> {
        if same(name, b"connection") || name.starts_with(b":") {
            return Err(BadField::Fixed);
        }
        self.fields.retain(|(other, _)| !same(other, name));
        Ok(())
    }

    fn replace_all(&mut self, fields: Pairs<'_>) -> Result<(), BadField> {
        fields.iter().try_for_each(|(name, value)| check(name, value))?;
        let owned = |(name, value): (&[u8], &[u8])| (name.to_vec(), value.to_vec());
        self.fields = fields.iter().map(owned).collect();
        Ok(())
    }
}

impl Fields {
    /// Whether it is a head of the kind that has this pseudo-field.
    fn takes_pseudo(&self, name: &[u8]) -> bool {
        let is_response = self.value(b":status").is_some();
        let is_request = !is_response && self.iter().any(|(name, _)| name.starts_with(b":"));
        match name {
            b":status" => is_response,
            _ => is_request,
        }
    }
}

fn same(left: &[u8], right: &[u8]) -> bool {
    left.eq_ignore_ascii_case(right)
}

/// RFC 9110 §5.6.2 and §5.5; of pseudo-fields, those that there are, with values that a head has.
fn check(name: &[u8], value: &[u8]) -> Result<(), BadField> {
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let is_token = |text: &[u8]| !text.is_empty() && text.iter().all(token);
    let is_target = |text: &[u8]| text.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#');
    let fits = match name {
        b":path" => value.first() == Some(&b'/') && is_target(value),
        b":method" => is_token(value),
        b":authority" => !value.is_empty() && is_target(value) && !value.contains(&b'/'),
        // One listener has one scheme.
        b":scheme" => return Err(BadField::Fixed),
        b":status" => {
            let status = str::from_utf8(value).ok().and_then(|text| text.parse::<u16>().ok());
            status.is_some_and(|status| (200..600).contains(&status))
        }
        _ if !is_token(name) => return Err(BadField::Name),
        _ => true,
    };
    if !fits {
        return Err(BadField::Value);
    }
    // RFC 9110 §7.6.1: what speaks of the connection is the proxy's.
    if same(name, b"connection") {
        return Err(BadField::Fixed);
    }
    match value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        true => Err(BadField::Value),
        false => Ok(()),
    }
}

/// An exchange that nothing but a test stands behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FakeSession {
    /// The request's head.
    pub request: Fields,
    /// The request's trailers, once they came.
    pub request_trailers: Option<Fields>,
    /// The response's head, once it came.
    pub response: Option<Fields>,
    /// The response's trailers, once they came.
    pub response_trailers: Option<Fields>,
    /// Properties, by path with dots: the ones given, and the ones that filters set.
    pub properties: BTreeMap<String, Vec<u8>>,
    /// How often a filter wanted the route chosen anew.
    pub routes_cleared: usize,
}

impl FakeSession {
    /// A request with these fields, pseudo-fields included.
    pub fn new(request: &[(&str, &str)]) -> FakeSession {
        FakeSession { request: Fields::new(request), ..FakeSession::default() }
    }
}

fn dotted(path: &[&[u8]]) -> String {
    path.iter().map(|part| String::from_utf8_lossy(part)).collect::<Vec<_>>().join(".")
}

impl Session for FakeSession {
    fn headers(&mut self, map: MapType) -> Option<&mut dyn HeaderMap> {
        let map = match map {
            MapType::RequestHeaders => &mut self.request,
            MapType::RequestTrailers => self.request_trailers.as_mut()?,
            MapType::ResponseHeaders => self.response.as_mut()?,
            MapType::ResponseTrailers => self.response_trailers.as_mut()?,
            _ => return None,
        };
        Some(map)
    }

    fn property(&self, path: &[&[u8]], out: &mut Vec<u8>) -> bool {
        let value = self.properties.get(&dotted(path));
        value.inspect(|value| out.extend_from_slice(value)).is_some()
    }

    fn set_property(&mut self, path: &[&[u8]], value: &[u8]) -> bool {
        self.properties.insert(dotted(path), value.to_vec());
        true
    }

    fn clear_route(&mut self) {
        self.routes_cleared += 1;
    }
}

/// A world whose clock moves when told, and which keeps what filters log.
#[derive(Debug)]
pub struct FakeWorld {
    now: Cell<Time>,
    rng: RefCell<Rng>,
    cpu_ns: Cell<u64>,
    /// How far the thread's clock moves at each look; there is none by default.
    pub cpu_step_ns: Cell<Option<u64>>,
    /// The least level that filters see.
    pub level: Cell<LogLevel>,
    /// Every line: level and text.
    pub lines: RefCell<Vec<(LogLevel, String)>>,
}

impl FakeWorld {
    /// A world at 2026-01-01T00:00:00Z.
    pub fn new(seed: u64) -> FakeWorld {
        FakeWorld {
            now: Cell::new(Time::from_ns(1_000_000_000)),
            rng: RefCell::new(Rng::new(seed)),
            cpu_ns: Cell::new(0),
            cpu_step_ns: Cell::new(None),
            level: Cell::new(LogLevel::Trace),
            lines: RefCell::default(),
        }
    }

    /// Moves the clock on.
    pub fn advance(&self, by: Duration) {
        self.now.set(self.now.get() + by);
    }

    /// Whether some line contains `text`.
    pub fn logged(&self, text: &str) -> bool {
        self.lines.borrow().iter().any(|(_, line)| line.contains(text))
    }
}

impl World for FakeWorld {
    fn now(&self) -> Time {
        self.now.get()
    }

    fn unix(&self) -> Unix {
        Unix { us: 1_767_225_600_000_000 + self.now.get().as_ns() / 1_000 }
    }

    fn random(&self) -> u64 {
        self.rng.borrow_mut().next_u64()
    }

    fn cpu_ns(&self) -> Option<u64> {
        let step = self.cpu_step_ns.get()?;
        self.cpu_ns.set(self.cpu_ns.get() + step);
        Some(self.cpu_ns.get())
    }

    fn log_level(&self) -> LogLevel {
        self.level.get()
    }

    fn log(&self, _filter: &str, level: LogLevel, message: &str) {
        self.lines.borrow_mut().push((level, message.to_owned()));
    }
}

/// One filter on one shard, without the shard.
pub struct Harness {
    /// The clock and the log.
    pub world: Rc<FakeWorld>,
    /// The shard's filters: the one under test is at place 0.
    pub filters: Filters,
    /// The filter.
    pub filter: Arc<Filter>,
    /// What could load more of them.
    pub host: FilterHost,
}

impl Harness {
    /// Loads and starts the module.
    ///
    /// # Errors
    /// As [`FilterHost::load`].
    ///
    /// # Panics
    /// When this machine can't run WebAssembly.
    pub fn new(
        wasm: &[u8],
        settings: FilterSettings,
        engine: EngineSettings,
    ) -> Result<Harness, LoadError> {
        let engine = Engine::new(engine).expect("this machine runs WebAssembly");
        let host = FilterHost::new(engine, None, 1, 7);
        let world = Rc::new(FakeWorld::new(7));
        let seen: Rc<dyn World> = world.clone();
        let filter = host.load(wasm, settings, &seen)?;
        world.lines.borrow_mut().clear();
        let filters = Filters::new(0, seen);
        filters.apply(&[Arc::clone(&filter).into()]);
        Ok(Harness { world, filters, filter, host })
    }

    /// A chain of the filter alone, for one exchange.
    pub fn chain(&self) -> Chain {
        let mut chain = Chain::new();
        chain.begin(&self.filters, &[ChainLink { filter: 0, plugin: 0 }]);
        chain
    }

    /// A chain of the filter alone, for one raw connection.
    pub fn connection(&self) -> Chain {
        let mut chain = Chain::new();
        chain.begin_connection(&self.filters, &[ChainLink { filter: 0, plugin: 0 }]);
        chain
    }

    /// Moves the clock on, and calls the timers that are due by then, one after the other.
    pub fn advance(&self, by: Duration) {
        let end = self.world.now() + by;
        while let Some(next) = self.filters.next_tick().filter(|&next| next <= end) {
            self.world.now.set(next.max(self.world.now()));
            self.filters.tick(self.world.now());
        }
        self.world.now.set(end);
    }

    /// Has the instance fail as if a callback had trapped, the trap itself aside: it is dropped,
    /// and the next exchange starts a fresh one.
    pub fn fail(&self) {
        self.filters.fail(0);
    }

    /// Fuel used so far by every callback; 0 unless the engine counts it.
    pub fn fuel_used(&self) -> u64 {
        self.filters.fuel_used(0)
    }
}
