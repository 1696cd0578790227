//! The trait that a filter implements.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::config::ConfigError;
use crate::flow::{CallId, Flow};
use crate::grpc::GrpcEvent;
use crate::queue::QueueId;
use crate::view::{Body, Log, Plugin, Reply, Request, Response, Trailers};

/// A filter: one value per configuration and shard, and one [`State`] per request.
///
/// Put `#[penstock::filter]` over the impl. It fills in the two types where they are left out
/// (`NoConfig`, `()`), and exports the callbacks that the impl has **and no others**: a filter
/// without `on_request_body` never makes the proxy hand a body over.
///
/// All methods take `&self`: what changes lives in [`State`], in a `Cell`, or, for all shards
/// together, in [`Shared`].
///
/// [`State`]: Filter::State
/// [`Shared`]: crate::Shared
pub trait Filter: Sized + 'static {
    /// What the operator writes under `config`. Unknown or wrong entries are errors at load time
    /// that carry their path.
    type Config: DeserializeOwned;

    /// What the filter remembers from callback to callback of one request.
    type State: Default + 'static;

    /// Builds the filter. An error keeps the configuration from being taken.
    fn new(config: Self::Config) -> Result<Self, ConfigError>;

    /// The head of a request has come.
    fn on_request(&self, request: &mut Request<'_, Self::State>) -> Flow {
        let _ = request;
        Flow::Continue
    }

    /// A part of the request's body has come; `end` with the last one, which may be empty. Where
    /// trailers follow, the last one comes with them, before
    /// [`on_request_trailers`](Filter::on_request_trailers).
    fn on_request_body(&self, body: &mut Body<'_, Self::State>, end: bool) -> Flow {
        let _ = (body, end);
        Flow::Continue
    }

    /// The trailers of a request have come.
    fn on_request_trailers(&self, trailers: &mut Trailers<'_, Self::State>) -> Flow {
        let _ = trailers;
        Flow::Continue
    }

    /// The head of the response has come.
    fn on_response(&self, response: &mut Response<'_, Self::State>) -> Flow {
        let _ = response;
        Flow::Continue
    }

    /// A part of the response's body has come; `end` as in
    /// [`on_request_body`](Filter::on_request_body).
    fn on_response_body(&self, body: &mut Body<'_, Self::State>, end: bool) -> Flow {
        let _ = (body, end);
        Flow::Continue
    }

    /// The trailers of the response have come.
    fn on_response_trailers(&self, trailers: &mut Trailers<'_, Self::State>) -> Flow {
        let _ = trailers;
        Flow::Continue
    }

    /// The reply to a call that [`Request::call`] started, or one of its body or trailers. What is
    /// returned decides over a request that waits; for one that went on already only
    /// [`Flow::Respond`] means anything.
    fn on_reply(&self, request: &mut Request<'_, Self::State>, reply: &Reply<'_>) -> Flow {
        let _ = (request, reply);
        Flow::Continue
    }

    /// The reply to a call that [`Response::call`] started, or one of its body or trailers.
    fn on_response_reply(
        &self,
        response: &mut Response<'_, Self::State>,
        reply: &Reply<'_>,
    ) -> Flow {
        let _ = (response, reply);
        Flow::Continue
    }

    /// Something came on a gRPC call that [`Request::grpc`] or [`Request::grpc_stream`] started.
    /// What is returned decides as in [`on_reply`](Filter::on_reply); while more is to come of a
    /// stream, [`Flow::Wait`] is the answer.
    fn on_grpc(
        &self,
        request: &mut Request<'_, Self::State>,
        call: CallId,
        event: &GrpcEvent<'_>,
    ) -> Flow {
        let _ = (request, call, event);
        Flow::Continue
    }

    /// Something came on a gRPC call that [`Response::grpc`] or [`Response::grpc_stream`] started.
    fn on_response_grpc(
        &self,
        response: &mut Response<'_, Self::State>,
        call: CallId,
        event: &GrpcEvent<'_>,
    ) -> Flow {
        let _ = (response, call, event);
        Flow::Continue
    }

    /// The exchange is over, however it ended. The last look at both heads.
    fn on_log(&self, log: &mut Log<'_, Self::State>) {
        let _ = log;
    }

    /// The time of [`clock::every`](crate::clock::every) has passed, on each shard for itself.
    fn on_tick(&self, plugin: &mut Plugin<'_>) {
        let _ = plugin;
    }

    /// A queue that this filter registered has a value. Told once for each, on the shard that
    /// registered last; what others took meanwhile is not told of.
    fn on_queue(&self, plugin: &mut Plugin<'_>, queue: QueueId) {
        let _ = (plugin, queue);
    }

    /// The reply to a call that [`Plugin::call`] started.
    fn on_plugin_reply(&self, plugin: &mut Plugin<'_>, reply: &Reply<'_>) {
        let _ = (plugin, reply);
    }

    /// Something came on a gRPC call that [`Plugin::grpc`] or [`Plugin::grpc_stream`] started.
    fn on_plugin_grpc(&self, plugin: &mut Plugin<'_>, call: CallId, event: &GrpcEvent<'_>) {
        let _ = (plugin, call, event);
    }
}

/// The configuration of a filter that has none: absent, or an empty table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}
