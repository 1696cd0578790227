//! Frames that cost us more than they cost the peer: counted as they come in, each kind against
//! its own measure; and the sizes that some kinds have to have.
//!
//! `h2` bounds the memory that a peer can make us hold; this bounds the work. Looking at heads of
//! frames is all it takes.

use h2::Reason;
use penstock_config::Http2;
use penstock_env::Time;
use penstock_wire::http2::{FrameHead, FrameKind, FrameWalk};

use crate::failure::Cause;

/// Why a connection ends: as it is counted, and as the peer is told.
pub(super) type Ending = (Cause, Reason);

/// What came in on one connection, and what is left of each measure.
pub(super) struct Floods {
    walk: FrameWalk,
    resets: Bucket,
    pings: Bucket,
    settings: Bucket,
    empty_data: Bucket,
    window_updates: Bucket,
    others: Bucket,
    continuations: u32,
    continuations_max: u32,
    head: Option<OpenHead>,
    /// Heads that began since they were last asked for.
    heads: usize,
}

/// A request's head, or trailers, that began and did not end yet (RFC 9113 §4.3).
struct OpenHead {
    since: Time,
    /// The frame under way is its last.
    ends: bool,
}

impl Floods {
    /// Nothing came yet.
    pub(super) fn new(limits: &Http2, now: Time) -> Floods {
        let bucket = |per_second, burst| Bucket::new(per_second, burst, now);
        Floods {
            walk: FrameWalk::behind_preface(),
            resets: bucket(limits.resets_max, limits.resets_max),
            pings: bucket(limits.pings_max, limits.pings_max.saturating_mul(PING_BURST)),
            settings: bucket(
                limits.settings_max,
                limits.settings_max.saturating_mul(SETTINGS_BURST),
            ),
            empty_data: bucket(limits.empty_data_max, limits.empty_data_max),
            window_updates: bucket(
                limits.window_updates_max,
                limits.window_updates_max.saturating_mul(WINDOW_BURST),
            ),
            others: bucket(limits.others_max, limits.others_max),
            continuations: 0,
            continuations_max: limits.continuations_max,
            head: None,
            heads: 0,
        }
    }

    /// Takes what the peer sent next.
    ///
    /// # Errors
    /// It is too much of something, or of a size that its kind can't have.
    pub(super) fn take(&mut self, mut bytes: &[u8], now: Time) -> Result<(), Ending> {
        let mut all = Ok(());
        while let Some(head) = self.walk.next(&mut bytes) {
            self.follow(&head, now);
            all = all.and_then(|()| self.look(&head, now));
        }
        if self.walk.is_between() && self.head.as_ref().is_some_and(|head| head.ends) {
            self.head = None;
        }
        all
    }

    /// So many bytes went to the peer. The smallest frame of them that has content calls for two
    /// updates, its stream's and the connection's.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.window_updates.put(bytes / (SMALLEST_DATA_BYTES / 2));
    }

    /// How many heads began since this was asked last.
    pub(super) fn take_heads(&mut self) -> usize {
        std::mem::take(&mut self.heads)
    }

    /// Since when the peer is in the middle of a head. Nothing else can come before its end.
    pub(super) fn head_since(&self) -> Option<Time> {
        self.head.as_ref().map(|head| head.since)
    }

    /// Notes where heads begin and end.
    fn follow(&mut self, head: &FrameHead, now: Time) {
        let ends = head.has(FrameHead::END_HEADERS);
        if head.kind == FrameKind::Headers {
            self.heads += 1;
            // Whoever opens a stream may widen its window at once, and the connection's with it.
            self.window_updates.put(2);
        }
        self.head = match (head.kind, self.head.take()) {
            (FrameKind::Headers, _) => Some(OpenHead { since: now, ends }),
            (FrameKind::Continuation, Some(open)) => Some(OpenHead { ends, ..open }),
            _ => None,
        };
    }

    fn look(&mut self, head: &FrameHead, now: Time) -> Result<(), Ending> {
        if !fits(head) {
            return Err((Cause::Http2Violation, Reason::FRAME_SIZE_ERROR));
        }
        self.count(head, now).map_err(|cause| (cause, Reason::ENHANCE_YOUR_CALM))
    }

    /// What it is called that `h2` had enough: it counts CONTINUATION frames, too.
    pub(super) fn overload(&self) -> Cause {
        match self.continuations {
            0 => Cause::Http2Overload,
            _ => Cause::ContinuationFlood,
        }
    }

    fn count(&mut self, head: &FrameHead, now: Time) -> Result<(), Cause> {
        if head.kind == FrameKind::Continuation {
            self.continuations += 1;
            return match self.continuations > self.continuations_max {
                // CVE-2024-27316 and its kin: a header block without an end.
                true => Err(Cause::ContinuationFlood),
                false => Ok(()),
            };
        }
        self.continuations = 0;
        let (bucket, cause) = match head.kind {
            // CVE-2023-44487, rapid reset: work begun and thrown away.
            FrameKind::RstStream => (&mut self.resets, Cause::ResetFlood),
            FrameKind::Ping if !head.has(FrameHead::ACK) => (&mut self.pings, Cause::PingFlood),
            FrameKind::Settings if !head.has(FrameHead::ACK) => {
                (&mut self.settings, Cause::SettingsFlood)
            }
            // CVE-2019-9518: frames without content that end nothing.
            FrameKind::Data if head.payload_bytes == 0 && !head.has(FrameHead::END_STREAM) => {
                (&mut self.empty_data, Cause::EmptyDataFlood)
            }
            // CVE-2019-9517 and its kin: windows that are moved for nothing.
            FrameKind::WindowUpdate => (&mut self.window_updates, Cause::WindowFlood),
            // Nobody asked for that many answers, or says so often that it goes.
            FrameKind::Ping | FrameKind::GoAway | FrameKind::Priority | FrameKind::Other(_) => {
                (&mut self.others, Cause::FrameFlood)
            }
            _ => return Ok(()),
        };
        if bucket.take(now) { Ok(()) } else { Err(cause) }
    }
}

