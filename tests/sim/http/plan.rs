//! What a request and its answer will be like: drawn once, known to both sides.

use std::time::Duration;

use penstock_env::Rng;

use crate::modules::Mark;

/// One request and what the origin is to do with it.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) id: u64,
    pub(crate) method: &'static str,
    /// HTTP/1.0, which ends with the connection.
    pub(crate) old: bool,
    pub(crate) body: Framing,
    pub(crate) body_bytes: u64,
    /// Waits for `100 Continue` before the body.
    pub(crate) expect: bool,
    /// Asks for a tunnel.
    pub(crate) upgrade: bool,
    /// Says that the connection ends with this request.
    pub(crate) last: bool,
    /// More fields in the head.
    pub(crate) filler_fields: u32,
    pub(crate) pace: Pace,
    pub(crate) abort: Option<Abort>,
    pub(crate) answer: Answer,
    /// What filters do to it, where there are some.
    pub(crate) mark: Option<Mark>,
}

/// What the origin answers.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Framing,
    pub(crate) body_bytes: u64,
    /// Interim answers before the final one.
    pub(crate) interim_count: u32,
    /// Answers before it has read the request's body.
    pub(crate) early: bool,
    pub(crate) pace: Pace,
    pub(crate) fault: Option<Fault>,
    /// Closes the connection after so long without a request, without a word before.
    pub(crate) idle_close: Option<Duration>,
}

/// How a body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    None,
    Length,
    Chunked,
    /// By the end of the connection; answers only.
    Close,
}

/// How fast one side reads and writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Bytes given to one send.
    pub(crate) piece_bytes: usize,
    /// Of 100 pieces, so many are followed by a pause.
    pub(crate) pauses: u32,
    pub(crate) pause_ms: u32,
}

/// How the client gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Abort {
    /// Closes after so many bytes of the request.
    Sending { bytes: u64, reset: bool },
    /// Closes after so many bytes of the answer's body.
    Receiving { bytes: u64, reset: bool },
}

/// How the origin goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Resets before any byte of the answer, once or each time.
    ResetBefore { once: bool },
    /// Ends the connection before any byte of the answer, once or each time.
    EndBefore { once: bool },
    /// Resets or ends after this many bytes of the answer, at least one and not all.
    CutAfter { bytes: u64, reset: bool },
    /// Says something that is no HTTP.
    Malformed(&'static [u8]),
    /// Reads the request and says nothing.
    Mute,
}

/// Heads that no recipient may take.
const MALFORMED: [&[u8]; 8] = [
    b"HTTP/1.1 2x0 no\r\n\r\n",
    b"\r\n\r\n\r\n",
    b"ICY 200 OK\r\ncontent-length: 0\r\n\r\n",
    // RFC 9112 §6.3: differing lengths are unrecoverable.
    b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
    b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nbad name: x\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nx: a\x00b\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n fold: x\r\ncontent-length: 0\r\n\r\n",
];

/// What plans may contain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Menu {
    /// Origins go wrong.
    pub(crate) faults: bool,
    /// Origins say what is no HTTP. Our own clients panic on that.
    pub(crate) malformed: bool,
    /// Clients give up.
    pub(crate) aborts: bool,
    /// Origins close idle connections.
    pub(crate) idle_closes: bool,
    /// There are filters, and requests are marked for them.
    pub(crate) marks: bool,
    /// Bodies are at most this long.
    pub(crate) body_bytes_max: u32,
}

impl Plan {
    /// A request with its answer.
    pub(crate) fn draw(id: u64, menu: &Menu, rng: &mut Rng) -> Plan {
        let method = pick(rng, &["GET", "GET", "GET", "HEAD", "POST", "POST", "PUT", "DELETE"]);
        let with_body = matches!(method, "POST" | "PUT") || one_in(rng, 20);
        let old = one_in(rng, 12);
        let body = match with_body {
            false => Framing::None,
            // RFC 9112 §6.1: no transfer coding in HTTP/1.0.
            true if old || one_in(rng, 2) => Framing::Length,
            true => Framing::Chunked,
        };
        let body_bytes = if with_body { draw_bytes(menu, rng) } else { 0 };
        let upgrade = !with_body && !old && method == "GET" && one_in(rng, 10);
        let mut answer = Answer::draw(with_body, menu, rng);
        if upgrade && one_in(rng, 2) {
            answer.status = 101;
        }
        Plan {
            id,
            method,
            old,
            body,
            body_bytes,
            expect: with_body && !old && one_in(rng, 5),
            upgrade,
            last: old || upgrade || one_in(rng, 8),
            filler_fields: rng.below(12),
            pace: Pace::draw(rng),
            abort: (menu.aborts && one_in(rng, 6)).then(|| Abort::draw(body_bytes, rng)),
            answer,
            mark: menu.marks.then(|| pick(rng, &Mark::ALL)),
        }
    }

    /// Whether the answer can have a body at all (RFC 9112 §6.3, rules 1 and 2).
    pub(crate) fn answer_has_body(&self) -> bool {
        self.method != "HEAD" && !matches!(self.answer.status, 204 | 304) && !self.tunnels()
    }

    /// Whether both sides change to a tunnel.
    pub(crate) fn tunnels(&self) -> bool {
        self.upgrade && self.answer.status == 101
    }

    /// The body's bytes, or those of the tunnel's upward direction.
    pub(crate) fn text(&self) -> Text {
        Text::new(self.id, 1)
    }

    /// The answer's body.
    pub(crate) fn answer_text(&self) -> Text {
        Text::new(self.id, 2)
    }
}

