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
    others: Bucket,
    continuations: u32,
    continuations_max: u32,
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
            others: bucket(limits.others_max, limits.others_max),
            continuations: 0,
            continuations_max: limits.continuations_max,
        }
    }

    /// Takes what the peer sent next.
    ///
    /// # Errors
    /// It is too much of something, or of a size that its kind can't have.
    pub(super) fn take(&mut self, mut bytes: &[u8], now: Time) -> Result<(), Ending> {
        let mut all = Ok(());
        while let Some(head) = self.walk.next(&mut bytes) {
            all = all.and_then(|()| self.look(&head, now));
        }
        all
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
            FrameKind::Priority | FrameKind::Other(_) => (&mut self.others, Cause::FrameFlood),
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
}

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
        check(&frame(2, 0, 5), 100, 100, Cause::FrameFlood);
        check(&frame(0xb0, 0, 5), 100, 100, Cause::FrameFlood);
    }

    #[test]
    fn what_answers_or_carries_something_is_no_flood() {
        let mut floods = Floods::new(&Http2::default(), Time::default());
        floods.take(PREFACE, Time::default()).expect("a preface");
        // Answers to pings and settings, content, the end of a body, windows.
        for frame in
            [frame(6, 1, 8), frame(4, 1, 0), frame(0, 0, 1), frame(0, 1, 0), frame(8, 0, 4)]
        {
            for _ in 0..1000 {
                floods.take(&frame, Time::default()).expect("no flood");
            }
        }
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
