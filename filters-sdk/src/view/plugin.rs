//! What is not about one exchange: the filter's own timer and calls, and the replies to calls.

use core::marker::PhantomData;

use penstock_filters_sdk_abi::{BufferType, MapType};

use super::Fields;
use crate::calls::Calls;
use crate::flow::{CallId, CallRefused, HttpCall};
use crate::grpc::{GrpcCall, GrpcStream};
use crate::property;
use crate::sys;

/// The filter outside any request.
#[derive(Debug)]
pub struct Plugin<'a> {
    pub(crate) calls: Calls,
    callback: PhantomData<&'a ()>,
}

impl<'a> Plugin<'a> {
    pub(crate) fn new() -> Self {
        Self { calls: Calls::default(), callback: PhantomData }
    }

    /// Starts a call whose reply comes to [`Filter::on_plugin_reply`].
    ///
    /// [`Filter::on_plugin_reply`]: crate::Filter::on_plugin_reply
    pub fn call(&mut self, call: &HttpCall) -> Result<CallId, CallRefused> {
        self.calls.http(call)
    }

    /// Starts a gRPC call, whose answer comes to [`Filter::on_plugin_grpc`].
    ///
    /// [`Filter::on_plugin_grpc`]: crate::Filter::on_plugin_grpc
    pub fn grpc(&mut self, call: &GrpcCall) -> Result<CallId, CallRefused> {
        self.calls.grpc(call)
    }

    /// Opens a gRPC stream, whose events come to [`Filter::on_plugin_grpc`].
    ///
    /// [`Filter::on_plugin_grpc`]: crate::Filter::on_plugin_grpc
    pub fn grpc_stream(&mut self, call: &GrpcCall) -> Result<GrpcStream, CallRefused> {
        self.calls.grpc_stream(call)
    }

    /// Gives a gRPC call up: nothing comes of it any more.
    pub fn cancel_grpc(&mut self, id: CallId) {
        self.calls.cancel(id);
    }

    /// A property of the proxy or of this filter's place in it.
    pub fn property(&self, path: &[&str]) -> Option<&'a [u8]> {
        property::read(path)
    }
}

/// The reply to a callout.
#[derive(Debug)]
pub struct Reply<'a> {
    id: CallId,
    header_count: usize,
    body_bytes: usize,
    callback: PhantomData<&'a ()>,
}

impl<'a> Reply<'a> {
    pub(crate) fn new(id: CallId, header_count: usize, body_bytes: usize) -> Self {
        Self { id, header_count, body_bytes, callback: PhantomData }
    }

    /// Which call this is the reply to.
    pub fn id(&self) -> CallId {
        self.id
    }

    /// The status. Of a call that failed it is the proxy's own, as in Envoy: 503 where there was no
    /// endpoint or it broke off, 504 where the time ran out. `None` for a reply that was larger
    /// than the proxy takes, and, in Envoy, for one that was cut off.
    pub fn status(&self) -> Option<u16> {
        // The ABI's sign for a call without a reply: one without any fields.
        if self.header_count == 0 {
            return None;
        }
        self.fields().header(":status")?.parse().ok()
    }

    /// Whether the status is of the 200s.
    pub fn is_success(&self) -> bool {
        self.status().is_some_and(|status| (200..300).contains(&status))
    }

    /// The fields of the reply.
    pub fn fields(&self) -> Fields<'a> {
        Fields::new(MapType::HttpCallResponseHeaders)
    }

    /// The value of the reply's field `name`.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.fields().header(name)
    }

    /// The fields after the reply's body.
    pub fn trailers(&self) -> Fields<'a> {
        Fields::new(MapType::HttpCallResponseTrailers)
    }

    /// The body of the reply.
    pub fn body(&self) -> &'a [u8] {
        match self.body_bytes {
            0 => &[],
            bytes => sys::buffer(BufferType::HttpCallResponseBody, 0, bytes).unwrap_or(&[]),
        }
    }
}
