//! What an exchange waits for, and until when: several deadlines behind one timer.

use std::cell::Cell;
use std::time::Duration;

use penstock_env::{Time, Timer};

use crate::failure::Cause;

/// What the time ran out on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Bytes of the request's body.
    Upload,
    /// A filter that holds the request.
    Filter,
    /// A connection to an endpoint.
    Connect,
    /// The response's head.
    ResponseHead,
    /// Bytes of the response's body.
    ResponseBody,
    /// The downstream, to read what it was sent.
    Write,
}

impl Wait {
    /// What running out is called.
    pub(crate) fn cause(self) -> Cause {
        match self {
            Wait::Upload => Cause::RequestBodyTimeout,
            Wait::Filter => Cause::FilterStalled,
            Wait::Connect => Cause::ConnectTimeout,
            Wait::ResponseHead => Cause::UpstreamTimeout,
            Wait::ResponseBody => Cause::UpstreamStalled,
            Wait::Write => Cause::DownstreamStalled,
        }
    }
}

/// The deadlines of one exchange, a place for each that may run beside the others. Setting one is
/// a store.
#[derive(Debug)]
pub(crate) struct Deadlines {
    upload: Cell<(Time, Wait)>,
    download: Cell<(Time, Wait)>,
    write: Cell<Write>,
    route: Cell<Time>,
    /// Who asks set that one.
    chosen: Cell<bool>,
}

/// What the downstream was sent, and how long it may take nothing of it.
#[derive(Clone, Copy, Debug)]
struct Write {
    at: Time,
    stall: Duration,
    /// Bytes that it had not taken when that was last looked at.
    unsent: usize,
}

/// Lifts the deadline of a request's body when it is dropped.
pub(crate) struct UploadEnd<'a>(&'a Deadlines);

impl Drop for UploadEnd<'_> {
    fn drop(&mut self) {
        self.0.upload(Time::NEVER);
    }
}

impl Deadlines {
    /// None yet.
    pub(crate) fn new() -> Deadlines {
        Deadlines {
            upload: Cell::new((Time::NEVER, Wait::Upload)),
            download: Cell::new((Time::NEVER, Wait::ResponseHead)),
            write: Cell::new(Write { at: Time::NEVER, stall: Duration::ZERO, unsent: 0 }),
            route: Cell::new(Time::NEVER),
            chosen: Cell::new(false),
        }
    }

    /// Until when the request's body has to go on; `Time::NEVER` once it is complete.
    pub(crate) fn upload(&self, at: Time) {
        self.upload.set((at, Wait::Upload));
    }

    /// Until when the upstream has to take what it was sent of the request's body.
    pub(crate) fn upload_taken(&self, at: Time) {
        self.upload.set((at, Wait::ResponseHead));
    }

    /// Ends what was set for the request's body when it is dropped: with whoever brings that up.
    pub(crate) fn end_upload_on_drop(&self) -> UploadEnd<'_> {
        UploadEnd(self)
    }

    /// Until when the response has to go on.
    pub(crate) fn download(&self, at: Time, wait: Wait) {
        self.download.set((at, wait));
    }

    /// Nothing is waited for from the response: somebody else has to do something first.
    pub(crate) fn suspend_download(&self) {
        self.download(Time::NEVER, Wait::ResponseBody);
    }

    /// The downstream has to take some of what it was sent, within each `stall` from `now` on.
    pub(crate) fn write(&self, now: Time, stall: Duration) {
        self.write.set(Write { at: now + stall, stall, ..self.write.get() });
    }

    /// So many bytes are sent to the downstream now, all of which it has to take yet.
    pub(crate) fn sending(&self, bytes: usize) {
        self.write.set(Write { unsent: bytes + 1, ..self.write.get() });
    }

    /// Whether the downstream, which has so many bytes to take by `now`, took none of what it was
    /// sent; if it did, it has as long again.
    fn is_stalled(&self, now: Time, unsent: usize) -> bool {
        let Write { stall, unsent: before, .. } = self.write.get();
        let at = if unsent == 0 { Time::NEVER } else { now + stall };
        self.write.set(Write { at, stall, unsent });
        unsent > 0 && unsent >= before
    }

    /// Until when the whole exchange has to end, as its route has it, or who asks by a call.
    pub(crate) fn route(&self, begun: Time, own: Option<Duration>, chosen: Option<Duration>) {
        let limit = [own, chosen].into_iter().flatten().min();
        self.route.set(limit.map_or(Time::NEVER, |limit| begun + limit));
        self.chosen.set(limit != own);
    }

    /// Whether that is how long who asks will wait, which says nothing of an endpoint.
    pub(crate) fn is_chosen(&self) -> bool {
        self.chosen.get()
    }

    /// How long the whole exchange still has, if that is limited.
    pub(crate) fn left(&self, now: Time) -> Option<Duration> {
        let end = self.route.get();
        (end != Time::NEVER).then(|| end.since(now))
    }

    /// Lifts the route's limit: an upgrade lasts as long as it lasts.
    pub(crate) fn lift(&self) {
        self.route.set(Time::NEVER);
    }

    /// Sets `timer` to the nearest.
    pub(crate) fn arm<T: Timer>(&self, timer: &T) {
        let bodies = self.upload.get().0.min(self.download.get().0);
        timer.set(bodies.min(self.write.get().at).min(self.route.get()));
    }

    /// What ran out by `now`, if anything did; `unsent` bytes the downstream has to take yet.
    pub(crate) fn expired(&self, now: Time, unsent: impl FnOnce() -> usize) -> Option<Cause> {
        let ((upload, taken), (download, wait)) = (self.upload.get(), self.download.get());
        if self.route.get() <= now {
            Some(Cause::RouteTimeout)
        } else if upload <= now {
            Some(taken.cause())
        } else if download <= now {
            Some(wait.cause())
        } else if self.write.get().at <= now && self.is_stalled(now, unsent()) {
            Some(Wait::Write.cause())
        } else {
            None
        }
    }
}
