//! The body of a message, as much of it as is there.

use core::marker::PhantomData;

use penstock_filters_sdk_abi::BufferType;

use crate::sys;

/// The part of a body that a callback may see: what came since the last callback, or, after
/// [`Flow::Wait`], all that was held back.
///
/// [`Flow::Wait`]: crate::Flow::Wait
#[derive(Debug)]
pub struct Body<'a, S = ()> {
    /// What the filter remembers of this request.
    pub state: &'a mut S,
    buffer: BufferType,
    length: usize,
    callback: PhantomData<&'a ()>,
}

impl<'a, S> Body<'a, S> {
    pub(crate) fn new(state: &'a mut S, buffer: BufferType, length: usize) -> Self {
        Self { state, buffer, length, callback: PhantomData }
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

    /// Removes all that is there.
    pub fn clear(&mut self) {
        self.replace([]);
    }

    fn splice(&mut self, start: usize, length: usize, bytes: &[u8]) {
        match sys::replace_buffer(self.buffer, start, length, bytes) {
            Ok(()) => self.length = self.length - length + bytes.len(),
            Err(status) => crate::error!("the body was not changed: {}", sys::words(status)),
        }
    }
}
