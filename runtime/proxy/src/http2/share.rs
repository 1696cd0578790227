//! What the connections of one shard share: streams of clients under way, and the bytes by which
//! windows have grown.

use std::cell::Cell;

use penstock_config::SharedHttp2;

/// How much of it is taken.
#[derive(Default)]
pub(crate) struct Share {
    streams: Cell<u32>,
    grown_bytes: Cell<u64>,
}

impl Share {
    /// Streams that a new connection may have at a time, of `streams_max`: all of them until half
    /// of the shard's are under way, then in proportion to those that are left.
    pub(super) fn streams_for_one(&self, streams_max: u32, limits: &SharedHttp2) -> u32 {
        let left = u64::from(limits.streams_max.saturating_sub(self.streams.get()));
        let share = u64::from(streams_max) * left * 2 / u64::from(limits.streams_max);
        let least = (streams_max / LEAST_PART).max(1);
        u32::try_from(share).unwrap_or(u32::MAX).clamp(least, streams_max)
    }

    /// Whether as many streams are under way as there may be.
    pub(super) fn is_full(&self, limits: &SharedHttp2) -> bool {
        self.streams.get() >= limits.streams_max
    }

    /// One more stream is under way.
    pub(super) fn stream_begins(&self) {
        self.streams.set(self.streams.get() + 1);
    }

    /// It is no more.
    pub(super) fn stream_ended(&self) {
        self.streams.set(self.streams.get() - 1);
    }

    /// Takes `bytes` for a window to grow by, if there are as many.
    pub(super) fn grow(&self, bytes: u64, limits: &SharedHttp2) -> bool {
        let fits = self.has_room(bytes, limits);
        if fits {
            self.take(bytes);
        }
        fits
    }

    /// Whether there are as many.
    pub(super) fn has_room(&self, bytes: u64, limits: &SharedHttp2) -> bool {
        // What takes none fits, however many others have taken.
        bytes == 0 || self.grown_bytes.get() + bytes <= limits.window_growth_bytes_max.as_u64()
    }

    /// Takes them, whether or not there are as many.
    pub(super) fn take(&self, bytes: u64) {
        self.grown_bytes.set(self.grown_bytes.get() + bytes);
    }

    /// Gives them back.
    pub(super) fn shrink(&self, bytes: u64) {
        let left = self.grown_bytes.get().checked_sub(bytes);
        self.grown_bytes.set(left.expect("what was taken is given back once"));
    }

    /// Whether nothing of it is taken.
    pub(crate) fn is_unused(&self) -> bool {
        self.streams.get() == 0 && self.grown_bytes.get() == 0
    }
}

/// A new connection always gets one stream in so many.
const LEAST_PART: u32 = 10;

#[cfg(test)]
mod tests {
    use penstock_config::SharedHttp2;

    use super::Share;

    #[test]
    fn connections_get_fewer_streams_as_the_shard_fills_up() {
        let limits = SharedHttp2 { streams_max: 1_000, ..SharedHttp2::default() };
        let share = Share::default();
        let mut got = Vec::new();
        for taken in 0..=1_000 {
            if [0, 500, 501, 750, 900, 999, 1_000].contains(&taken) {
                got.push((taken, share.streams_for_one(100, &limits), share.is_full(&limits)));
            }
            share.stream_begins();
        }
        let expected = [(0, 100), (500, 100), (501, 99), (750, 50), (900, 20), (999, 10)];
        let mut expected: Vec<_> = expected.map(|(taken, one)| (taken, one, false)).into();
        expected.push((1_000, 10, true));
        assert_eq!(got, expected);
        assert_eq!(share.streams_for_one(3, &limits), 1);
    }
}
