//! A request, a response, trailers, and the last look at an exchange.

use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

use penstock_filters_sdk_abi::MapType;

use super::Fields;
use crate::calls::Calls;
use crate::flow::{CallId, CallRefused, HttpCall};
use crate::grpc::{GrpcCall, GrpcStream};
use crate::property;

/// The head of a request on its way upstream. Its fields are reached through [`Fields`].
#[derive(Debug)]
pub struct Request<'a, S = ()> {
    /// What the filter remembers of this request.
    pub state: &'a mut S,
    /// No body follows.
    pub end_of_stream: bool,
    fields: Fields<'a>,
    pub(crate) calls: Calls,
}

impl<'a, S> Request<'a, S> {
    pub(crate) fn new(state: &'a mut S, end_of_stream: bool) -> Self {
        Self {
            state,
            end_of_stream,
            fields: Fields::new(MapType::RequestHeaders),
            calls: Calls::default(),
        }
    }

    /// The method, as in `GET`.
    pub fn method(&self) -> Option<&'a str> {
        self.header(":method")
    }

    /// The target: path and query.
    pub fn path(&self) -> Option<&'a str> {
        self.header(":path")
    }

    /// The path without its query.
    pub fn path_only(&self) -> Option<&'a str> {
        self.path().map(|path| path.split_once('?').map_or(path, |(path, _)| path))
    }

    /// The host, with its port if it names one.
    pub fn authority(&self) -> Option<&'a str> {
        self.header(":authority")
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> Option<&'a str> {
        self.header(":scheme")
    }

    /// The value of the cookie `name`.
    pub fn cookie(&self, name: &str) -> Option<&'a str> {
        // RFC 6265 §5.4: pairs are separated by "; ". RFC 9113 §8.2.3 lets a peer split the field.
        self.header_values("cookie")
            .filter_map(|value| core::str::from_utf8(value).ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim_ascii().split_once('='))
            .find_map(|(other, value)| (other == name).then_some(value))
    }

    /// Changes path and query.
    pub fn set_path(&mut self, path: &str) {
        self.set_header(":path", path);
    }

    /// Changes the host.
    pub fn set_authority(&mut self, authority: &str) {
        self.set_header(":authority", authority);
    }

    /// The address that the request came from, without its port: that of the peer, whatever fields
    /// like `x-forwarded-for` claim.
    pub fn source_ip(&self) -> Option<core::net::IpAddr> {
        property::ip(&["source", "address"])
    }

    /// A property of the request, its connection or its route, by the proxy's names for them.
    pub fn property(&self, path: &[&str]) -> Option<&'a [u8]> {
        property::read(path)
    }

    /// Sets a property, for filters further on.
    pub fn set_property(&mut self, path: &[&str], value: &[u8]) {
        property::write(path, value);
    }

    /// Starts a call whose reply comes to [`Filter::on_reply`]. Return [`Flow::Wait`] to hold the
    /// request until then.
    ///
    /// [`Filter::on_reply`]: crate::Filter::on_reply
    /// [`Flow::Wait`]: crate::Flow::Wait
    pub fn call(&mut self, call: &HttpCall) -> Result<CallId, CallRefused> {
        self.calls.http(call)
    }

    /// Starts a gRPC call, whose answer comes to [`Filter::on_grpc`]. Return [`Flow::Wait`] to hold
    /// the message until then.
    ///
    /// [`Filter::on_grpc`]: crate::Filter::on_grpc
    /// [`Flow::Wait`]: crate::Flow::Wait
    pub fn grpc(&mut self, call: &GrpcCall) -> Result<CallId, CallRefused> {
        self.calls.grpc(call)
    }

    /// Opens a gRPC stream, whose events come to [`Filter::on_grpc`] while this request lasts.
    ///
    /// [`Filter::on_grpc`]: crate::Filter::on_grpc
    pub fn grpc_stream(&mut self, call: &GrpcCall) -> Result<GrpcStream, CallRefused> {
        self.calls.grpc_stream(call)
    }

    /// Gives a gRPC call up: nothing comes of it any more.
    pub fn cancel_grpc(&mut self, id: CallId) {
        self.calls.cancel(id);
    }
}

impl<'a, S> Deref for Request<'a, S> {
    type Target = Fields<'a>;

    fn deref(&self) -> &Fields<'a> {
        &self.fields
    }
}

impl<S> DerefMut for Request<'_, S> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.fields
    }
}

/// The head of a response on its way downstream. Its fields are reached through [`Fields`].
#[derive(Debug)]
pub struct Response<'a, S = ()> {
    /// What the filter remembers of this request.
    pub state: &'a mut S,
    /// No body follows.
    pub end_of_stream: bool,
    fields: Fields<'a>,
    pub(crate) calls: Calls,
}

impl<'a, S> Response<'a, S> {
    pub(crate) fn new(state: &'a mut S, end_of_stream: bool) -> Self {
        Self {
            state,
            end_of_stream,
            fields: Fields::new(MapType::ResponseHeaders),
            calls: Calls::default(),
        }
    }

