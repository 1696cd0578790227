//! Holds what the proxy says in HTTP/2 to RFC 9113, whatever it was told.
//!
//! Only frames are looked at, not what is compressed in them: of an answer it is its frames' order,
//! its content and its end.

use std::collections::BTreeMap;

use crate::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, PADDED, PING,
    PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE, frame, frames_of,
};

/// How the proxy ended a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It said all.
    Whole,
    /// It gave the stream up.
    Reset,
}

/// What the proxy said on a stream.
#[derive(Debug, Default)]
pub(super) struct Heard {
    heads: u32,
    pub(super) content: Vec<u8>,
    pub(super) end: Option<End>,
}

/// Reads what the proxy says on one connection.
#[derive(Debug, Default)]
pub(super) struct Judge {
    held: Vec<u8>,
    /// Of the preface, which only a client sends.
    preface: &'static [u8],
    asks: bool,
    settled: bool,
    pub(super) streams: BTreeMap<u32, Heard>,
    /// The stream whose head has to go on.
    continued: Option<(u32, bool)>,
    goaway: Option<u32>,
    /// The last stream that it opened.
    pub(super) newest: u32,
    /// What a peer that keeps to the rules says to what came.
    pub(super) owed: Vec<u8>,
}

impl Judge {
    /// Of the proxy as a server.
    pub(super) fn of_server() -> Judge {
        Judge::default()
    }

    /// Of the proxy as a client.
    pub(super) fn of_client() -> Judge {
        Judge { preface: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", asks: true, ..Judge::default() }
    }

    /// Streams that were opened and have no end yet.
    pub(super) fn open_count(&self) -> usize {
        self.streams.values().filter(|heard| heard.end.is_none()).count()
    }

    /// Takes what came.
    ///
    /// # Panics
    /// When that is not what RFC 9113 allows.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
        let count = self.held.len().min(self.preface.len());
        assert_eq!(self.held[..count], self.preface[..count], "RFC 9113 §3.4: the preface");
        self.preface = &self.preface[count..];
        self.held.drain(..count);
        let frames = frames_of(&self.held);
        let taken: usize = frames.iter().map(|frame| 9 + frame.payload.len()).sum();
        self.held.drain(..taken);
        for frame in frames {
            self.judge(&frame);
        }
    }

    /// The connection ended in good order.
    ///
    /// # Panics
    /// When that was in the middle of something.
    pub(super) fn finish(&self) {
        assert!(self.held.is_empty(), "it ends in a frame: {:?}", self.held);
        assert_eq!(self.continued, None, "it ends in a head");
    }

    fn judge(&mut self, came: &Frame) {
        assert!(self.settled || came.kind == SETTINGS, "RFC 9113 §3.4: settings are the first");
        self.settled = true;
        match self.continued {
            Some((stream, _)) => {
                let of_it = came.kind == CONTINUATION && came.stream == stream;
                assert!(of_it, "RFC 9113 §4.3: a head is not interrupted: {came:?}");
            }
            None => assert_ne!(came.kind, CONTINUATION, "RFC 9113 §6.10: {came:?}"),
        }
        let payload = &came.payload[..];
        let of_connection = matches!(came.kind, SETTINGS | PING | GOAWAY);
        assert!(!of_connection || came.stream == 0, "RFC 9113 §6: {came:?}");
        match came.kind {
            SETTINGS => {
                assert_eq!(payload.len() % 6, 0, "RFC 9113 §6.5");
                if came.flags & ACK == 0 {
                    self.owed.extend(frame(SETTINGS, ACK, 0, &[]));
                }
            }
            PING => {
                assert_eq!(payload.len(), 8, "RFC 9113 §6.7");
                if came.flags & ACK == 0 {
                    self.owed.extend(frame(PING, ACK, 0, payload));
                }
            }
            GOAWAY => {
                let last = number(payload);
                let before = self.goaway.replace(last).unwrap_or(u32::MAX);
                assert!(last <= before, "RFC 9113 §6.8: {last} after {before}");
            }
            WINDOW_UPDATE => {
                let more = number(payload);
                assert!((1..1 << 31).contains(&more), "RFC 9113 §6.9: {more}");
            }
            DATA | HEADERS | CONTINUATION | RST_STREAM => self.judge_stream(came),
            PUSH_PROMISE => panic!("RFC 9113 §8.4: we push nothing"),
            _ => {}
        }
    }

    fn judge_stream(&mut self, frame: &Frame) {
        if frame.kind == RST_STREAM && !self.streams.contains_key(&frame.stream) {
            // `h2` resets what only the other side speaks of, whatever its number.
            self.streams.entry(frame.stream).or_default().end = Some(End::Reset);
            return;
        }
        if self.asks && frame.kind == HEADERS && frame.stream > self.newest {
            self.newest = frame.stream;
        } else if self.asks {
            assert!(self.streams.contains_key(&frame.stream), "it was never opened: {frame:?}");
        }
        // RFC 9113 §5.1.1: clients open odd streams, each higher than those before.
        assert!(frame.stream % 2 == 1 || frame.kind == RST_STREAM, "{frame:?}");
        let heard = self.streams.entry(frame.stream).or_default();
        if frame.kind == RST_STREAM {
            number(&frame.payload);
            // RFC 9113 §5.1: again for each frame that comes behind it. What was whole stays so:
            // that is how the rest of a request is declined.
            if heard.end.is_none() {
                heard.end = Some(End::Reset);
            }
            return;
        }
        let continued = frame.kind == CONTINUATION;
        assert!(continued || heard.end.is_none(), "RFC 9113 §5.1: it was ended: {frame:?}");
        let ends = match frame.kind {
            DATA => {
                assert!(heard.heads > 0, "content before its head: {frame:?}");
                assert_eq!(frame.flags & PADDED, 0, "we pad nothing");
                heard.content.extend_from_slice(&frame.payload);
                frame.flags & END_STREAM != 0
            }
            _ => {
                let ends = match self.continued.take() {
                    Some((_, ends)) => ends,
                    None => {
                        heard.heads += 1;
                        frame.flags & END_STREAM != 0
                    }
                };
                // RFC 9113 §8.1: behind content there are trailers, and they are the end.
                assert!(ends || heard.content.is_empty(), "a head in content: {frame:?}");
                if frame.flags & END_HEADERS == 0 {
                    self.continued = Some((frame.stream, ends));
                    return;
                }
                ends
            }
        };
        if ends {
            heard.end = Some(End::Whole);
        }
    }
}

/// The number that a payload begins with.
fn number(payload: &[u8]) -> u32 {
    u32::from_be_bytes(payload.get(..4).and_then(|four| four.try_into().ok()).expect("four bytes"))
}
