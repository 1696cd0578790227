//! A request on its stream of a connection to an endpoint.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Response};
use penstock_env::{Env, SendBuf, Stream};
use penstock_wire::http1::{Limits, Method, RequestHead, RequestOutbound, ResponseHead};

use super::head::{self, Kind};
use super::link::Lease;
use crate::downstream::Rest;
use crate::exchange::Passage;
use crate::failure::Cause;
use crate::grpc::{self, Ending};
use crate::http2::outlet::{End, Outlet};
use crate::http2::{response, stream};

/// A request that was sent, and what is known of its answer.
pub(crate) struct Asked<E: Env> {
    up: RefCell<Up>,
    down: RefCell<Down>,
    /// It asks for its stream to be a WebSocket (RFC 8441 §4).
    tunnel: bool,
    // Behind the streams: its room is free when they are gone.
    lease: Lease<E>,
}

/// The request's body on its way.
struct Up {
    stream: SendStream<Bytes>,
    outlet: Outlet,
}

enum Down {
    Head(ResponseFuture),
    Body(RecvStream, Option<Peeked>),
}

/// What was taken from a body ahead of its turn.
enum Peeked {
    Content(Result<Bytes, h2::Error>),
    End(Result<Option<HeaderMap>, h2::Error>),
}

impl<E: Env> Asked<E> {
    /// Sends the head of a request.
    ///
    /// # Errors
    /// The connection takes no more requests, or HTTP/2 can't say this one.
    pub(crate) fn send(
        lease: Lease<E>,
        request: &RequestHead,
        outbound: &RequestOutbound<'_>,
        scheme: &'static str,
        ends: bool,
    ) -> Result<Asked<E>, Cause> {
        let tunnel = head::asks_for_tunnel(request, outbound);
        let request =
            head::request_of(request, outbound, scheme, tunnel).ok_or(Cause::InvalidTarget)?;
        let mut sender = lease.sender();
        // RFC 8441 §3: only who says that it takes them is asked.
        if tunnel && !sender.is_extended_connect_protocol_enabled() {
            return Err(Cause::UpstreamNoWebSocket);
        }
        let ends = ends && !tunnel;
        let mut context = Context::from_waker(Waker::noop());
        match sender.poll_ready(&mut context) {
            Poll::Ready(Ok(())) => {}
            // Nothing of it left: it can be asked again elsewhere.
            Poll::Ready(Err(_)) | Poll::Pending => return Err(Cause::UpstreamRefused),
        }
        let sent = sender.send_request(request, ends);
        let (answer, stream) = sent.map_err(|_| Cause::UpstreamRefused)?;
        let mut outlet = Outlet::new();
        if ends {
            outlet.end = End::Said;
        }
        Ok(Asked {
            up: RefCell::new(Up { stream, outlet }),
            down: RefCell::new(Down::Head(answer)),
            tunnel,
            lease,
        })
    }

    /// Whether its stream is a tunnel once the endpoint agrees.
    pub(crate) fn is_tunnel(&self) -> bool {
        self.tunnel
    }

    /// Whether the connection takes no more requests: it failed, or its endpoint said GOAWAY.
    pub(crate) fn is_over(&self) -> bool {
        self.lease.is_over()
    }

    /// Begins to send content.
    ///
    /// # Panics
    /// When a send is under way.
    pub(crate) fn start_send(&self, out: SendBuf<<E::Stream as Stream>::Chunk>, rest: Rest<'_>) {
        let content = stream::content_of(self.lease.env(), out);
        let mut up = self.up.borrow_mut();
        if let End::Said = up.outlet.end {
            return;
        }
        let end = match rest {
            Rest::More => None,
            Rest::End(trailers) => Some(trailers.and_then(response::trailers_of)),
        };
        up.outlet.put(content, end);
        drop(up);
        let _ = self.poll_sent(&mut Context::from_waker(Waker::noop()));
    }

    /// Ready when the endpoint's window took everything.
    ///
    /// # Errors
    /// It takes no more.
    pub(crate) fn poll_sent(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let up = &mut *self.up.borrow_mut();
        up.outlet.poll(&mut up.stream, context)
    }

    /// Whether nothing is left to be sent of the request.
    pub(crate) fn is_sent(&self) -> bool {
        self.tunnel || matches!(self.up.borrow().outlet.end, End::Said)
    }

