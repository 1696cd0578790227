//! A filter of exchanges: its callbacks, method by method.

use penstock_filters_sdk_abi::{BufferType, MapType, StreamType};

use super::{Decision, Kind, News, Runtime};
use crate::calls::Calls;
use crate::config::ConfigError;
use crate::filter::Filter;
use crate::flow::{Answer, CallId, Flow};
use crate::grpc::GrpcEvent;
use crate::queue::QueueId;
use crate::sys;
use crate::view::{Body, Log, Plugin, Reply, Request, Response, Trailers};

/// A filter of exchanges, as a runtime knows it.
pub struct Http<F>(F);

impl<F: Filter> Kind for Http<F> {
    type Config = F::Config;
    type State = F::State;

    fn new(config: F::Config) -> Result<Self, ConfigError> {
        F::new(config).map(Self)
    }

    fn on_news(
        &self,
        state: &mut F::State,
        half: StreamType,
        news: &News<'_>,
        calls: &mut Calls,
    ) -> Decision {
        decide(match half {
            StreamType::HttpRequest => {
                let mut request = Request::new(state, false);
                let flow = match news {
                    News::Reply(reply) => self.0.on_reply(&mut request, reply),
                    News::Grpc(id, event) => self.0.on_grpc(&mut request, *id, event),
                };
                *calls = request.calls;
                flow
            }
            _ => {
                let mut response = Response::new(state, false);
                let flow = match news {
                    News::Reply(reply) => self.0.on_response_reply(&mut response, reply),
                    News::Grpc(id, event) => self.0.on_response_grpc(&mut response, *id, event),
                };
                *calls = response.calls;
                flow
            }
        })
    }

    fn on_log(&self, state: &mut F::State) {
        self.0.on_log(&mut Log::new(state));
    }

    fn on_tick(&self, plugin: &mut Plugin<'_>) {
        self.0.on_tick(plugin);
    }

    fn on_queue(&self, plugin: &mut Plugin<'_>, queue: QueueId) {
        self.0.on_queue(plugin, queue);
    }

    fn on_plugin_reply(&self, plugin: &mut Plugin<'_>, reply: &Reply<'_>) {
        self.0.on_plugin_reply(plugin, reply);
    }

    fn on_plugin_grpc(&self, plugin: &mut Plugin<'_>, call: CallId, event: &GrpcEvent<'_>) {
        self.0.on_plugin_grpc(plugin, call, event);
    }

    fn refuse() {
        Answer::new(500).cause("filter_not_configured").send();
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn catch_up(runtime: &Runtime<Self>) {
        crate::testing::halves::catch_up(runtime);
    }
}

impl<F: Filter> Runtime<Http<F>> {
    /// The head of a request.
    pub fn on_request_headers(&self, id: u32, end: bool) -> u32 {
        self.with_stream(id, |filter, root, state| {
            let mut request = Request::new(state, end);
            let flow = filter.0.on_request(&mut request);
            let calls = core::mem::take(&mut request.calls);
            self.note(&calls, root, id, StreamType::HttpRequest);
            self.settle(id, root, StreamType::HttpRequest, decide(flow))
        })
    }

    /// A part of a request's body.
    pub fn on_request_body(&self, id: u32, bytes: usize, end: bool) -> u32 {
        self.with_stream(id, |filter, root, state| {
            let at = At { id, root, half: StreamType::HttpRequest };
            let body = Body::new(state, BufferType::RequestBody, bytes);
            self.show_body(&at, body, |body| filter.0.on_request_body(body, end)).1
        })
    }

    /// The trailers of a request; `has` says which callbacks the filter has. That of the body hears
    /// of the end first.
    pub fn on_request_trailers(&self, id: u32, has: Tail) -> u32 {
        self.with_stream(id, |filter, root, state| {
            let at = At { id, root, half: StreamType::HttpRequest };
            if has.body {
                let kind = BufferType::RequestBody;
                let body = Body::new(state, kind, sys::buffer_length(kind));
                let shown = self.show_body(&at, body, |body| filter.0.on_request_body(body, true));
                if shown.0 == Decision::Over || !has.trailers {
                    return shown.1;
                }
            }
            let trailers = Trailers::new(state, MapType::RequestTrailers);
            self.show_trailers(&at, trailers, |trailers| filter.0.on_request_trailers(trailers))
        })
    }

    /// The head of a response.
    pub fn on_response_headers(&self, id: u32, end: bool) -> u32 {
        self.with_stream(id, |filter, root, state| {
            let mut response = Response::new(state, end);
            let flow = filter.0.on_response(&mut response);
            let calls = core::mem::take(&mut response.calls);
            self.note(&calls, root, id, StreamType::HttpResponse);
            self.settle(id, root, StreamType::HttpResponse, decide(flow))
        })
    }

    /// A part of a response's body.
    pub fn on_response_body(&self, id: u32, bytes: usize, end: bool) -> u32 {
        self.with_stream(id, |filter, root, state| {
            let at = At { id, root, half: StreamType::HttpResponse };
            let body = Body::new(state, BufferType::ResponseBody, bytes);
            self.show_body(&at, body, |body| filter.0.on_response_body(body, end)).1
        })
    }

    /// The trailers of a response, as those of a request.
    pub fn on_response_trailers(&self, id: u32, has: Tail) -> u32 {
        self.with_stream(id, |filter, root, state| {
            let at = At { id, root, half: StreamType::HttpResponse };
            if has.body {
                let kind = BufferType::ResponseBody;
                let body = Body::new(state, kind, sys::buffer_length(kind));
                let shown = self.show_body(&at, body, |body| filter.0.on_response_body(body, true));
                if shown.0 == Decision::Over || !has.trailers {
                    return shown.1;
                }
            }
            let trailers = Trailers::new(state, MapType::ResponseTrailers);
            self.show_trailers(&at, trailers, |trailers| filter.0.on_response_trailers(trailers))
        })
    }

    fn show_body(
        &self,
        at: &At,
        mut body: Body<'_, F::State>,
        callback: impl FnOnce(&mut Body<'_, F::State>) -> Flow,
    ) -> (Decision, u32) {
        let flow = callback(&mut body);
        self.note(&body.calls, at.root, at.id, at.half);
        let decision = decide(flow);
        (decision, self.settle_piece(at.id, at.root, at.half, decision))
    }

    fn show_trailers(
        &self,
        at: &At,
        mut trailers: Trailers<'_, F::State>,
        callback: impl FnOnce(&mut Trailers<'_, F::State>) -> Flow,
    ) -> u32 {
        let flow = callback(&mut trailers);
        self.note(&trailers.calls, at.root, at.id, at.half);
        self.settle_piece(at.id, at.root, at.half, decide(flow))
    }
}

/// Which callbacks a filter has for what comes behind a head.
#[derive(Clone, Copy, Debug)]
pub struct Tail {
    /// That for the body. It hears of the body's end, also where trailers follow.
    pub body: bool,
    /// That for trailers.
    pub trailers: bool,
}

/// One half of one stream.
struct At {
    id: u32,
    root: u32,
    half: StreamType,
}

/// Carries out what does not come back, an answer.
fn decide(flow: Flow) -> Decision {
    match flow {
        Flow::Continue => Decision::Go,
        Flow::Wait => Decision::Wait,
        Flow::Respond(answer) => {
            answer.send();
            Decision::Over
        }
    }
}