/// Whether the frame is as long as its kind has to be. `h2` ends the connection too, but by the
/// code for everything else.
fn fits(head: &FrameHead) -> bool {
    match (head.kind, head.payload_bytes) {
        // RFC 9113 §6.5: an answer holds nothing.
        (FrameKind::Settings, bytes) if head.has(FrameHead::ACK) => bytes == 0,
        // RFC 9113 §6.3, §6.4, §6.5, §6.7, §6.9.
        (FrameKind::Priority, bytes) => bytes == 5,
        (FrameKind::RstStream | FrameKind::WindowUpdate, bytes) => bytes == 4,
        (FrameKind::Settings, bytes) => bytes % 6 == 0,
        (FrameKind::Ping, bytes) => bytes == 8,
        _ => true,
    }
}

/// So many a second, and some more at once.
struct Bucket {
    per_second: u32,
    /// What there is, in billionths.
    level: u64,
    level_max: u64,
    filled_at: Time,
}

impl Bucket {
    fn new(per_second: u32, burst: u32, now: Time) -> Bucket {
        let level_max = u64::from(burst) * ONE;
        Bucket { per_second, level: level_max, level_max, filled_at: now }
    }

    /// Takes one; false when there is none.
    fn take(&mut self, now: Time) -> bool {
        // So many a second is so many billionths a nanosecond.
        let ns = u64::try_from(now.since(self.filled_at).as_nanos()).unwrap_or(u64::MAX);
        let more = ns.saturating_mul(u64::from(self.per_second));
        self.level = self.level.saturating_add(more).min(self.level_max);
        self.filled_at = now;
        let enough = self.level >= ONE;
        if enough {
            self.level -= ONE;
        }
        enough
    }

    /// Puts `count` more in, as far as there is room.
    fn put(&mut self, count: usize) {
        let more = (count as u64).saturating_mul(ONE);
        self.level = self.level.saturating_add(more).min(self.level_max);
    }
}

