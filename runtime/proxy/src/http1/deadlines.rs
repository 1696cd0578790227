//! What an exchange waits for, and until when: several deadlines behind one timer.

use std::cell::Cell;
use std::time::Duration;

use penstock_env::{Env, Time, Timer};

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

/// The deadlines of one exchange. Setting one is a store.
#[derive(Debug)]
pub(crate) struct Deadlines {
    upload: Cell<Time>,
    download: Cell<(Time, Wait)>,
    route: Cell<Time>,
    /// When the wait for the downstream to read began.
    since: Cell<Time>,
}

impl Deadlines {
    /// None yet.
    pub(crate) fn new() -> Deadlines {
        Deadlines {
            upload: Cell::new(Time::NEVER),
            download: Cell::new((Time::NEVER, Wait::ResponseHead)),
            route: Cell::new(Time::NEVER),
            since: Cell::default(),
        }
    }

    /// Until when the request's body has to go on; `Time::NEVER` once it is complete.
    pub(crate) fn upload(&self, at: Time) {
        self.upload.set(at);
    }

    /// Until when the response has to go on.
    pub(crate) fn download(&self, at: Time, wait: Wait) {
        self.download.set((at, wait));
    }

    /// Until when the downstream has to take some of what it was sent at `now`.
    pub(crate) fn write(&self, now: Time, stall: Duration) {
        self.since.set(now);
        self.download(now + stall, Wait::Write);
    }

    /// Gives the response's present wait as long again as it was given, from `now`.
    pub(crate) fn extend(&self, now: Time) {
        let (until, wait) = self.download.get();
        let given = until.since(self.since.get());
        self.since.set(now);
        self.download.set((now + given, wait));
    }

    /// Until when the whole exchange has to end.
    pub(crate) fn route(&self, at: Time) {
        self.route.set(at);
    }

    /// Lifts the route's limit: an upgrade lasts as long as it lasts.
    pub(crate) fn lift(&self) {
        self.route.set(Time::NEVER);
        self.upload.set(Time::NEVER);
    }

    /// Sets `timer` to the nearest.
    pub(crate) fn arm<T: Timer>(&self, timer: &T) {
        timer.set(self.upload.get().min(self.download.get().0).min(self.route.get()));
    }

    /// What ran out by now, if anything did.
    pub(crate) fn expired<E: Env>(&self, env: &E) -> Option<Cause> {
        let now = env.now();
        let (download, wait) = self.download.get();
        if self.route.get() <= now {
            Some(Cause::RouteTimeout)
        } else if self.upload.get() <= now {
            Some(Wait::Upload.cause())
        } else if download <= now {
            Some(wait.cause())
        } else {
            None
        }
    }
}
