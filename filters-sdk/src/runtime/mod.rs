//! From the host's callbacks to a filter's methods: which filter, which state, what to do with the
//! decision.
//!
//! One runtime lives in each instance of a module and serves every context in it. A filter without
//! state costs no table look-up per request: its streams are not written down at all.

mod table;
#[cfg(test)]
mod tests;

use core::cell::{Cell, RefCell};
use core::mem::size_of;
use std::rc::Rc;

use penstock_filters_sdk_abi::{Action, BufferType, MapType, StreamType};

use crate::calls::Calls;
use crate::config::{self, ConfigError};
use crate::filter::Filter;
use crate::flow::{Answer, CallId, Flow};
use crate::grpc::{GrpcEvent, GrpcStatus};
use crate::queue::QueueId;
use crate::sys;
use crate::view::{Body, Fields, Log, Plugin, Reply, Request, Response, Trailers};
use table::Table;

/// All that a module keeps between callbacks.
pub struct Runtime<F: Filter> {
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

/// One exchange that has to be remembered.
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
enum News<'a> {
    Reply(Reply<'a>),
    Grpc(CallId, GrpcEvent<'a>),
}

const CONTINUE: u32 = Action::Continue as u32;
const PAUSE: u32 = Action::Pause as u32;

impl<F: Filter> Runtime<F> {
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

    /// The head of a request.
    pub fn on_request_headers(&self, id: u32, end: bool) -> u32 {
        self.with_stream(id, |filter, root, state| {
            let mut request = Request::new(state, end);
            let flow = filter.on_request(&mut request);
            let calls = core::mem::take(&mut request.calls);
            self.note(&calls, root, id, StreamType::HttpRequest);
            self.settle(id, root, StreamType::HttpRequest, flow)
        })
    }

    /// A part of a request's body.
    pub fn on_request_body(&self, id: u32, bytes: usize, end: bool) -> u32 {
        self.with_stream(id, |filter, root, state| {
            let mut body = Body::new(state, BufferType::RequestBody, bytes);
            let flow = filter.on_request_body(&mut body, end);
            self.settle(id, root, StreamType::HttpRequest, flow)
        })
    }

    /// The trailers of a request.
    pub fn on_request_trailers(&self, id: u32) -> u32 {
        self.with_stream(id, |filter, root, state| {
            let flow =
                filter.on_request_trailers(&mut Trailers::new(state, MapType::RequestTrailers));
            self.settle(id, root, StreamType::HttpRequest, flow)
        })
    }

    /// The head of a response.
    pub fn on_response_headers(&self, id: u32, end: bool) -> u32 {
        self.with_stream(id, |filter, root, state| {
            let mut response = Response::new(state, end);
            let flow = filter.on_response(&mut response);
            let calls = core::mem::take(&mut response.calls);
            self.note(&calls, root, id, StreamType::HttpResponse);
            self.settle(id, root, StreamType::HttpResponse, flow)
        })
    }

    /// A part of a response's body.
    pub fn on_response_body(&self, id: u32, bytes: usize, end: bool) -> u32 {
        self.with_stream(id, |filter, root, state| {
            let mut body = Body::new(state, BufferType::ResponseBody, bytes);
            let flow = filter.on_response_body(&mut body, end);
            self.settle(id, root, StreamType::HttpResponse, flow)
        })
    }

    /// The trailers of a response.
    pub fn on_response_trailers(&self, id: u32) -> u32 {
        self.with_stream(id, |filter, root, state| {
            let mut trailers = Trailers::new(state, MapType::ResponseTrailers);
            let flow = filter.on_response_trailers(&mut trailers);
            self.settle(id, root, StreamType::HttpResponse, flow)
        })
    }

    /// An exchange is over.
    pub fn on_log(&self, id: u32) {
        // Also called for the plugin's own context, which has nothing to tell.
        if self.roots.borrow().iter().any(|root| root.id == id) {
            return;
        }
        self.with_stream(id, |filter, _, state| {
            filter.on_log(&mut Log::new(state));
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
        let stream = call.stream;
        match call.half {
            StreamType::HttpRequest => self.with_stream(stream, |filter, root, state| {
                let mut request = Request::new(state, false);
                let flow = match news {
                    News::Reply(reply) => filter.on_reply(&mut request, reply),
                    News::Grpc(id, event) => filter.on_grpc(&mut request, *id, event),
                };
                let calls = core::mem::take(&mut request.calls);
                self.note(&calls, root, stream, StreamType::HttpRequest);
                self.resume(stream, StreamType::HttpRequest, flow)
            }),
            _ => self.with_stream(stream, |filter, root, state| {
                let mut response = Response::new(state, false);
                let flow = match news {
                    News::Reply(reply) => filter.on_response_reply(&mut response, reply),
                    News::Grpc(id, event) => filter.on_response_grpc(&mut response, *id, event),
                };
                let calls = core::mem::take(&mut response.calls);
                self.note(&calls, root, stream, StreamType::HttpResponse);
                self.resume(stream, StreamType::HttpResponse, flow)
            }),
        };
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
            Answer::new(500).cause("filter_not_configured").send();
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

    /// Carries out what a message's callback decided.
    fn settle(&self, id: u32, root: u32, half: StreamType, flow: Flow) -> u32 {
        match flow {
            Flow::Continue => CONTINUE,
            Flow::Respond(answer) => {
                answer.send();
                PAUSE
            }
            Flow::Wait => {
                let mut streams = self.streams.borrow_mut();
                let stream = match streams.find(id) {
                    Some(stream) => stream,
                    None => streams.insert(id, Stream::of(root)),
                };
                *stream.waits(half) = true;
                PAUSE
            }
        }
    }

    /// Carries out what a reply's callback decided over a message that may wait for it.
    fn resume(&self, id: u32, half: StreamType, flow: Flow) -> u32 {
        match flow {
            Flow::Wait => PAUSE,
            Flow::Respond(answer) => {
                answer.send();
                PAUSE
            }
            Flow::Continue => {
                let waited = match self.streams.borrow_mut().find(id) {
                    Some(stream) => core::mem::take(stream.waits(half)),
                    None => false,
                };
                if waited {
                    sys::continue_half(half);
                }
                CONTINUE
            }
        }
    }
}

impl<F: Filter> Default for Runtime<F> {
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
            StreamType::HttpRequest => &mut self.request_waits,
            _ => &mut self.response_waits,
        }
    }
}
