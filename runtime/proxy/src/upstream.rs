//! The seam between an exchange and whatever its upstream speaks.
//!
//! A request's body goes up here in pieces, and its answer comes from here as heads and pieces
//! of a body. Not for finding a connection: each protocol has its own way to those.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, Waker, ready};

use penstock_env::{Env, SendBuf, Stream};
use penstock_wire::http1::{BodyDecoder, BodyLimits, Framing, ResponseHead};

use crate::downstream::Rest;
use crate::exchange::{Passage, via};
use crate::failure::Cause;
use crate::http2::Asked;

/// Whom a request went to.
pub(crate) enum Up<'a, E: Env> {
    /// A connection, for as long as the exchange lasts.
    Http1(&'a E::Stream),
    /// One of a connection's streams.
    Http2(&'a Asked<E>),
}

impl<E: Env> Clone for Up<'_, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E: Env> Copy for Up<'_, E> {}

/// The request.
impl<E: Env> Up<'_, E> {
    /// Begins to send what was written.
    ///
    /// # Panics
    /// When a send is under way.
    pub(crate) fn start_send(self, out: SendBuf<<E::Stream as Stream>::Chunk>, rest: Rest<'_>) {
        match self {
            // The end, and trailers, are in the bytes already: framing says where they are.
            Up::Http1(stream) => stream.start_send(out),
            Up::Http2(asked) => asked.start_send(out, rest),
        }
    }

    /// Waits until nothing is being sent.
    ///
    /// # Errors
    /// The endpoint takes no more.
    pub(crate) async fn sent(self) -> io::Result<()> {
        poll_fn(|context| match self {
            Up::Http1(stream) => stream.poll_sent(context),
            Up::Http2(asked) => asked.poll_sent(context),
        })
        .await
    }

    /// Waits until what was started goes on by itself: a kernel sends while nobody asks, a window
    /// has to be waited for.
    ///
    /// # Errors
    /// The endpoint takes no more.
    pub(crate) async fn settled(self) -> io::Result<()> {
        match self {
            Up::Http1(_) => Ok(()),
            Up::Http2(_) => self.sent().await,
        }
    }

    /// Goes on with what was started, where it does not go on by itself.
    pub(crate) fn poll_on(self, context: &mut Context<'_>) {
        if let Up::Http2(asked) = self {
            // Who waits for it is told of an error.
            let _ = asked.poll_sent(context);
        }
    }

    /// Whether what was started goes on by itself.
    pub(crate) fn is_settled(self) -> bool {
        match self {
            Up::Http1(_) => true,
            Up::Http2(asked) => asked.is_sent(),
        }
    }
}

/// The answer.
impl<E: Env> Up<'_, E> {
    /// What finds the end of the body that `head` describes.
    pub(crate) fn decoder(self, head: &ResponseHead, limits: &BodyLimits) -> BodyDecoder {
        let framing = match (self, head.framing()) {
            (Up::Http1(_), framing) => framing,
            (Up::Http2(_), Framing::None | Framing::Length(0)) => Framing::None,
            // The stream says where the body ends, and `h2` that this is where the length says.
            (Up::Http2(_), _) => Framing::UntilClose,
        };
        BodyDecoder::for_response(framing, limits)
    }

    /// RFC 9110 §7.6.3: the version in which the message was received, and a pseudonym.
    pub(crate) fn via(self, head: &ResponseHead) -> &'static [(&'static [u8], &'static [u8])] {
        match self {
            Up::Http1(_) => via(head.version()),
            Up::Http2(_) => &[(b"Via", b"2 penstock")],
        }
    }

    /// Puts what came of the body into `out`.
    ///
    /// # Errors
    /// The body is malformed, or broke off.
    pub(crate) fn poll_push(
        self,
        context: &mut Context<'_>,
        passage: &mut Passage,
        out: &mut SendBuf<<E::Stream as Stream>::Chunk>,
    ) -> Poll<Result<(), Cause>> {
        match self {
            Up::Http1(stream) => stream.poll_recv(context).map(|received| match received {
                Ok(Some(chunk)) => {
                    passage.push(chunk, stream, out).map_err(|_| Cause::UpstreamInvalidBody)
                }
                Ok(None) => passage.end(out).map_err(|_| Cause::UpstreamTruncated),
                Err(_) => Err(Cause::UpstreamTruncated),
            }),
            Up::Http2(asked) => match ready!(asked.poll_data(context, passage)) {
                Ok(Some(content)) => {
                    passage.received_bytes += content.len() as u64;
                    passage.emit(&content, false, out);
                    Poll::Ready(Ok(()))
                }
                Ok(None) => Poll::Ready(passage.end(out).map_err(|_| Cause::UpstreamTruncated)),
                Err(cause) => Poll::Ready(Err(cause)),
            },
        }
    }

    /// As [`Up::poll_push`], without waiting: whether there was something.
    ///
    /// # Errors
    /// The body is malformed, or broke off.
    pub(crate) fn push_ready(
        self,
        passage: &mut Passage,
        out: &mut SendBuf<<E::Stream as Stream>::Chunk>,
    ) -> Result<bool, Cause> {
        let mut context = Context::from_waker(Waker::noop());
        match self.poll_push(&mut context, passage, out) {
            Poll::Pending => Ok(false),
            Poll::Ready(pushed) => pushed.map(|()| true),
        }
    }

    /// Appends what came of the body to `content`, which goes through filters first.
    ///
    /// # Errors
    /// The body is malformed, or broke off.
    pub(crate) fn poll_decode(
        self,
        context: &mut Context<'_>,
        passage: &mut Passage,
        content: &mut Vec<u8>,
    ) -> Poll<Result<(), Cause>> {
        match self {
            Up::Http1(stream) => stream.poll_recv(context).map(|received| match received {
                Ok(Some(chunk)) => passage
                    .decode_into(chunk, stream, content)
                    .map_err(|_| Cause::UpstreamInvalidBody),
                Ok(None) => passage.decoder.finish().map_err(|_| Cause::UpstreamTruncated),
                Err(_) => Err(Cause::UpstreamTruncated),
            }),
            Up::Http2(asked) => match ready!(asked.poll_data(context, passage)) {
                Ok(Some(bytes)) => {
                    passage.received_bytes += bytes.len() as u64;
                    content.extend_from_slice(&bytes);
                    Poll::Ready(Ok(()))
                }
                Ok(None) => {
                    Poll::Ready(passage.decoder.finish().map_err(|_| Cause::UpstreamTruncated))
                }
                Err(cause) => Poll::Ready(Err(cause)),
            },
        }
    }
}
