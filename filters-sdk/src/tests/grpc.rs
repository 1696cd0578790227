//! gRPC calls as an author sees them: one message and its answer, streams, the filter's own.

use core::cell::{Cell, RefCell};

use crate::testing::{GrpcCame, Instance};
use crate::{
    Answer, CallId, ConfigError, Filter, Flow, GrpcCall, GrpcEvent, GrpcStatus, GrpcStream,
    NoConfig, Plugin, Request, Response,
};

const GET: &[(&str, &str)] = &[(":method", "GET"), (":path", "/"), ("x-user", "ada")];

/// Asks about requests by a call, about responses by a stream, and watches a list of its own.
#[derive(Default)]
struct Asks {
    watch: Cell<Option<GrpcStream>>,
    seen: RefCell<Vec<String>>,
}

/// The stream of a request, and what came on it.
#[derive(Default)]
struct Talk {
    stream: Option<GrpcStream>,
    heard: String,
}

#[penstock::filter]
impl Filter for Asks {
    type State = Talk;

    fn new(_: NoConfig) -> Result<Self, ConfigError> {
        Ok(Self::default())
    }

    fn on_request(&self, request: &mut Request<'_, Talk>) -> Flow {
        let user = request.header("x-user").unwrap_or_default();
        let call = GrpcCall::new("auth", "sim.Auth", "Check").message(user).metadata("x-for", "me");
        match request.grpc(&call) {
            Ok(id) if request.header("x-late").is_some() => {
                request.cancel_grpc(id);
                Flow::Continue
            }
            Ok(_) => Flow::Wait,
            Err(refused) => Answer::new(503).body(refused.to_string()).into(),
        }
    }

    fn on_grpc(&self, request: &mut Request<'_, Talk>, _: CallId, event: &GrpcEvent<'_>) -> Flow {
        match event {
            GrpcEvent::Message(role) => {
                request.set_header("x-role", role);
                Flow::Continue
            }
            GrpcEvent::Closed(status) => {
                Answer::new(403).body(format!("{} {}", status.code, status.message)).into()
            }
            _ => panic!("a call has no metadata"),
        }
    }

    fn on_response(&self, response: &mut Response<'_, Talk>) -> Flow {
        let Ok(stream) = response.grpc_stream(&GrpcCall::new("tags", "sim.Tags", "Get")) else {
            return Flow::Continue;
        };
        assert!(stream.send("first").is_ok());
        response.state.stream = Some(stream);
        Flow::Wait
    }

    fn on_response_grpc(
        &self,
        response: &mut Response<'_, Talk>,
        call: CallId,
        event: &GrpcEvent<'_>,
    ) -> Flow {
        let stream = response.state.stream.expect("it was opened");
        assert_eq!(stream.id(), call);
        match event {
            GrpcEvent::Metadata(fields) => {
                response.state.heard += fields.header("x-a").unwrap_or("-");
            }
            GrpcEvent::Message(message) => {
                response.state.heard += core::str::from_utf8(message).unwrap_or("?");
                assert!(stream.send_last("last").is_ok());
            }
            GrpcEvent::Trailers(fields) => {
                response.state.heard += fields.header("x-z").unwrap_or("-");
            }
            GrpcEvent::Closed(GrpcStatus { code, .. }) => {
                let heard = core::mem::take(&mut response.state.heard);
                response.set_header("x-heard", format!("{heard} {code}"));
                return Flow::Continue;
            }
        }
        Flow::Wait
    }

    fn on_tick(&self, plugin: &mut Plugin<'_>) {
        if self.watch.get().is_none() {
            self.watch.set(plugin.grpc_stream(&GrpcCall::new("list", "sim.List", "Watch")).ok());
        } else if let Some(stream) = self.watch.take() {
            plugin.cancel_grpc(stream.id());
        }
    }

    fn on_plugin_grpc(&self, _: &mut Plugin<'_>, _: CallId, event: &GrpcEvent<'_>) {
        self.seen.borrow_mut().push(format!("{event:?}"));
        if let GrpcEvent::Message(b"enough") = event
            && let Some(stream) = self.watch.get()
        {
            stream.finish();
        }
    }
}

#[test]
fn the_answer_to_a_call_decides_over_the_request_that_waits() {
    let filter = Instance::<Asks>::new("").unwrap();
    let (allowed, refused) = (filter.request(GET), filter.request(GET));
    assert!(allowed.waits() && refused.waits());
    let calls = filter.calls();
    assert_eq!(calls[0].to_string(), "auth POST /sim.Auth/Check");
    assert_eq!((calls[0].body(), calls[0].header("x-for").as_deref()), (&b"ada"[..], Some("me")));
    filter.grpc(GrpcCame::Message(b"admin"));
    assert!(allowed.went_on() && refused.waits());
    assert_eq!(allowed.request_header("x-role").as_deref(), Some("admin"));
    filter.grpc(GrpcCame::Closed(7, "not you"));
    assert_eq!(refused.answer().unwrap().body(), b"7 not you");
}

#[test]
fn what_was_cancelled_or_never_begun_is_waited_for_by_nobody() {
    let filter = Instance::<Asks>::new("").unwrap();
    let late = filter.request(&[(":method", "GET"), (":path", "/"), ("x-late", "1")]);
    assert!(late.went_on() && filter.calls().is_empty());
    filter.set_clusters(&["other"]);
    let answer = filter.request(GET).answer().unwrap();
    assert_eq!(answer.body(), b"the cluster is unknown, or not one that this filter may call");
}

#[test]
fn a_stream_goes_both_ways_until_it_is_closed() {
    let filter = Instance::<Asks>::new("").unwrap();
    let mut exchange = filter.request(GET);
    filter.grpc(GrpcCame::Message(b"admin"));
    exchange.respond(200, &[], true);
    assert!(exchange.waits());
    assert_eq!(filter.calls()[0].sent(), [b"first"]);
    filter.grpc(GrpcCame::Metadata(&[("x-a", "a")]));
    filter.grpc(GrpcCame::Message(b"m"));
    assert_eq!(filter.calls()[0].sent(), [&b"first"[..], b"last"]);
    assert!(filter.calls()[0].is_finished() && exchange.waits());
    filter.grpc(GrpcCame::Trailers(&[("x-z", "z")]));
    filter.grpc(GrpcCame::Closed(0, ""));
    assert!(exchange.went_on());
    assert_eq!(exchange.response_header("x-heard").as_deref(), Some("amz 0"));
}

#[test]
fn the_filter_has_streams_of_its_own() {
    let filter = Instance::<Asks>::new("").unwrap();
    filter.tick();
    assert_eq!(filter.calls()[0].to_string(), "list POST /sim.List/Watch");
    filter.grpc(GrpcCame::Message(b"enough"));
    assert!(filter.calls()[0].is_finished());
    filter.tick();
    assert!(filter.calls().is_empty(), "it was cancelled");
}
