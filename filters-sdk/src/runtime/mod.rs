//! From the host's callbacks to a filter's methods: which filter, which state, what to do with the
//! decision.
//!
//! One runtime lives in each instance of a module and serves every context in it. A filter without
//! state costs no table look-up per request: its streams are not written down at all.

mod http;
mod stream;
mod table;
#[cfg(test)]
mod tests;

use core::cell::{Cell, RefCell};
use core::mem::size_of;
use std::rc::Rc;

use penstock_filters_sdk_abi::{Action, BufferType, MapType, StreamType};
use serde::de::DeserializeOwned;

use crate::calls::Calls;
use crate::config::{self, ConfigError};
use crate::flow::CallId;
use crate::grpc::{GrpcEvent, GrpcStatus};
use crate::queue::QueueId;
use crate::sys;
use crate::view::{Fields, Plugin, Reply};
pub use http::{Http, Tail};
pub use stream::Raw;
use table::Table;

/// What a runtime has to know of a filter, whatever passes through it.
pub trait Kind: Sized + 'static {
    /// What the operator writes under `config`.
    type Config: DeserializeOwned;
    /// What is kept of an exchange or a connection.
    type State: Default + 'static;

    /// Builds the filter.
    fn new(config: Self::Config) -> Result<Self, ConfigError>;

    /// Something came of a call that the half of a stream has made; what it calls now is put into
    /// `calls`.
    fn on_news(
        &self,
        state: &mut Self::State,
        half: StreamType,
        news: &News<'_>,
        calls: &mut Calls,
    ) -> Decision;

    /// A stream is over.
    fn on_log(&self, state: &mut Self::State);

    /// The plugin's timer.
    fn on_tick(&self, plugin: &mut Plugin<'_>);

    /// An item in a queue of the plugin's.
    fn on_queue(&self, plugin: &mut Plugin<'_>, queue: QueueId);

    /// The reply to a call of the plugin's.
    fn on_plugin_reply(&self, plugin: &mut Plugin<'_>, reply: &Reply<'_>);

    /// Something came on a gRPC call of the plugin's.
    fn on_plugin_grpc(&self, plugin: &mut Plugin<'_>, call: CallId, event: &GrpcEvent<'_>);

    /// Ends the stream under way, for which there is no filter.
    fn refuse();

    /// Shows streams that a reply let go on what came behind what was held: on the host double,
    /// which has nobody else to do it.
    #[cfg(not(target_arch = "wasm32"))]
    fn catch_up(runtime: &Runtime<Self>) {
        let _ = runtime;
    }
}

/// What a callback decided over what passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It goes on.
    Go,
    /// It is held.
    Wait,
    /// It goes nowhere: it was answered, or closed.
    Over,
}

/// All that a module keeps between callbacks.
pub struct Runtime<F: Kind> {
    roots: RefCell<Vec<Root<F>>>,
    streams: RefCell<Table<Stream<F::State>>>,
    calls: RefCell<Table<Call>>,
    /// The root of all streams that are not written down.
    lone_root: Cell<u32>,
}

/// One configuration of the filter.
struct Root<F> {
    id: u32,
    filter: Option<Rc<F>>,
}

/// One exchange or connection that has to be remembered.
struct Stream<S> {
    root: u32,
    /// `None` while a callback has it.
    state: Option<S>,
    request_waits: bool,
    response_waits: bool,
}

/// One call of which something is to come.
#[derive(Clone, Copy)]
struct Call {
    root: u32,
    /// 0: the plugin itself.
    stream: u32,
    half: StreamType,
    /// Several things may come of it.
    streams: bool,
}