    /// The next head of the answer, interim ones too, in `head`.
    ///
    /// # Errors
    /// There is none, or it is malformed.
    pub(crate) fn poll_head(
        &self,
        context: &mut Context<'_>,
        of: (Method, &Limits),
        text: &mut Vec<u8>,
        head: &mut ResponseHead,
    ) -> Poll<Result<(), Cause>> {
        let mut down = self.down.borrow_mut();
        let Down::Head(answer) = &mut *down else { return Poll::Ready(Err(Cause::Internal)) };
        match answer.poll_informational(context) {
            Poll::Ready(Some(Ok(interim))) => {
                return Poll::Ready(head::read(&interim, Kind::Interim, of, text, head));
            }
            Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(cause_of(&error))),
            Poll::Ready(None) | Poll::Pending => {}
        }
        let response: Response<RecvStream> =
            ready!(std::pin::Pin::new(answer).poll(context)).map_err(|error| cause_of(&error))?;
        let kind = match self.tunnel && response.status().is_success() {
            true => Kind::Tunnel,
            false => Kind::Last { bare: response.body().is_end_stream() },
        };
        let read = head::read(&response, kind, of, text, head);
        *down = Down::Body(response.into_body(), None);
        Poll::Ready(read)
    }

    /// Waits for what follows the answer's head: how a gRPC call ends that has no content, `None`
    /// for all else. Nothing is lost of it.
    pub(crate) fn poll_ending(&self, context: &mut Context<'_>) -> Poll<Option<Ending>> {
        let mut down = self.down.borrow_mut();
        let Down::Body(recv, peeked) = &mut *down else { return Poll::Ready(None) };
        let next = match peeked.take() {
            Some(next) => next,
            None => ready!(poll_next(recv, context)),
        };
        let said = match &next {
            Peeked::End(Ok(Some(trailers))) => {
                grpc::ending_of(|name| Some(trailers.get(name)?.as_bytes()))
            }
            Peeked::End(_) | Peeked::Content(_) => None,
        };
        *peeked = Some(next);
        Poll::Ready(said)
    }

    /// Content of the answer's body; `None` at its end, with the trailers in `passage`.
    ///
    /// # Errors
    /// It broke off.
    pub(crate) fn poll_data(
        &self,
        context: &mut Context<'_>,
        passage: &mut Passage,
    ) -> Poll<Result<Option<Bytes>, Cause>> {
        if let Some(content) = ready!(self.poll_content(context))? {
            return Poll::Ready(Ok(Some(content)));
        }
        let mut down = self.down.borrow_mut();
        let Down::Body(recv, peeked) = &mut *down else {
            return Poll::Ready(Err(Cause::Internal));
        };
        let trailers = match peeked.take() {
            Some(Peeked::End(trailers)) => trailers,
            _ => ready!(recv.poll_trailers(context)),
        };
        let trailers = trailers.map_err(|error| body_cause_of(&error))?;
        for (name, value) in trailers.iter().flatten() {
            let put = passage.decoder.put_trailer(name.as_str().as_bytes(), value.as_bytes());
            put.map_err(|_| Cause::UpstreamInvalidBody)?;
        }
        Poll::Ready(Ok(None))
    }
}

impl<E: Env> Asked<E> {
    /// Content of the stream; `None` behind the last of it.
    ///
    /// # Errors
    /// It broke off.
    pub(crate) fn poll_content(
        &self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, Cause>> {
        let mut down = self.down.borrow_mut();
        let Down::Body(recv, peeked) = &mut *down else {
            return Poll::Ready(Err(Cause::Internal));
        };
        let received = match peeked.take() {
            Some(Peeked::Content(received)) => Some(received),
            Some(end) => {
                *peeked = Some(end);
                None
            }
            None => ready!(recv.poll_data(context)),
        };
        let Some(received) = received else { return Poll::Ready(Ok(None)) };
        let content = received.map_err(|error| body_cause_of(&error))?;
        // It goes down before more is asked for: the window is the downstream's.
        let released = recv.flow_control().release_capacity(content.len());
        Poll::Ready(released.map_err(|_| Cause::UpstreamTruncated).map(|()| Some(content)))
    }
}

/// Content, or the end and what is said there.
fn poll_next(recv: &mut RecvStream, context: &mut Context<'_>) -> Poll<Peeked> {
    match ready!(recv.poll_data(context)) {
        Some(received) => Poll::Ready(Peeked::Content(received)),
        None => recv.poll_trailers(context).map(Peeked::End),
    }
}

/// What an answer that did not begin is called.
fn cause_of(error: &h2::Error) -> Cause {
    // RFC 9113 §8.7: REFUSED_STREAM, and streams above the last one of a GOAWAY, say that nothing
    // was done with the request.
    let refused = error.reason() == Some(Reason::REFUSED_STREAM) && error.is_reset();
    if error.is_remote() && (refused || error.is_go_away()) {
        return Cause::UpstreamRefused;
    }
    match error.is_library() && error.is_reset() {
        true => Cause::UpstreamMalformed,
        false => Cause::UpstreamReset,
    }
}

/// What an answer that broke off is called.
fn body_cause_of(error: &h2::Error) -> Cause {
    match error.is_library() && error.is_reset() {
        true => Cause::UpstreamInvalidBody,
        false => Cause::UpstreamTruncated,
    }
}
