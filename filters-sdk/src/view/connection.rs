//! A raw connection, and the bytes that pass.

use core::net::{IpAddr, SocketAddr};
use core::ops::{Deref, DerefMut};

use penstock_filters_sdk_abi::BufferType;

use super::Content;
use crate::calls::Calls;
use crate::flow::{CallId, CallRefused, HttpCall};
use crate::grpc::{GrpcCall, GrpcStream};
use crate::property;

/// A client's connection, and, once there is one, that to an endpoint.
#[derive(Debug)]
pub struct Connection<'a, S = ()> {
    /// What the filter remembers of this connection.
    pub state: &'a mut S,
    pub(crate) calls: Calls,
}

impl<'a, S> Connection<'a, S> {
    pub(crate) fn new(state: &'a mut S) -> Self {
        Self { state, calls: Calls::default() }
    }

    /// The client's address; `None` for one of a unix socket.
    pub fn source(&self) -> Option<SocketAddr> {
        property::address(&["source", "address"])
    }

    /// The client's address, without its port.
    pub fn source_ip(&self) -> Option<IpAddr> {
        property::ip(&["source", "address"])
    }

    /// The address that the client connected to.
    pub fn destination(&self) -> Option<SocketAddr> {
        property::address(&["destination", "address"])
    }

    /// The endpoint's address, once it is connected to.
    pub fn upstream(&self) -> Option<SocketAddr> {
        property::address(&["upstream", "address"])
    }

    /// The name that the client's TLS hello asks for, where the proxy reads that: for services with
    /// routes.
    pub fn server_name(&self) -> Option<&'a str> {
        let name = property::read(&["connection", "requested_server_name"])?;
        core::str::from_utf8(name).ok()
    }

    /// A property of the connection, by the proxy's names for them.
    pub fn property(&self, path: &[&str]) -> Option<&'a [u8]> {
        property::read(path)
    }

    /// Sets a property, for filters further on.
    pub fn set_property(&mut self, path: &[&str], value: &[u8]) {
        property::write(path, value);
    }

    /// Starts a call whose reply comes to [`StreamFilter::on_reply`]. Return [`StreamFlow::Wait`]
    /// to hold the connection, or the bytes, until then.
    ///
    /// [`StreamFilter::on_reply`]: crate::StreamFilter::on_reply
    /// [`StreamFlow::Wait`]: crate::StreamFlow::Wait
    pub fn call(&mut self, call: &HttpCall) -> Result<CallId, CallRefused> {
        self.calls.http(call)
    }

    /// Starts a gRPC call, whose answer comes to [`StreamFilter::on_grpc`].
    ///
    /// [`StreamFilter::on_grpc`]: crate::StreamFilter::on_grpc
    pub fn grpc(&mut self, call: &GrpcCall) -> Result<CallId, CallRefused> {
        self.calls.grpc(call)
    }

    /// Opens a gRPC stream, whose events come to [`StreamFilter::on_grpc`] while this connection
    /// lasts.
    ///
    /// [`StreamFilter::on_grpc`]: crate::StreamFilter::on_grpc
    pub fn grpc_stream(&mut self, call: &GrpcCall) -> Result<GrpcStream, CallRefused> {
        self.calls.grpc_stream(call)
    }

    /// Gives a gRPC call up: nothing comes of it any more.
    pub fn cancel_grpc(&mut self, id: CallId) {
        self.calls.cancel(id);
    }
}

/// Bytes of a connection on their way, all that are at hand of one direction: what was held, and
/// what is new. They are read and changed through [`Content`].
#[derive(Debug)]
pub struct Data<'a, S = ()> {
    /// Whose they are.
    pub connection: Connection<'a, S>,
    content: Content<'a>,
}

impl<'a, S> Data<'a, S> {
    pub(crate) fn new(state: &'a mut S, buffer: BufferType, length: usize) -> Self {
        Self { connection: Connection::new(state), content: Content::new(buffer, length) }
    }
}

impl<'a, S> Deref for Data<'a, S> {
    type Target = Content<'a>;

    fn deref(&self) -> &Content<'a> {
        &self.content
    }
}

impl<S> DerefMut for Data<'_, S> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.content
    }
}
