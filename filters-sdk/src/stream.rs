//! The trait that a filter of raw connections implements.
//!
//! ```
//! # extern crate penstock_filters_sdk as penstock;
//! use penstock::{ConfigError, Connection, Data, StreamFilter, StreamFlow};
//!
//! /// Lets nobody in who does not begin with the word, and takes it off.
//! struct Knock {
//!     word: String,
//! }
//!
//! #[derive(serde::Deserialize)]
//! struct KnockConfig {
//!     word: String,
//!     #[serde(default)]
//!     banned: Vec<std::net::IpAddr>,
//! }
//!
//! #[penstock::filter]
//! impl StreamFilter for Knock {
//!     type Config = KnockConfig;
//!     type State = bool;
//!
//!     fn new(config: KnockConfig) -> Result<Self, ConfigError> {
//!         if config.word.is_empty() {
//!             return Err(ConfigError::at("word", "must not be empty"));
//!         }
//!         Ok(Self { word: config.word })
//!     }
//!
//!     fn on_downstream(&self, data: &mut Data<'_, bool>, end: bool) -> StreamFlow {
//!         let word = self.word.as_bytes();
//!         if *data.connection.state {
//!             return StreamFlow::Continue;
//!         }
//!         if data.len() < word.len() && word.starts_with(data.bytes()) && !end {
//!             // Shown again, with more.
//!             return StreamFlow::Wait;
//!         }
//!         if data.range(0, word.len()) != word {
//!             return StreamFlow::Close;
//!         }
//!         *data.connection.state = true;
//!         data.remove(0, word.len());
//!         StreamFlow::Continue
//!     }
//! }
//!
//! // A unit test needs no proxy and no WASM target:
//! let knock = penstock::testing::StreamInstance::<Knock>::new(r#"{ "word": "sesame" }"#).unwrap();
//! let mut connection = knock.connect();
//! connection.downstream("ses", false);
//! assert!(connection.waits());
//! connection.downstream("ame, please", false);
//! assert_eq!(connection.passed(), b", please");
//! let mut stranger = knock.connect();
//! stranger.downstream("hello", false);
//! assert!(stranger.is_closed());
//! ```

use serde::de::DeserializeOwned;

use crate::config::ConfigError;
use crate::flow::CallId;
use crate::grpc::GrpcEvent;
use crate::queue::QueueId;
use crate::view::{Connection, Data, Plugin, Reply};

/// A filter of raw TCP connections: one value per configuration and shard, and one [`State`] per
/// connection. For the `filters` of a service; requests are [`Filter`]'s.
///
/// Put `#[penstock::filter]` over the impl, as over one of [`Filter`]: it exports the callbacks
/// that the impl has **and no others**. A direction without its method never passes through the
/// filter.
///
/// [`State`]: StreamFilter::State
/// [`Filter`]: crate::Filter
pub trait StreamFilter: Sized + 'static {
    /// What the operator writes under `config`. Unknown or wrong entries are errors at load time
    /// that carry their path.
    type Config: DeserializeOwned;

    /// What the filter remembers from callback to callback of one connection.
    type State: Default + 'static;

    /// Builds the filter. An error keeps the configuration from being taken.
    fn new(config: Self::Config) -> Result<Self, ConfigError>;

    /// A client has connected; there is no connection to an endpoint yet. [`StreamFlow::Wait`]
    /// keeps it so until a call's reply decides ([`on_reply`](StreamFilter::on_reply)), or, without
    /// a call, until [`on_downstream`](StreamFilter::on_downstream) lets the first bytes go on.
    fn on_connect(&self, connection: &mut Connection<'_, Self::State>) -> StreamFlow {
        let _ = connection;
        StreamFlow::Continue
    }

    /// Bytes have come from the client; `end` with the last of them, which may be none. What was
    /// held is shown again with what is new. While a call of this half is under way that
    /// it waits for, going on means going on when the reply says so.
    fn on_downstream(&self, data: &mut Data<'_, Self::State>, end: bool) -> StreamFlow {
        let _ = (data, end);
        StreamFlow::Continue
    }

    /// Bytes have come from the endpoint, likewise.
    fn on_upstream(&self, data: &mut Data<'_, Self::State>, end: bool) -> StreamFlow {
        let _ = (data, end);
        StreamFlow::Continue
    }

    /// The connection with the client is closed.
    fn on_downstream_close(&self, connection: &mut Connection<'_, Self::State>, by: ClosedBy) {
        let _ = (connection, by);
    }

    /// The connection with the endpoint is closed, or nothing more comes from there: then `by` is
    /// [`ClosedBy::Unknown`], as in Envoy.
    fn on_upstream_close(&self, connection: &mut Connection<'_, Self::State>, by: ClosedBy) {
        let _ = (connection, by);
    }

    /// The reply to a call of this connection's. What is returned decides over the half that it
    /// was made for, if that waits: what comes from downstream for calls of
    /// [`on_connect`](StreamFilter::on_connect).
    fn on_reply(
        &self,
        connection: &mut Connection<'_, Self::State>,
        reply: &Reply<'_>,
    ) -> StreamFlow {
        let _ = (connection, reply);
        StreamFlow::Continue
    }

    /// Something came on a gRPC call of this connection's. What is returned decides as in
    /// [`on_reply`](StreamFilter::on_reply).
    fn on_grpc(
        &self,
        connection: &mut Connection<'_, Self::State>,
        call: CallId,
        event: &GrpcEvent<'_>,
    ) -> StreamFlow {
        let _ = (connection, call, event);
        StreamFlow::Continue
    }

    /// The connection is over, however it ended.
    fn on_log(&self, connection: &mut Connection<'_, Self::State>) {
        let _ = connection;
    }

    /// The time of [`clock::every`](crate::clock::every) has passed, on each shard for itself.
    fn on_tick(&self, plugin: &mut Plugin<'_>) {
        let _ = plugin;
    }

    /// A queue that this filter registered has a value.
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

/// What becomes of a connection, or of its bytes, after a callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a callback's decision is what it returns"]
pub enum StreamFlow {
    /// Go on to the next filter, or to the other side.
    Continue,
    /// Hold what was shown. From [`StreamFilter::on_connect`]: the connection.
    Wait,
    /// Close the connection on both sides; what was shown goes nowhere.
    Close,
}

/// Who closed a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClosedBy {
    /// The other side: the client, or the endpoint.
    Peer,
    /// The proxy, or a filter.
    Proxy,
    /// The host does not say.
    Unknown,
}