/// What came of a call.
pub enum News<'a> {
    /// Its reply.
    Reply(Reply<'a>),
    /// An event, of a gRPC call.
    Grpc(CallId, GrpcEvent<'a>),
}

const CONTINUE: u32 = Action::Continue as u32;
const PAUSE: u32 = Action::Pause as u32;

impl<F: Kind> Runtime<F> {
    /// A module that has seen nothing yet.
    pub const fn new() -> Self {
        Self {
            roots: RefCell::new(Vec::new()),
            streams: RefCell::new(Table::new()),
            calls: RefCell::new(Table::new()),
            lone_root: Cell::new(0),
        }
    }

    /// The host opened a context: a plugin's where `parent` is 0, else a stream's.
    pub fn on_context_create(&self, id: u32, parent: u32) {
        let mut roots = self.roots.borrow_mut();
        if parent == 0 {
            if roots.is_empty() {
                self.lone_root.set(id);
            }
            roots.push(Root { id, filter: None });
        } else if size_of::<F::State>() != 0 || roots.len() != 1 || self.lone_root.get() != parent {
            self.streams.borrow_mut().insert(id, Stream::of(parent));
        }
    }

    /// The host gives the plugin `root` its configuration. False: it is no good.
    pub fn on_configure(&self, root: u32, bytes: usize) -> bool {
        let text = match bytes {
            0 => &[][..],
            bytes => sys::buffer(BufferType::PluginConfiguration, 0, bytes).unwrap_or(&[]),
        };
        match self.configure(root, text) {
            Ok(()) => true,
            Err(error) => {
                crate::error!("configuration: {error}");
                false
            }
        }
    }

    /// Builds the filter of the plugin `root` from its configuration's text.
    pub(crate) fn configure(&self, root: u32, text: &[u8]) -> Result<(), ConfigError> {
        let filter = Rc::new(F::new(config::parse(text)?)?);
        let mut roots = self.roots.borrow_mut();
        if let Some(root) = roots.iter_mut().find(|entry| entry.id == root) {
            root.filter = Some(filter);
        }
        Ok(())
    }

    /// An exchange or connection is over.
    pub fn on_log(&self, id: u32) {
        // Also called for the plugin's own context, which has nothing to tell.
        if self.roots.borrow().iter().any(|root| root.id == id) {
            return;
        }
        self.with_stream(id, |filter, _, state| {
            filter.on_log(state);
            CONTINUE
        });
    }

    /// A context is gone; what belongs to it goes too.
    pub fn on_delete(&self, id: u32) {
        self.streams.borrow_mut().remove(id);
        let mut calls = self.calls.borrow_mut();
        calls.retain(|call| call.stream != id && call.root != id);
        drop(calls);
        let mut roots = self.roots.borrow_mut();
        if let Some(place) = roots.iter().position(|root| root.id == id) {
            roots.remove(place);
            // The streams that are not written down were the lone root's, and went before it.
            if self.lone_root.get() == id {
                self.lone_root.set(roots.first().map_or(0, |root| root.id));
            }
        }
    }

    /// The plugin's timer.
    pub fn on_tick(&self, root: u32) {
        let Some(filter) = self.filter(root) else { return };
        let mut plugin = Plugin::new();
        filter.on_tick(&mut plugin);
        self.note(&plugin.calls, root, 0, StreamType::HttpRequest);
    }

    /// An item in a queue of the plugin's.
    pub fn on_queue_ready(&self, root: u32, queue: u32) {
        let Some(filter) = self.filter(root) else { return };
        let mut plugin = Plugin::new();
        filter.on_queue(&mut plugin, QueueId(queue));
        self.note(&plugin.calls, root, 0, StreamType::HttpRequest);
    }

    /// The reply to a callout.
    pub fn on_http_call_response(&self, id: u32, headers: usize, body: usize) {
        let Some(call) = self.calls.borrow_mut().remove(id) else { return };
        self.bring(&call, &News::Reply(Reply::new(CallId(id), headers, body)));
    }

    /// The fields before the messages of a gRPC stream.
    pub fn on_grpc_metadata(&self, id: u32) {
        self.hear(id, GrpcEvent::Metadata(Fields::new(MapType::GrpcInitialMetadata)));
    }

    /// A message on a gRPC call.
    pub fn on_grpc_message(&self, id: u32, bytes: usize) {
        let message = match bytes {
            0 => &[][..],
            bytes => sys::buffer(BufferType::GrpcCallMessage, 0, bytes).unwrap_or(&[]),
        };
        self.hear(id, GrpcEvent::Message(message));
    }

    /// The fields behind the messages of a gRPC stream.
    pub fn on_grpc_trailers(&self, id: u32) {
        self.hear(id, GrpcEvent::Trailers(Fields::new(MapType::GrpcTrailingMetadata)));
    }

    /// The end of a gRPC call.
    pub fn on_grpc_close(&self, id: u32, code: u32) {
        let message = core::str::from_utf8(sys::call_message()).unwrap_or("");
        self.hear(id, GrpcEvent::Closed(GrpcStatus { code, message }));
    }

    fn hear(&self, id: u32, event: GrpcEvent<'_>) {
        let Some(call) = self.calls.borrow_mut().find(id).copied() else { return };
        let is_over = !call.streams || matches!(event, GrpcEvent::Closed(_));
        if is_over {
            self.calls.borrow_mut().remove(id);
        }
        self.bring(&call, &News::Grpc(CallId(id), event));
        if is_over && call.streams {
            // Hosts keep a stream until this side has closed it, too.
            sys::grpc_close(id);
        }
    }

    /// Brings what came of a call to the method that is there for it.
    fn bring(&self, call: &Call, news: &News<'_>) {
        if call.stream == 0 {
            let Some(filter) = self.filter(call.root) else { return };
            let mut plugin = Plugin::new();
            match news {
                News::Reply(reply) => filter.on_plugin_reply(&mut plugin, reply),
                News::Grpc(id, event) => filter.on_plugin_grpc(&mut plugin, *id, event),
            }
            self.note(&plugin.calls, call.root, 0, StreamType::HttpRequest);
            return;
        }
        // The host calls in the plugin's name; what follows is about the stream.
        if sys::effective_context(call.stream).is_err() {
            return;
        }
        let (stream, half) = (call.stream, call.half);
        self.with_stream(stream, |filter, root, state| {
            let mut calls = Calls::default();
            let decision = filter.on_news(state, half, news, &mut calls);
            self.note(&calls, root, stream, half);
            self.resume(stream, half, decision)
        });
    }

    /// Runs `callback` with the filter and the state of stream `id`.
    fn with_stream(&self, id: u32, callback: impl FnOnce(&F, u32, &mut F::State) -> u32) -> u32 {
        let (root, state) = match self.streams.borrow_mut().find(id) {
            Some(stream) => (stream.root, stream.state.take()),
            None => (self.lone_root.get(), None),
        };
        let Some(filter) = self.filter(root) else {
            // A stream without a configured filter is a host's mistake; letting it pass would be
            // ours.
            F::refuse();
            return PAUSE;
        };
        let mut state = state.unwrap_or_default();
        let action = callback(&filter, root, &mut state);
        if size_of::<F::State>() != 0 {
            // Not found: the stream was deleted meanwhile, and the state goes with it.
            if let Some(stream) = self.streams.borrow_mut().find(id) {
                stream.state = Some(state);
            }
        }
        action
    }

    fn filter(&self, root: u32) -> Option<Rc<F>> {
        self.roots.borrow().iter().find(|entry| entry.id == root)?.filter.clone()
    }

    /// Writes down what a callback did about calls.
    fn note(&self, calls: &Calls, root: u32, stream: u32, half: StreamType) {
        for &(call, streams) in &calls.begun {
            self.calls.borrow_mut().insert(call.0, Call { root, stream, half, streams });
        }
        for call in &calls.cancelled {
            self.calls.borrow_mut().remove(call.0);
        }
    }

    /// Carries out what a callback decided over what it was shown.
    fn settle(&self, id: u32, root: u32, half: StreamType, decision: Decision) -> u32 {
        if decision == Decision::Go {
            return CONTINUE;
        }
        // Only a reply lets it go on from outside a callback: else nothing need be known of it.
        if decision == Decision::Wait && self.is_calling(id, half) {
            let mut streams = self.streams.borrow_mut();
            let stream = match streams.find(id) {
                Some(stream) => stream,
                None => streams.insert(id, Stream::of(root)),
            };
            *stream.waits(half) = true;
        }
        PAUSE
    }

    /// As [`Runtime::settle`], for what comes behind a head or a connection's beginning: hosts take
    /// going on from here for the end of an earlier wait, and a half that waits for a reply goes on
    /// when that says so.
    fn settle_piece(&self, id: u32, root: u32, half: StreamType, decision: Decision) -> u32 {
        let waits = self.streams.borrow_mut().find(id).is_some_and(|stream| *stream.waits(half));
        match decision {
            Decision::Go if waits && self.is_calling(id, half) => PAUSE,
            Decision::Go if waits => {
                self.forget_wait(id, half);
                CONTINUE
            }
            decision => self.settle(id, root, half, decision),
        }
    }

    /// Carries out what a reply's callback decided over what may wait for it.
    fn resume(&self, id: u32, half: StreamType, decision: Decision) -> u32 {
        if decision == Decision::Wait {
            return PAUSE;
        }
        let waited = self.forget_wait(id, half);
        if decision == Decision::Over {
            return PAUSE;
        }
        if waited {
            sys::continue_half(half);
        }
        CONTINUE
    }

    /// Whether something is to come of a call that this half of a stream has made.
    fn is_calling(&self, id: u32, half: StreamType) -> bool {
        self.calls.borrow().any(|call| call.stream == id && call.half == half)
    }

    /// Streams that are written down.
    #[cfg(test)]
    pub(crate) fn remembered(&self) -> usize {
        self.streams.borrow().len()
    }

    /// Whether this half waited; it does no more.
    fn forget_wait(&self, id: u32, half: StreamType) -> bool {
        let mut streams = self.streams.borrow_mut();
        let Some(stream) = streams.find(id) else { return false };
        let waited = core::mem::take(stream.waits(half));
        let waits = stream.request_waits || stream.response_waits;
        // Of a filter without state no host need tell that a stream is gone.
        if size_of::<F::State>() == 0 && !waits && stream.root == self.lone_root.get() {
            streams.remove(id);
        }
        waited
    }
}

impl<F: Kind> Default for Runtime<F> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Default> Stream<S> {
    fn of(root: u32) -> Self {
        Self { root, state: None, request_waits: false, response_waits: false }
    }

    fn waits(&mut self, half: StreamType) -> &mut bool {
        match half {
            StreamType::HttpRequest | StreamType::Downstream => &mut self.request_waits,
            _ => &mut self.response_waits,
        }
    }
}