    /// The status; 0 if the host has none.
    pub fn status(&self) -> u16 {
        self.header(":status").and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    /// Changes the status.
    pub fn set_status(&mut self, status: u16) {
        self.set_header(":status", status.to_string());
    }

    /// A property of the exchange, its connections or its route.
    pub fn property(&self, path: &[&str]) -> Option<&'a [u8]> {
        property::read(path)
    }

    /// Sets a property, for filters further on.
    pub fn set_property(&mut self, path: &[&str], value: &[u8]) {
        property::write(path, value);
    }

    /// Starts a call whose reply comes to [`Filter::on_response_reply`].
    ///
    /// [`Filter::on_response_reply`]: crate::Filter::on_response_reply
    pub fn call(&mut self, call: &HttpCall) -> Result<CallId, CallRefused> {
        self.calls.http(call)
    }

    /// Starts a gRPC call, whose answer comes to [`Filter::on_response_grpc`]. Return
    /// [`Flow::Wait`] to hold the message until then.
    ///
    /// [`Filter::on_response_grpc`]: crate::Filter::on_response_grpc
    /// [`Flow::Wait`]: crate::Flow::Wait
    pub fn grpc(&mut self, call: &GrpcCall) -> Result<CallId, CallRefused> {
        self.calls.grpc(call)
    }

    /// Opens a gRPC stream for this request; its events come to [`Filter::on_response_grpc`].
    ///
    /// [`Filter::on_response_grpc`]: crate::Filter::on_response_grpc
    pub fn grpc_stream(&mut self, call: &GrpcCall) -> Result<GrpcStream, CallRefused> {
        self.calls.grpc_stream(call)
    }

    /// Gives a gRPC call up: nothing comes of it any more.
    pub fn cancel_grpc(&mut self, id: CallId) {
        self.calls.cancel(id);
    }
}

impl<'a, S> Deref for Response<'a, S> {
    type Target = Fields<'a>;

    fn deref(&self) -> &Fields<'a> {
        &self.fields
    }
}

impl<S> DerefMut for Response<'_, S> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.fields
    }
}

/// The fields after a body.
#[derive(Debug)]
pub struct Trailers<'a, S = ()> {
    /// What the filter remembers of this request.
    pub state: &'a mut S,
    map: MapType,
    fields: Fields<'a>,
    pub(crate) calls: Calls,
}

impl<'a, S> Trailers<'a, S> {
    pub(crate) fn new(state: &'a mut S, map: MapType) -> Self {
        Self { state, map, fields: Fields::new(map), calls: Calls::default() }
    }

    /// The fields of the head that these trailers belong to; see [`Body::head`].
    ///
    /// [`Body::head`]: crate::Body::head
    pub fn head(&self) -> Fields<'a> {
        Fields::new(match self.map {
            MapType::RequestTrailers => MapType::RequestHeaders,
            _ => MapType::ResponseHeaders,
        })
    }

    /// A property of the exchange, its connections or its route.
    pub fn property(&self, path: &[&str]) -> Option<&'a [u8]> {
        property::read(path)
    }

    /// Sets a property, for filters further on.
    pub fn set_property(&mut self, path: &[&str], value: &[u8]) {
        property::write(path, value);
    }

    /// Starts a call, whose reply comes to the method that is there for calls of the head.
    pub fn call(&mut self, call: &HttpCall) -> Result<CallId, CallRefused> {
        self.calls.http(call)
    }

    /// Starts a gRPC call, likewise.
    pub fn grpc(&mut self, call: &GrpcCall) -> Result<CallId, CallRefused> {
        self.calls.grpc(call)
    }

    /// Opens a gRPC stream, likewise.
    pub fn grpc_stream(&mut self, call: &GrpcCall) -> Result<GrpcStream, CallRefused> {
        self.calls.grpc_stream(call)
    }

    /// Gives a gRPC call up: nothing comes of it any more.
    pub fn cancel_grpc(&mut self, id: CallId) {
        self.calls.cancel(id);
    }
}

impl<'a, S> Deref for Trailers<'a, S> {
    type Target = Fields<'a>;

    fn deref(&self) -> &Fields<'a> {
        &self.fields
    }
}

impl<S> DerefMut for Trailers<'_, S> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.fields
    }
}

/// An exchange that is over: what was asked and what was answered.
#[derive(Debug)]
pub struct Log<'a, S = ()> {
    /// What the filter remembers of this request.
    pub state: &'a mut S,
    callback: PhantomData<&'a ()>,
}

impl<'a, S> Log<'a, S> {
    pub(crate) fn new(state: &'a mut S) -> Self {
        Self { state, callback: PhantomData }
    }

    /// The request's fields, as they went upstream.
    pub fn request(&self) -> Fields<'a> {
        Fields::new(MapType::RequestHeaders)
    }

    /// The response's fields, as they went downstream.
    pub fn response(&self) -> Fields<'a> {
        Fields::new(MapType::ResponseHeaders)
    }

    /// The status; 0 where no answer was sent.
    pub fn status(&self) -> u16 {
        self.response().header(":status").and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    /// A property of the exchange, its connections or its route.
    pub fn property(&self, path: &[&str]) -> Option<&'a [u8]> {
        property::read(path)
    }
}
