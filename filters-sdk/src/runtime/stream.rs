//! A filter of raw connections: its callbacks, method by method.

use penstock_filters_sdk_abi::{BufferType, PeerType, StreamType};

use super::{CONTINUE, Decision, Kind, News, Runtime};
use crate::calls::Calls;
use crate::config::ConfigError;
use crate::flow::CallId;
use crate::grpc::GrpcEvent;
use crate::queue::QueueId;
use crate::stream::{ClosedBy, StreamFilter, StreamFlow};
use crate::sys;
use crate::view::{Connection, Data, Plugin, Reply};

/// A filter of raw connections, as a runtime knows it.
pub struct Raw<F>(F);

impl<F: StreamFilter> Kind for Raw<F> {
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
        let mut connection = Connection::new(state);
        let flow = match news {
            News::Reply(reply) => self.0.on_reply(&mut connection, reply),
            News::Grpc(id, event) => self.0.on_grpc(&mut connection, *id, event),
        };
        *calls = connection.calls;
        decide(half, flow)
    }

    fn on_log(&self, state: &mut F::State) {
        self.0.on_log(&mut Connection::new(state));
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
        sys::close_half(StreamType::Downstream);
    }
}

impl<F: StreamFilter> Runtime<Raw<F>> {
    /// A connection was accepted.
    pub fn on_new_connection(&self, id: u32) -> u32 {
        let half = StreamType::Downstream;
        self.with_stream(id, |filter, root, state| {
            let mut connection = Connection::new(state);
            let flow = filter.0.on_connect(&mut connection);
            let calls = core::mem::take(&mut connection.calls);
            self.note(&calls, root, id, half);
            self.settle(id, root, half, decide(half, flow))
        })
    }

    /// Bytes from downstream.
    pub fn on_downstream_data(&self, id: u32, bytes: usize, end: bool) -> u32 {
        let half = StreamType::Downstream;
        self.with_stream(id, |filter, root, state| {
            let mut data = Data::new(state, BufferType::DownstreamData, bytes);
            let flow = filter.0.on_downstream(&mut data, end);
            let calls = core::mem::take(&mut data.connection.calls);
            self.note(&calls, root, id, half);
            self.settle_piece(id, root, half, decide(half, flow))
        })
    }

    /// Bytes from upstream.
    pub fn on_upstream_data(&self, id: u32, bytes: usize, end: bool) -> u32 {
        let half = StreamType::Upstream;
        self.with_stream(id, |filter, root, state| {
            let mut data = Data::new(state, BufferType::UpstreamData, bytes);
            let flow = filter.0.on_upstream(&mut data, end);
            let calls = core::mem::take(&mut data.connection.calls);
            self.note(&calls, root, id, half);
            self.settle_piece(id, root, half, decide(half, flow))
        })
    }

    /// The connection with the downstream is closed.
    pub fn on_downstream_close(&self, id: u32, peer: u32) {
        self.with_stream(id, |filter, root, state| {
            let mut connection = Connection::new(state);
            filter.0.on_downstream_close(&mut connection, closed_by(peer));
            self.note(&connection.calls, root, id, StreamType::Downstream);
            CONTINUE
        });
    }

    /// The connection with the upstream is closed.
    pub fn on_upstream_close(&self, id: u32, peer: u32) {
        self.with_stream(id, |filter, root, state| {
            let mut connection = Connection::new(state);
            filter.0.on_upstream_close(&mut connection, closed_by(peer));
            self.note(&connection.calls, root, id, StreamType::Upstream);
            CONTINUE
        });
    }
}

/// Carries out what does not come back, a close.
fn decide(half: StreamType, flow: StreamFlow) -> Decision {
    match flow {
        StreamFlow::Continue => Decision::Go,
        StreamFlow::Wait => Decision::Wait,
        StreamFlow::Close => {
            sys::close_half(half);
            Decision::Over
        }
    }
}

fn closed_by(peer: u32) -> ClosedBy {
    match PeerType::from_u32(peer) {
        Some(PeerType::Local) => ClosedBy::Proxy,
        Some(PeerType::Remote) => ClosedBy::Peer,
        Some(PeerType::Unknown) | None => ClosedBy::Unknown,
    }
}