/// The same of windows: a client of gRPC moves those of a thousand streams at once.
const WINDOW_BURST: u32 = 10;
/// A frame's head, and a byte.
const SMALLEST_DATA_BYTES: usize = 10;
const ONE: u64 = 1_000_000_000;
/// Pings come in bursts where a peer measures its path; so many seconds' worth.
const PING_BURST: u32 = 10;
/// The same of settings.
const SETTINGS_BURST: u32 = 5;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use h2::Reason;
    use penstock_config::Http2;
    use penstock_env::Time;
    use penstock_wire::http2::PREFACE;

    use super::Floods;
    use crate::failure::Cause;

    fn frame(kind: u8, flags: u8, payload_bytes: u8) -> Vec<u8> {
        let mut bytes = vec![0, 0, payload_bytes, kind, flags, 0, 0, 0, 1];
        bytes.extend(vec![0; usize::from(payload_bytes)]);
        bytes
    }

    /// `count` frames at once are fine, one more is `cause`, and a second later `again` are fine.
    #[track_caller]
    fn check(frame: &[u8], count: usize, again: usize, cause: Cause) {
        let start = Time::from_ns(5);
        let mut floods = Floods::new(&Http2::default(), start);
        floods.take(PREFACE, start).expect("a preface");
        for _ in 0..count {
            floods.take(frame, start).expect("not yet");
        }
        let calm = Err((cause, Reason::ENHANCE_YOUR_CALM));
        assert_eq!(floods.take(frame, start), calm);
        let later = start + Duration::from_secs(1);
        for _ in 0..again {
            floods.take(frame, later).expect("a second later");
        }
        assert_eq!(floods.take(frame, later), calm);
    }

    #[test]
    fn each_flood_has_its_measure_and_its_cause() {
        check(&frame(3, 0, 4), 100, 100, Cause::ResetFlood);
        check(&frame(6, 0, 8), 100, 10, Cause::PingFlood);
        check(&frame(4, 0, 0), 50, 10, Cause::SettingsFlood);
        check(&frame(0, 0, 0), 100, 100, Cause::EmptyDataFlood);
        check(&frame(8, 0, 4), 10_000, 1000, Cause::WindowFlood);
        check(&frame(2, 0, 5), 100, 100, Cause::FrameFlood);
        check(&frame(0xb0, 0, 5), 100, 100, Cause::FrameFlood);
        check(&frame(6, 1, 8), 100, 100, Cause::FrameFlood);
        check(&frame(7, 0, 8), 100, 100, Cause::FrameFlood);
    }

    #[test]
    fn what_answers_or_carries_something_is_no_flood() {
        let mut floods = Floods::new(&Http2::default(), Time::default());
        floods.take(PREFACE, Time::default()).expect("a preface");
        // Answers to settings, content, the end of a body.
        for frame in [frame(4, 1, 0), frame(0, 0, 1), frame(0, 1, 0)] {
            for _ in 0..1000 {
                floods.take(&frame, Time::default()).expect("no flood");
            }
        }
        // Windows of streams, as they are opened.
        for _ in 0..20_000 {
            let opened = [frame(1, 4, 9), frame(8, 0, 4).repeat(2)].concat();
            floods.take(&opened, Time::default()).expect("no flood");
        }
        // Windows, of whoever reads: a stream's and the connection's for each byte.
        for _ in 0..10_000 {
            floods.sent(10);
            floods.take(&frame(8, 0, 4).repeat(2), Time::default()).expect("no flood");
        }
    }

    /// RFC 9113 §4.3: nothing comes between the frames of a head.
    #[test]
    fn a_head_is_open_from_its_first_byte_to_its_last() {
        let at = |second| Time::default() + Duration::from_secs(second);
        let mut floods = Floods::new(&Http2::default(), at(0));
        floods.take(PREFACE, at(0)).expect("a preface");
        let (begun, more, last) = (frame(1, 0, 9), frame(9, 0, 9), frame(9, 4, 9));
        floods.take(&begun[..8], at(1)).expect("half a frame's head");
        assert_eq!(floods.head_since(), None);
        floods.take(&begun[8..], at(2)).expect("the rest");
        floods.take(&more, at(3)).expect("more of it");
        floods.take(&last[..17], at(4)).expect("nearly all of it");
        assert_eq!(floods.head_since(), Some(at(2)));
        floods.take(&last[17..], at(5)).expect("the last byte");
        assert_eq!(floods.head_since(), None);
        floods.take(&[frame(1, 4, 9), frame(6, 0, 8)].concat(), at(6)).expect("a whole one");
        assert_eq!(floods.head_since(), None);
        floods.take(&frame(1, 4, 9)[..10], at(7)).expect("a frame's head");
        assert_eq!(floods.head_since(), Some(at(7)));
    }

    #[test]
    fn a_header_block_is_continued_eight_times() {
        let mut floods = Floods::new(&Http2::default(), Time::default());
        floods.take(PREFACE, Time::default()).expect("a preface");
        for _ in 0..3 {
            floods.take(&frame(1, 0, 9), Time::default()).expect("headers");
            for _ in 0..8 {
                floods.take(&frame(9, 0, 9), Time::default()).expect("more of them");
            }
        }
        let ninth = floods.take(&frame(9, 0, 9), Time::default());
        assert_eq!(ninth, Err((Cause::ContinuationFlood, Reason::ENHANCE_YOUR_CALM)));
    }
}
