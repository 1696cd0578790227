//! Windows that grow with the path: what may be on its way to us follows the product of the path's
//! bandwidth and its delay.
//!
//! As gRPC does it: a ping measures the round trip; the bytes that come in the meantime are what
//! the path holds. Where that is most of a window, the window holds the path back, and becomes
//! twice as much as came. Who sends little is never pinged. A connection's window stays larger
//! than its streams', so that one which nobody reads leaves something to the others; where streams
//! are of many clients, as large as all of them together.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::{client, server};
use penstock_config::SharedHttp2;
use penstock_env::{Env, Time};

use super::io::{Io, Socket};
use super::pings::Pings;
use super::share::Share;

/// What may be on its way to us, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Windows {
    /// Of one stream.
    pub(super) stream: u32,
    /// Of all streams of a connection together.
    pub(super) connection: u32,
}

/// A connection of `h2`, on either side.
pub(super) trait Windowed {
    /// Announces other windows; false while those before are not confirmed.
    fn set_windows(&mut self, windows: Windows) -> bool;
}

impl<E: Env> Windowed for server::Connection<Io<E>, Bytes> {
    fn set_windows(&mut self, windows: Windows) -> bool {
        let set = self.set_initial_window_size(windows.stream).is_ok();
        if set {
            self.set_target_window_size(windows.connection);
        }
        set
    }
}

impl<E: Env> Windowed for client::Connection<Io<E>, Bytes> {
    fn set_windows(&mut self, windows: Windows) -> bool {
        let set = self.set_initial_window_size(windows.stream).is_ok();
        if set {
            self.set_target_window_size(windows.connection);
        }
        set
    }
}

/// What a connection's growth takes of what the shard has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    /// What its window has grown by: it bounds what its streams hold.
    Window,
    /// What the windows of its streams have grown by, so many of which are open.
    Streams(u32),
}

/// The windows of one connection.
pub(super) struct Growth {
    holds: Holds,
    /// Up to here a stream's window does not count as grown.
    narrow: u32,
    first: Windows,
    now: Windows,
    most: Windows,
    share: Rc<Share>,
    /// Bytes that had come when a question was sent, or when the last was answered.
    came_bytes: u64,
    asked: bool,
    ask_again_at: Time,
    pause: Duration,
    round_trip_s: f32,
    /// The most bytes a second so far.
    rate_max: f32,
}

/// What a look at the windows came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Nothing is to be done.
    Fine,
    /// `h2` has something to write.
    Write,
    /// They would grow, but the shard's windows have grown as much as they may.
    NoRoom,
}

impl Growth {
    /// Of a connection that begins with `first`, and may come to `most`.
    pub(super) fn new(first: Windows, most: Windows, share: Rc<Share>) -> Growth {
        Growth {
            holds: Holds::Window,
            narrow: first.stream,
            first,
            now: first,
            most: Windows {
                stream: most.stream.max(first.stream),
                connection: most.connection.max(first.connection),
            },
            share,
            came_bytes: 0,
            asked: false,
            ask_again_at: Time::default(),
            pause: PAUSE_MIN,
            round_trip_s: 0.0,
            rate_max: 0.0,
        }
    }

    /// Of a connection whose window leaves each of its streams its own. What these have beyond
    /// `narrow` is counted per stream therefore: see [`Growth::stream_begins`].
    pub(super) fn of_streams(
        narrow: Windows,
        first: Windows,
        most: Windows,
        share: Rc<Share>,
    ) -> Growth {
        let mut growth = Growth::new(first, most, share);
        (growth.holds, growth.narrow) = (Holds::Streams(0), narrow.stream);
        growth
    }

    /// Whether another stream may have a window as wide as the others'.
    pub(super) fn has_room(&self, limits: &SharedHttp2) -> bool {
        self.share.has_room(self.grown_per_stream(), limits)
    }

    /// One more stream is open.
    pub(super) fn stream_begins(&mut self) {
        if let Holds::Streams(open) = &mut self.holds {
            *open += 1;
            self.share.take(self.grown_per_stream());
        }
    }

    /// It is no more.
    pub(super) fn stream_ended(&mut self) {
        if let Holds::Streams(open) = &mut self.holds {
            *open -= 1;
            self.share.shrink(self.grown_per_stream());
        }
    }

