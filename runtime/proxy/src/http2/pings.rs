//! A connection's pings, one at a time, for whoever wants to know something of its peer.

use std::task::{Context, Poll};
use std::time::Duration;

use h2::{Ping, PingPong};
use penstock_env::Time;

/// What was asked, and what was answered.
pub(super) struct Pings {
    inner: Option<PingPong>,
    /// When the one under way was sent.
    sent_at: Option<Time>,
}

impl Pings {
    /// Of a connection that was just opened.
    pub(super) fn new(inner: Option<PingPong>) -> Pings {
        Pings { inner, sent_at: None }
    }

    /// How long the answer took that came since this was asked last, if one did. The task is woken
    /// when one comes.
    pub(super) fn take_answer(&mut self, now: Time, context: &mut Context<'_>) -> Option<Duration> {
        match self.inner.as_mut()?.poll_pong(context) {
            Poll::Ready(Ok(_)) => self.sent_at.take().map(|sent_at| now.since(sent_at)),
            Poll::Ready(Err(_)) | Poll::Pending => None,
        }
    }

    /// Whether none is under way.
    pub(super) fn is_free(&self) -> bool {
        self.sent_at.is_none()
    }

    /// Sends one, unless one is under way; false if the connection takes none. It has something to
    /// write then.
    pub(super) fn ask(&mut self, now: Time) -> bool {
        if self.is_free()
            && self.inner.as_mut().is_some_and(|inner| inner.send_ping(Ping::opaque()).is_ok())
        {
            self.sent_at = Some(now);
        }
        !self.is_free()
    }
}
