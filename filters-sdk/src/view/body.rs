//! The body of a message, as much of it as is there; and bytes that pass, whatever they are of.

use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

use penstock_filters_sdk_abi::{BufferType, MapType};

use super::Fields;
use crate::calls::Calls;
use crate::flow::{CallId, CallRefused, HttpCall};
use crate::grpc::{GrpcCall, GrpcStream};
use crate::property;
use crate::sys;

/// The part of a body that a callback may see: what came since the last callback, or, after
/// [`Flow::Wait`], all that was held back. Its bytes are reached through [`Content`].
///
/// Whoever is to judge it can be asked from here: return [`Flow::Wait`] and decide in
/// [`Filter::on_reply`] (of a response's body, [`Filter::on_response_reply`]). That lets go what is
/// held then, so ask with all of it in hands, at `end`.
///
/// [`Flow::Wait`]: crate::Flow::Wait
/// [`Filter::on_reply`]: crate::Filter::on_reply
/// [`Filter::on_response_reply`]: crate::Filter::on_response_reply
#[derive(Debug)]
pub struct Body<'a, S = ()> {
    /// What the filter remembers of this request.
    pub state: &'a mut S,
    content: Content<'a>,
    pub(crate) calls: Calls,
}

impl<'a, S> Body<'a, S> {
    pub(crate) fn new(state: &'a mut S, buffer: BufferType, length: usize) -> Self {
        Self { state, content: Content::new(buffer, length), calls: Calls::default() }
    }

    /// The fields of the head that this body belongs to. Changes count while the head is held
    /// (where `on_request` or `on_response` answered [`Flow::Wait`], with
    /// `pause_headers = "headers-only"`); later they are taken and mean nothing.
    ///
    /// [`Flow::Wait`]: crate::Flow::Wait
    pub fn head(&self) -> Fields<'a> {
        Fields::new(match self.content.buffer {
            BufferType::RequestBody => MapType::RequestHeaders,
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

impl<'a, S> Deref for Body<'a, S> {
    type Target = Content<'a>;

    fn deref(&self) -> &Content<'a> {
        &self.content
    }
}

impl<S> DerefMut for Body<'_, S> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.content
    }
}

/// Bytes that a callback may see and change.
#[derive(Debug)]
pub struct Content<'a> {
    buffer: BufferType,
    length: usize,
    callback: PhantomData<&'a ()>,
}

impl<'a> Content<'a> {
    pub(crate) fn new(buffer: BufferType, length: usize) -> Self {
        Self { buffer, length, callback: PhantomData }
    }

    /// How many bytes are there.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Nothing is there.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// All bytes that are there. It copies them into the filter's memory: read a
    /// [`range`](Self::range) where the beginning is enough.
    pub fn bytes(&self) -> &'a [u8] {
        self.range(0, self.length)
    }

    /// At most `length` bytes from `start` on.
    pub fn range(&self, start: usize, length: usize) -> &'a [u8] {
        sys::buffer(self.buffer, start, length).unwrap_or(&[])
    }

    /// Puts `bytes` in the place of all that is there.
    pub fn replace(&mut self, bytes: impl AsRef<[u8]>) {
        self.splice(0, self.length, bytes.as_ref());
    }

    /// Puts `bytes` in front of what is there.
    pub fn prepend(&mut self, bytes: impl AsRef<[u8]>) {
        self.splice(0, 0, bytes.as_ref());
    }

    /// Puts `bytes` behind what is there.
    pub fn append(&mut self, bytes: impl AsRef<[u8]>) {
        self.splice(self.length, 0, bytes.as_ref());
    }

    /// Removes at most `length` bytes from `start` on.
    pub fn remove(&mut self, start: usize, length: usize) {
        let start = start.min(self.length);
        self.splice(start, length.min(self.length - start), &[]);
    }

    /// Removes all that is there.
    pub fn clear(&mut self) {
        self.replace([]);
    }

    fn splice(&mut self, start: usize, length: usize, bytes: &[u8]) {
        match sys::replace_buffer(self.buffer, start, length, bytes) {
            Ok(()) => self.length = self.length - length + bytes.len(),
            Err(status) => crate::error!("the bytes were not changed: {}", sys::words(status)),
        }
    }
}