    /// Looks at what came over `socket`; `answer` is how long a ping took that was just answered.
    pub(super) fn look<E: Env>(
        &mut self,
        now: Time,
        socket: &Socket<E>,
        answer: Option<Duration>,
        (pings, h2): (&mut Pings, &mut impl Windowed),
        limits: &SharedHttp2,
    ) -> Look {
        let came = socket.came_bytes();
        if !self.asked {
            let half = u64::from(self.now.stream / 2);
            let is_due = came - self.came_bytes >= half && now >= self.ask_again_at;
            if !is_due || self.now.stream >= self.most.stream || !pings.is_free() || !pings.ask(now)
            {
                return Look::Fine;
            }
            // What this turn brought came by the same window.
            (self.asked, self.came_bytes) = (true, socket.came_before_turn());
            return Look::Write;
        }
        let Some(round_trip) = answer else { return Look::Fine };
        let bytes = came - self.came_bytes;
        (self.asked, self.came_bytes) = (false, came);
        match self.judge(bytes, round_trip) {
            Some(stream) => self.grow(now, stream, h2, limits),
            None => {
                self.rest(now);
                Look::Fine
            }
        }
    }

    /// The stream's window that so many bytes in a round trip call for, if it is larger.
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    fn judge(&mut self, bytes: u64, round_trip: Duration) -> Option<u32> {
        let measured = round_trip.as_secs_f32().max(1e-6);
        // RFC 6298 §2: by an eighth.
        self.round_trip_s = match self.round_trip_s {
            0.0 => measured,
            known => known + (measured - known) / 8.0,
        };
        let rate = bytes as f32 / self.round_trip_s;
        let most = bytes >= u64::from(self.now.stream) * 2 / 3;
        // Where more on its way brings no more a second, it only waits somewhere.
        if !most || rate <= self.rate_max {
            return None;
        }
        self.rate_max = rate;
        let wanted = u32::try_from(bytes * 2).unwrap_or(u32::MAX);
        let stream = wanted.min(self.most.stream);
        (stream > self.now.stream).then_some(stream)
    }

    fn grow(
        &mut self,
        now: Time,
        stream: u32,
        h2: &mut impl Windowed,
        limits: &SharedHttp2,
    ) -> Look {
        let full_streams = self.most.connection / self.most.stream;
        let connection = self.now.connection.max(stream.saturating_mul(full_streams));
        let windows = Windows { stream, connection };
        let more = self.held(windows) - self.held(self.now);
        if !self.share.grow(more, limits) {
            self.rest(now);
            return Look::NoRoom;
        }
        if !h2.set_windows(windows) {
            self.share.shrink(more);
            return Look::Fine;
        }
        self.now = windows;
        (self.pause, self.ask_again_at) = (PAUSE_MIN, now);
        Look::Write
    }

    /// Does not ask again for a while, and for a longer one each time.
    fn rest(&mut self, now: Time) {
        self.ask_again_at = now + self.pause;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }

    /// When a connection without streams since `idle_since` gives back what its window grew by.
    pub(super) fn gives_back_at(&self, idle_since: Option<Time>) -> Time {
        match idle_since {
            Some(since) if self.now != self.first => (since + IDLE_MAX).max(self.ask_again_at),
            _ => Time::NEVER,
        }
    }

    /// Gives it back. What was confirmed to the peer stays its own until it used it.
    pub(super) fn give_back(&mut self, now: Time, h2: &mut impl Windowed) -> Look {
        if !h2.set_windows(self.first) {
            self.ask_again_at = now + PAUSE_MAX;
            return Look::Fine;
        }
        self.share.shrink(self.grown_bytes());
        self.now = self.first;
        (self.pause, self.rate_max) = (PAUSE_MIN, 0.0);
        Look::Write
    }

    fn grown_bytes(&self) -> u64 {
        self.held(self.now)
    }

    fn grown_per_stream(&self) -> u64 {
        u64::from(self.now.stream - self.narrow)
    }

    /// What it holds of the share with these windows.
    fn held(&self, windows: Windows) -> u64 {
        match self.holds {
            Holds::Window => u64::from(windows.connection - self.first.connection),
            Holds::Streams(open) => u64::from(open) * u64::from(windows.stream - self.narrow),
        }
    }
}

/// What a connection with windows for each of its streams begins with: `wide` ones, as long as all
/// of its streams leave half of the share to windows that grow.
pub(super) fn beginning(
    narrow: Windows,
    wide: Windows,
    share: &Share,
    limits: &SharedHttp2,
) -> Windows {
    let more = u64::from(wide.connection - narrow.connection);
    let half = limits.window_growth_bytes_max.as_u64() / 2;
    if share.has_room(more + half, limits) { wide } else { narrow }
}

impl Drop for Growth {
    fn drop(&mut self) {
        self.share.shrink(self.grown_bytes());
    }
}

/// Between questions, while the answers call for nothing.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// How long a connection without streams keeps its windows.
const IDLE_MAX: Duration = Duration::from_secs(10);
