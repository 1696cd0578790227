//! gRPC calls of the filter's own: what is asked, and what comes back.
//!
//! An authorisation filter, whole, with its test:
//!
//! ```
//! # extern crate penstock_filters_sdk as penstock;
//! use penstock::testing::{GrpcCame, Instance};
//! use penstock::{Answer, CallId, ConfigError, Filter, Flow, NoConfig, Request};
//! use penstock::{GrpcCall, GrpcEvent};
//!
//! /// Lets in whom the cluster `auth` lets in.
//! struct Gate;
//!
//! #[penstock::filter]
//! impl Filter for Gate {
//!     fn new(_: NoConfig) -> Result<Self, ConfigError> {
//!         Ok(Self)
//!     }
//!
//!     fn on_request(&self, request: &mut Request<'_>) -> Flow {
//!         // What the caller says of itself counts for nothing.
//!         request.remove_header("x-user");
//!         let token = request.header_bytes("authorization").unwrap_or_default();
//!         let call = GrpcCall::new("auth", "acme.auth.v1.Gate", "Check").message(token);
//!         match request.grpc(&call) {
//!             Ok(_) => Flow::Wait,
//!             Err(_) => Answer::new(503).cause("auth_not_asked").into(),
//!         }
//!     }
//!
//!     fn on_grpc(&self, request: &mut Request<'_>, _: CallId, event: &GrpcEvent<'_>) -> Flow {
//!         match event {
//!             GrpcEvent::Message(user) if request.try_set_header("x-user", user).is_ok() => {
//!                 Flow::Continue
//!             }
//!             // PERMISSION_DENIED
//!             GrpcEvent::Closed(status) if status.code == 7 => {
//!                 Answer::new(403).cause("not_allowed").into()
//!             }
//!             _ => Answer::new(503).cause("auth_is_down").into(),
//!         }
//!     }
//! }
//!
//! let gate = Instance::<Gate>::new("").unwrap();
//! let head = [(":method", "GET"), (":path", "/"), ("authorization", "secret")];
//! let (ada, eve) = (gate.request(&head), gate.request(&head));
//! assert_eq!(gate.calls()[0].to_string(), "auth POST /acme.auth.v1.Gate/Check");
//! gate.grpc(GrpcCame::Message(b"ada"));
//! assert!(ada.went_on());
//! assert_eq!(ada.request_header("x-user").as_deref(), Some("ada"));
//! gate.grpc(GrpcCame::Closed(7, "who are you?"));
//! assert_eq!(eve.answer().unwrap().status(), 403);
//! ```

use core::time::Duration;

use penstock_filters_sdk_abi::Status;

use crate::flow::{CallId, CallRefused};
use crate::pairs::FieldList;
use crate::sys;
use crate::view::{Fields, Refused};

/// A gRPC call to a cluster of the proxy's configuration, which has to speak HTTP/2.
///
/// With [`Request::grpc`](crate::Request::grpc) one message goes up, and one event comes back: a
/// [`GrpcEvent::Message`] if it went well, else [`GrpcEvent::Closed`]. With `grpc_stream` messages
/// go both ways until a side ends.
#[derive(Clone, Debug)]
pub struct GrpcCall {
    cluster: String,
    service: String,
    method: String,
    metadata: FieldList,
    message: Vec<u8>,
    timeout: Duration,
}

impl GrpcCall {
    /// A call of `method` of `service` (as in `shop.v1.Cart`) over `cluster`: an empty message, one
    /// second of patience.
    pub fn new(cluster: &str, service: &str, method: &str) -> Self {
        Self {
            cluster: cluster.to_owned(),
            service: service.to_owned(),
            method: method.to_owned(),
            metadata: FieldList::default(),
            message: Vec::new(),
            timeout: Duration::from_secs(1),
        }
    }

    /// Adds a field of metadata. The value of one whose name ends with `-bin` goes as it is given:
    /// bytes have to be base64 already.
    pub fn metadata(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.metadata.push(name, value.as_ref());
        self
    }

    /// Sets the message; a stream has none from here, but those that are sent on it.
    pub fn message(mut self, message: impl Into<Vec<u8>>) -> Self {
        self.message = message.into();
        self
    }

    /// Sets how long to wait for the answer, which the endpoint is told, too. Streams have no such
    /// limit.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    pub(crate) fn send(&self) -> Result<CallId, CallRefused> {
        self.begin(sys::grpc_call)
    }

    pub(crate) fn open(&self) -> Result<GrpcStream, CallRefused> {
        self.begin(sys::grpc_stream).map(|id| GrpcStream { id })
    }

    fn begin(
        &self,
        begin: fn(&sys::GrpcParts<'_>) -> Result<u32, Status>,
    ) -> Result<CallId, CallRefused> {
        let parts = sys::GrpcParts {
            cluster: &self.cluster,
            service: &self.service,
            method: &self.method,
            metadata: &self.metadata.encode(),
            message: &self.message,
            timeout_ms: u32::try_from(self.timeout.as_millis()).unwrap_or(u32::MAX),
        };
        begin(&parts).map(CallId).map_err(|status| {
            crate::warn!("gRPC call to {} refused: {}", self.cluster, sys::words(status));
            CallRefused { unknown_cluster: status == Status::ParseFailure }
        })
    }
}

/// A call on which messages go both ways; to be kept in the filter's or the request's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrpcStream {
    id: CallId,
}

impl GrpcStream {
    /// What its events come with.
    pub fn id(self) -> CallId {
        self.id
    }

    /// Sends a message. It may wait in the proxy: more than `grpc_buffer_max` of the configuration
    /// is refused, and so is any once the stream is over.
    pub fn send(self, message: impl AsRef<[u8]>) -> Result<(), Refused> {
        sys::grpc_send(self.id.0, message.as_ref(), false).map_err(Refused)
    }

    /// Sends the last message.
    pub fn send_last(self, message: impl AsRef<[u8]>) -> Result<(), Refused> {
        sys::grpc_send(self.id.0, message.as_ref(), true).map_err(Refused)
    }

    /// Says that no message follows. What comes back comes until the other side has ended, too.
    pub fn finish(self) {
        sys::grpc_close(self.id.0);
    }
}

/// What came on a gRPC call.
#[derive(Debug)]
pub enum GrpcEvent<'a> {
    /// The fields before the first message; of streams alone.
    Metadata(Fields<'a>),
    /// A message.
    Message(&'a [u8]),
    /// The fields behind the last message; of streams alone.
    Trailers(Fields<'a>),
    /// It is over: a stream that ended, however it did, or a call without a message.
    Closed(GrpcStatus<'a>),
}

/// How a gRPC call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrpcStatus<'a> {
    /// gRPC's number for it: 0 is `OK`, 4 `DEADLINE_EXCEEDED`, 7 `PERMISSION_DENIED`, 14
    /// `UNAVAILABLE`.
    pub code: u32,
    /// What the endpoint, or the proxy, says to it. For people.
    pub message: &'a str,
}