impl Answer {
    fn draw(with_body: bool, menu: &Menu, rng: &mut Rng) -> Answer {
        let status = pick(rng, &[200, 200, 200, 200, 201, 204, 301, 304, 404, 418]);
        let body_bytes = draw_bytes(menu, rng);
        let faulty = menu.faults && one_in(rng, 5);
        Answer {
            status,
            body: pick(rng, &[Framing::Length, Framing::Length, Framing::Chunked, Framing::Close]),
            body_bytes,
            interim_count: if one_in(rng, 6) { 1 + rng.below(2) } else { 0 },
            early: with_body && one_in(rng, 6),
            pace: Pace::draw(rng),
            fault: faulty.then(|| Fault::draw(body_bytes, menu, rng)),
            idle_close: (menu.idle_closes && one_in(rng, 3))
                .then(|| Duration::from_millis(u64::from(rng.below(40)))),
        }
    }
}

impl Answer {
    /// Whether the body ends with the connection: those of HTTP/1.0 know no chunks.
    pub(crate) fn ends_by_close(&self, plan: &Plan) -> bool {
        self.body == Framing::Close || (plan.old && self.body == Framing::Chunked)
    }

    /// Whether the origin ends a body early in a way that nobody can tell from its end.
    pub(crate) fn ends_unnoticed(&self, plan: &Plan) -> bool {
        self.ends_by_close(plan) && matches!(self.fault, Some(Fault::CutAfter { reset: false, .. }))
    }
}

impl Pace {
    /// As fast as it goes.
    pub(crate) const QUICK: Pace = Pace { piece_bytes: 100_000, pauses: 0, pause_ms: 1 };

    /// Not slow enough for any timeout or minimal rate.
    fn draw(rng: &mut Rng) -> Pace {
        let piece_bytes = pick(rng, &[1, 10, 100, 1000, 5000, 100_000]);
        let slow = one_in(rng, 4);
        // 20 kB byte by byte with a pause at each would take hours.
        let piece_bytes = if slow { piece_bytes.max(500) } else { piece_bytes };
        Pace { piece_bytes, pauses: if slow { 20 } else { 0 }, pause_ms: 1 + rng.below(60) }
    }

    /// The pause after a piece, if there is one.
    pub(crate) fn pause(&self, rng: &mut Rng) -> Option<Duration> {
        (rng.below(100) < self.pauses)
            .then(|| Duration::from_millis(u64::from(1 + rng.below(self.pause_ms))))
    }
}

impl Abort {
    fn draw(body_bytes: u64, rng: &mut Rng) -> Abort {
        let reset = one_in(rng, 2);
        match rng.below(2) {
            0 => {
                let most = u32::try_from(body_bytes).unwrap_or(u32::MAX).saturating_add(400);
                Abort::Sending { bytes: u64::from(rng.below(most)), reset }
            }
            _ => Abort::Receiving { bytes: u64::from(rng.below(5_000)), reset },
        }
    }
}

impl Fault {
    fn draw(body_bytes: u64, menu: &Menu, rng: &mut Rng) -> Fault {
        match rng.below(6) {
            0 => Fault::ResetBefore { once: one_in(rng, 2) },
            1 => Fault::EndBefore { once: one_in(rng, 2) },
            2 | 3 => {
                let most = u32::try_from(body_bytes).unwrap_or(u32::MAX).saturating_add(60);
                Fault::CutAfter { bytes: u64::from(1 + rng.below(most)), reset: one_in(rng, 2) }
            }
            4 if menu.malformed => Fault::Malformed(pick(rng, &MALFORMED)),
            _ => Fault::Mute,
        }
    }
}

/// An endless text that only its key leads to.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    key: u64,
    at: u64,
}

impl Text {
    pub(crate) fn new(id: u64, side: u64) -> Text {
        Text { key: Rng::new(id.wrapping_mul(4).wrapping_add(side)).next_u64(), at: 0 }
    }

    /// The next `count` bytes.
    pub(crate) fn next(&mut self, count: usize) -> Vec<u8> {
        let bytes = (0..count as u64).map(|offset| self.byte(self.at + offset)).collect();
        self.at += count as u64;
        bytes
    }

    /// Checks that `bytes` come next.
    ///
    /// # Panics
    /// When they don't: a byte got lost, or came from somewhere else.
    #[track_caller]
    pub(crate) fn check(&mut self, who: &str, bytes: &[u8]) {
        for &byte in bytes {
            assert_eq!(byte, self.byte(self.at), "{who}: byte {} is not its own", self.at);
            self.at += 1;
        }
    }

    fn byte(&self, at: u64) -> u8 {
        // Eight bytes from each step of a splitmix64 (Steele 2014).
        let mut word = self.key.wrapping_add((at / 8).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (word >> (8 * (at % 8))) as u8
    }
}

/// Mostly short, at times empty or long.
fn draw_bytes(menu: &Menu, rng: &mut Rng) -> u64 {
    let most = match rng.below(8) {
        0 => return 0,
        1..=4 => 300,
        5 | 6 => 5_000,
        _ => menu.body_bytes_max,
    };
    u64::from(rng.below(most.min(menu.body_bytes_max) + 1))
}

pub(crate) fn one_in(rng: &mut Rng, count: u32) -> bool {
    rng.below(count) == 0
}

pub(crate) fn pick<T: Copy>(rng: &mut Rng, choices: &[T]) -> T {
    choices[rng.below(u32::try_from(choices.len()).unwrap_or(1)) as usize]
}
