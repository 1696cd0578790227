//! A filter of exchanges: its callbacks, method by method.

use penstock_filters_sdk_abi::{BufferType, MapType, StreamType};

use super::{Decision, Kind, News, Runtime};
use crate::calls::Calls;
use crate::config::ConfigError;
use crate::filter::Filter;
use crate::flow::{Answer, CallId, Flow};
use crate::grpc::GrpcEvent;
use crate::queue::QueueId;
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
            let mut body = Body::new(state, BufferType::RequestBody, bytes);
            let flow = filter.0.on_request_body(&mut body, end);
            self.settle(id, root, StreamType::HttpRequest, decide(flow))
        })
    }

    /// The trailers of a request.
    pub fn on_request_trailers(&self, id: u32) -> u32 {
        self.with_stream(id, |filter, root, state| {
            let flow =
                filter.0.on_request_trailers(&mut Trailers::new(state, MapType::RequestTrailers));
            self.settle(id, root, StreamType::HttpRequest, decide(flow))
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
            let mut body = Body::new(state, BufferType::ResponseBody, bytes);
            let flow = filter.0.on_response_body(&mut body, end);
            self.settle(id, root, StreamType::HttpResponse, decide(flow))
        })
    }

    /// The trailers of a response.
    pub fn on_response_trailers(&self, id: u32) -> u32 {
        self.with_stream(id, |filter, root, state| {
            let mut trailers = Trailers::new(state, MapType::ResponseTrailers);
            let flow = filter.0.on_response_trailers(&mut trailers);
            self.settle(id, root, StreamType::HttpResponse, decide(flow))
        })
    }
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
