//! What the kernel works on for a socket, and how the socket's end goes. Pure: it is decided here
//! what is to be cancelled, and when the close may follow; `core` and `socket` do it.

use crate::op::Op;

/// What a socket has under way, and how far it is on its way out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Life {
    /// A bit for each operation.
    under_way: u16,
    /// The end of the receive has been asked for.
    pausing: bool,
    end: End,
}

/// How far a socket is on its way out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum End {
    /// In use.
    #[default]
    Open,
    /// Dropped by its owner, waiting for the send under way.
    Wanted,
    /// The close is with the kernel.
    Closing,
    /// The close is done.
    Closed,
}

/// What follows a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterSend {
    /// Another, of what the socket did not take.
    Rest,
    /// The owner's next.
    Owner,
    /// The close, which waited for it.
    Close,
    /// Nothing: the socket is closed already.
    Nothing,
}

impl Life {
    /// Whether the kernel works on `op` for the socket.
    #[inline]
    pub fn has(self, op: Op) -> bool {
        self.under_way & bit(op) != 0
    }

    /// The kernel is about to work on `op`.
    ///
    /// # Panics
    /// It does already: two completions with one number can't be told apart.
    #[inline]
    pub fn begin(&mut self, op: Op) {
        assert!(!self.has(op), "one {op:?} at a time");
        self.under_way |= bit(op);
    }

    /// The kernel is done with `op`.
    #[inline]
    pub fn done(&mut self, op: Op) {
        self.under_way &= !bit(op);
    }

    /// How far the end has come.
    pub fn end(self) -> End {
        self.end
    }

    /// Whether somebody has the socket.
    #[inline]
    pub fn is_open(self) -> bool {
        self.end == End::Open
    }

    /// Nothing more is to be received; whether a receive is to be cancelled for it.
    pub fn pause(&mut self) -> bool {
        let asks = self.has(Op::Recv) && !self.pausing;
        self.pausing |= asks;
        asks
    }

    /// The receive has brought something; it stays armed with `more`.
    #[inline]
    pub fn received(&mut self, more: bool) {
        if !more {
            self.done(Op::Recv);
            self.pausing = false;
        }
    }

    /// A send is done, of all but a `rest` or all of it.
    #[inline]
    pub fn sent(&mut self, rest: bool) -> AfterSend {
        if rest && matches!(self.end, End::Open | End::Wanted) {
            return AfterSend::Rest;
        }
        self.done(Op::Send);
        match self.end {
            End::Open => AfterSend::Owner,
            End::Wanted => AfterSend::Close,
            End::Closing | End::Closed => AfterSend::Nothing,
        }
    }

    /// The owner is gone; whether the close is to follow at once. It waits for a send under way,
    /// unless the peer is to get a reset.
    pub fn release(&mut self, reset: bool) -> bool {
        self.end = End::Wanted;
        reset || !self.has(Op::Send)
    }

    /// The close is about to be handed to the kernel: what is to be cancelled beside it. `None`
    /// where it is not the time, or was before.
    pub fn close(&mut self) -> Option<impl Iterator<Item = Op> + use<>> {
        if self.end != End::Wanted {
            return None;
        }
        self.end = End::Closing;
        let mut to_cancel = *self;
        if !self.pause() {
            to_cancel.done(Op::Recv);
        }
        Some(Op::ALL.iter().copied().filter(move |op| to_cancel.has(*op)))
    }

    /// The close is done.
    pub fn closed(&mut self) {
        self.end = End::Closed;
    }

    /// Whether the kernel holds nothing of the socket any more.
    #[inline]
    pub fn is_over(self) -> bool {
        self.end == End::Closed && self.under_way == 0
    }
}

const fn bit(op: Op) -> u16 {
    1 << op as u16
}
