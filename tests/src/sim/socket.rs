//! One end of a connection: what the kernel and the shard hold for it.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::rc::Rc;
use std::task::Waker;

use penstock_env::{Address, SendBuf, Time, Wake};

use super::faults::Link;
use super::node::Node;
use super::stream::{SimChunk, SimStream};

/// One end of a connection.
pub(super) struct Socket {
    pub(super) node: Rc<Node>,
    pub(super) local: Address,
    pub(super) remote: Address,
    /// The other end, once there is one.
    pub(super) peer: Option<u64>,
    /// The other end's node died without a word: what is sent goes nowhere.
    pub(super) void: bool,
    /// How this end's bytes travel.
    pub(super) link: Link,
    pub(super) dial: Dial,
    pub(super) out: Out,
    pub(super) into: In,
    pub(super) parked: Option<Parked>,
    /// The stream was closed or dropped.
    pub(super) released: bool,
    /// The kernel alone has the rest to deliver.
    pub(super) orphaned: bool,
}

/// How far a connect has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dial {
    Waiting,
    Open,
    Refused,
}

/// The sending direction.
#[derive(Default)]
pub(super) struct Out {
    pub(super) sending: Option<Sending>,
    pub(super) error: Option<ErrorKind>,
    /// The kernel's send buffer.
    pub(super) buffered: VecDeque<u8>,
    /// Bytes handed to the wire in all.
    pub(super) passed: u64,
    pub(super) end_wanted: bool,
    pub(super) ended: bool,
    pub(super) waker: Option<Waker>,
    /// A pump is planned.
    pub(super) pumping: bool,
}

/// A send under way. The chunks in `held` stay lent until the kernel has taken all of it.
pub(super) struct Sending {
    pub(super) bytes: Vec<u8>,
    pub(super) at: usize,
    pub(super) held: SendBuf<SimChunk>,
}

/// The receiving direction.
#[derive(Default)]
pub(super) struct In {
    /// On the way, and when it will be here.
    pub(super) wire: VecDeque<(Time, Packet)>,
    /// The kernel's receive buffer.
    pub(super) buffered: VecDeque<u8>,
    /// Lent already, or put back.
    pub(super) chunks: VecDeque<SimChunk>,
    pub(super) ended: bool,
    pub(super) error: Option<ErrorKind>,
    pub(super) waker: Option<Waker>,
    /// Bytes lent out in all.
    pub(super) passed: u64,
}

/// What travels.
pub(super) enum Packet {
    Bytes(Vec<u8>),
    End,
    Reset,
}

/// A stream that was put aside.
pub(super) struct Parked {
    pub(super) until: Time,
    pub(super) stream: SimStream,
    pub(super) resume: Box<dyn FnOnce(SimStream, Wake)>,
}

impl Socket {
    pub(super) fn new(node: Rc<Node>, local: Address, remote: Address, link: Link) -> Socket {
        Socket {
            node,
            local,
            remote,
            peer: None,
            void: false,
            link,
            dial: Dial::Waiting,
            out: Out::default(),
            into: In::default(),
            parked: None,
            released: false,
            orphaned: false,
        }
    }

    /// Whether a receive would get something.
    pub(super) fn readable(&self) -> bool {
        !self.into.chunks.is_empty()
            || !self.into.buffered.is_empty()
            || self.into.ended
            || self.into.error.is_some()
    }

    /// Bytes that this end's receive buffer has no more room for.
    pub(super) fn unread_bytes(&self) -> usize {
        let on_wire = self.into.wire.iter().map(|(_, packet)| match packet {
            Packet::Bytes(bytes) => bytes.len(),
            Packet::End | Packet::Reset => 0,
        });
        self.into.buffered.len() + on_wire.sum::<usize>()
    }

    /// Whether everything that was to be sent is on the wire.
    pub(super) fn drained(&self) -> bool {
        self.out.sending.is_none()
            && self.out.buffered.is_empty()
            && (self.out.ended || !self.out.end_wanted)
    }

    /// The connection is broken: nothing goes out any more, receives end in `error`. What was
    /// received before stays readable, as in Linux.
    pub(super) fn break_off(&mut self, error: ErrorKind, send_error: ErrorKind) {
        self.into.error.get_or_insert(error);
        self.out.error.get_or_insert(send_error);
        self.finish_sending();
        self.out.buffered.clear();
        self.out.end_wanted = false;
        self.wake();
    }

    /// The kernel is done with the send under way, in whatever way.
    pub(super) fn finish_sending(&mut self) {
        if let Some(sending) = self.out.sending.take() {
            // The chunks go back with it.
            drop(sending.held);
            self.node.count_buffers(-1);
        }
        if let Some(waker) = self.out.waker.take() {
            waker.wake();
        }
    }

    /// Wakes the reader.
    pub(super) fn wake_reader(&mut self) {
        if let Some(waker) = self.into.waker.take() {
            waker.wake();
        }
    }

    fn wake(&mut self) {
        self.wake_reader();
        if let Some(waker) = self.out.waker.take() {
            waker.wake();
        }
    }
}
