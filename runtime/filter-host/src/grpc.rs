//! gRPC calls of filters: what goes out on one, and what comes back.
//!
//! A call begins as a [`crate::Callout`], as an HTTP call does; from there on the filter's messages
//! wait in its [`Outgoing`], and the proxy, which makes the call, answers by [`GrpcEvent`]s. Not
//! for what is said on the wire: that is the proxy's.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::PairList;
use crate::contexts::ContextId;
use crate::session::OverLimit;

/// What a [`crate::Callout`] has more where it is a gRPC call.
#[derive(Clone, Debug)]
pub struct GrpcCall {
    /// Whether messages go both ways until one side ends; if not, one goes up and one comes back.
    pub streams: bool,
    /// What goes up.
    pub outgoing: Rc<Outgoing>,
    /// Bytes that a message that comes back may have.
    pub message_bytes_max: usize,
}

impl PartialEq for GrpcCall {
    /// Whether it is the same call.
    fn eq(&self, other: &GrpcCall) -> bool {
        Rc::ptr_eq(&self.outgoing, &other.outgoing)
    }
}

impl Eq for GrpcCall {}

/// What comes back on a gRPC call. One that does not stream has one event: its message, or how it
/// was closed without one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GrpcEvent {
    /// The fields before the first message.
    InitialMetadata(PairList),
    /// A message.
    Message(Vec<u8>),
    /// The fields behind the last message.
    TrailingMetadata(PairList),
    /// It is over.
    Closed {
        /// gRPC's number for how it ended; 0 is well.
        status: u32,
        /// Why, in words.
        message: String,
    },
}

/// A filter's messages on their way to the proxy, and whether it still wants the call.
#[derive(Debug, Default)]
pub struct Outgoing {
    messages: RefCell<VecDeque<Vec<u8>>>,
    bytes: Cell<usize>,
    end: Cell<End>,
    cancelled: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// Whether more messages may follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum End {
    #[default]
    Open,
    Wanted,
    Taken,
}

/// The next thing to send.
#[derive(Debug, PartialEq, Eq)]
pub enum Sending {
    /// A message; the call's upper half ends with it if `ends`.
    Message {
        /// Its bytes, without a prefix.
        bytes: Vec<u8>,
        /// Nothing follows it.
        ends: bool,
    },
    /// The end of the call's upper half.
    End,
}

impl Outgoing {
    /// Takes a message; `ends` if it is the last.
    ///
    /// # Errors
    /// More would wait than may; nothing is taken then.
    pub(crate) fn put(&self, bytes: &[u8], ends: bool, bytes_max: usize) -> Result<(), OverLimit> {
        if self.bytes.get().saturating_add(bytes.len()) > bytes_max {
            return Err(OverLimit);
        }
        self.bytes.set(self.bytes.get() + bytes.len());
        self.messages.borrow_mut().push_back(bytes.to_vec());
        match ends {
            true => self.end(),
            false => self.wake(),
        }
        Ok(())
    }

    /// No message follows.
    pub(crate) fn end(&self) {
        if self.is_open() {
            self.end.set(End::Wanted);
        }
        self.wake();
    }

    /// Whether messages may follow.
    pub(crate) fn is_open(&self) -> bool {
        self.end.get() == End::Open
    }

    /// The filter wants nothing more of the call.
    fn cancel(&self) {
        self.cancelled.set(true);
        self.wake();
    }

    /// What is to be sent next. Nothing comes after what ends.
    pub fn poll_next(&self, context: &mut Context<'_>) -> Poll<Sending> {
        let mut messages = self.messages.borrow_mut();
        if let Some(bytes) = messages.pop_front() {
            self.bytes.set(self.bytes.get() - bytes.len());
            let ends = messages.is_empty() && self.end.get() == End::Wanted;
            if ends {
                self.end.set(End::Taken);
            }
            return Poll::Ready(Sending::Message { bytes, ends });
        }
        if self.end.get() == End::Wanted {
            self.end.set(End::Taken);
            return Poll::Ready(Sending::End);
        }
        self.waker.replace(Some(context.waker().clone()));
        Poll::Pending
    }

    /// Ready when the filter wants nothing more of the call: cancelled it, or is gone. To be asked
    /// in the same task as [`Outgoing::poll_next`].
    pub fn poll_cancelled(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.cancelled.get() {
            return Poll::Ready(());
        }
        self.waker.replace(Some(context.waker().clone()));
        Poll::Pending
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// A call as its instance knows it. Dropped, it is cancelled: with its context, or its instance.
#[derive(Debug)]
pub(crate) struct Ongoing {
    /// The context that made it.
    pub(crate) owner: ContextId,
    pub(crate) streams: bool,
    /// The other side has ended it; it stays known until this one does, as in Envoy.
    pub(crate) closed: bool,
    pub(crate) outgoing: Rc<Outgoing>,
}

impl Drop for Ongoing {
    fn drop(&mut self) {
        self.outgoing.cancel();
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::{Outgoing, Sending};
    use crate::OverLimit;

    #[test]
    fn messages_come_out_in_order_and_the_end_once() {
        let (outgoing, context) = (Outgoing::default(), &mut Context::from_waker(Waker::noop()));
        assert_eq!(outgoing.poll_next(context), Poll::Pending);
        assert_eq!(outgoing.put(b"abc", false, 4), Ok(()));
        assert_eq!(outgoing.put(b"de", false, 4), Err(OverLimit));
        assert_eq!(outgoing.put(b"d", true, 4), Ok(()));
        let message =
            |bytes: &[u8], ends| Poll::Ready(Sending::Message { bytes: bytes.to_vec(), ends });
        assert_eq!(outgoing.poll_next(context), message(b"abc", false));
        assert_eq!(outgoing.poll_next(context), message(b"d", true));
        outgoing.end();
        assert_eq!(outgoing.poll_next(context), Poll::Pending);
        assert_eq!(outgoing.poll_cancelled(context), Poll::Pending);
        outgoing.cancel();
        assert_eq!(outgoing.poll_cancelled(context), Poll::Ready(()));
    }

    #[test]
    fn an_end_behind_the_last_message_is_told_alone() {
        let (outgoing, context) = (Outgoing::default(), &mut Context::from_waker(Waker::noop()));
        outgoing.end();
        assert!(!outgoing.is_open());
        assert_eq!(outgoing.poll_next(context), Poll::Ready(Sending::End));
        assert_eq!(outgoing.poll_next(context), Poll::Pending);
    }
}
