//! What goes out on one stream: content as the peer's window has room for it, then the end.

use std::io::{self, ErrorKind};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::SendStream;
use http::HeaderMap;

/// One direction of a stream, behind its head.
pub(super) struct Outlet {
    /// Content that the peer's window has no room for yet.
    pending: Bytes,
    /// What follows it.
    pub(super) end: End,
}

/// What follows the content so far.
pub(super) enum End {
    /// More content.
    Open,
    /// Nothing, or trailers.
    Wanted(Option<HeaderMap>),
    /// It was said.
    Said,
}

impl Outlet {
    /// Nothing yet.
    pub(super) fn new() -> Outlet {
        Outlet { pending: Bytes::new(), end: End::Open }
    }

    /// Takes content to send, and what follows it.
    ///
    /// # Panics
    /// When there is some already.
    pub(super) fn put(&mut self, content: Bytes, end: Option<Option<HeaderMap>>) {
        assert!(self.pending.is_empty(), "a send is under way on this stream");
        self.pending = content;
        if let Some(trailers) = end {
            self.end = End::Wanted(trailers);
        }
    }

    /// Bytes that wait for room.
    pub(super) fn unsent_bytes(&self) -> usize {
        self.pending.len()
    }

    /// Whether the end alone is left to be said: a head can say it.
    pub(super) fn only_ends(&self) -> bool {
        self.pending.is_empty() && matches!(self.end, End::Wanted(None))
    }

    /// Whether there is something that a head has to go before.
    pub(super) fn waits(&self) -> bool {
        !self.pending.is_empty() || matches!(self.end, End::Wanted(_))
    }

    /// Ends it with these trailers, in place of whatever was still to go.
    pub(super) fn end_with(&mut self, stream: &mut SendStream<Bytes>, trailers: HeaderMap) {
        self.pending.clear();
        if !matches!(self.end, End::Said) && stream.send_trailers(trailers).is_ok() {
            self.end = End::Said;
        }
    }

    /// Ready when the peer's window took everything.
    ///
    /// # Errors
    /// The stream takes no more.
    pub(super) fn poll(
        &mut self,
        stream: &mut SendStream<Bytes>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.pending.is_empty() {
            let room = match stream.capacity() {
                0 => {
                    stream.reserve_capacity(self.pending.len());
                    match ready!(stream.poll_capacity(context)) {
                        Some(Ok(room)) => room,
                        Some(Err(_)) | None => return Poll::Ready(Err(broken())),
                    }
                }
                room => room,
            };
            if room == 0 {
                continue;
            }
            let piece = self.pending.split_to(room.min(self.pending.len()));
            let ends = self.only_ends();
            stream.send_data(piece, ends).map_err(|_| broken())?;
            if ends {
                self.end = End::Said;
            }
        }
        match std::mem::replace(&mut self.end, End::Said) {
            End::Open => self.end = End::Open,
            End::Said => {}
            End::Wanted(None) => stream.send_data(Bytes::new(), true).map_err(|_| broken())?,
            End::Wanted(Some(trailers)) => {
                stream.send_trailers(trailers).map_err(|_| broken())?;
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// What a stream that takes no more is called.
pub(super) fn broken() -> io::Error {
    ErrorKind::BrokenPipe.into()
}
