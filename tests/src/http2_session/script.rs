//! Bytes as what somebody says on a connection: frames of every kind with bent fields, any other
//! bytes, and pauses.

use std::collections::BTreeMap;
use std::time::Duration;

use super::HOST;
use crate::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, PRIORITY,
    PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE, fields, frame,
};

/// Bytes that decide what is done. Behind their end are zeros.
#[derive(Debug)]
pub(super) struct Source {
    bytes: Vec<u8>,
    at: usize,
}

impl Source {
    pub(super) fn new(bytes: &[u8]) -> Source {
        Source { bytes: bytes.to_vec(), at: 0 }
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    pub(super) fn byte(&mut self) -> u8 {
        self.at += 1;
        self.bytes.get(self.at - 1).copied().unwrap_or_default()
    }

    fn word(&mut self) -> usize {
        usize::from(u16::from_be_bytes([self.byte(), self.byte()]))
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.byte()).collect()
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::from(self.byte()) % all.len()]
    }
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// It asks.
    Client,
    /// It answers.
    Server,
}

/// What is done next.
pub(super) enum Step {
    /// These bytes are sent.
    Say(Vec<u8>),
    /// What was said leaves, and this time passes.
    Wait(Duration),
    /// It reads nothing more, or again.
    Deaf(bool),
    /// It waits for another request.
    Await,
    /// It ends its direction.
    Finish,
}

/// One side of a connection as a script has it.
pub(super) struct Speaker {
    side: Side,
    /// The stream that was opened last.
    newest: u32,
    /// What was asked for on which stream, as long as every byte of it was as it should be.
    pub(super) asked: BTreeMap<u32, u64>,
    /// Something was said that may mean anything.
    pub(super) bent: bool,
    /// Bytes that it may still say.
    left: usize,
}

impl Speaker {
    pub(super) fn new(side: Side) -> Speaker {
        let (asked, left) = (BTreeMap::new(), SAID_BYTES_MAX);
        Speaker { side, newest: 0, asked, bent: false, left }
    }

    /// The next step; `seen` is the stream that the other side opened last.
    pub(super) fn step(&mut self, source: &mut Source, seen: u32) -> Step {
        if self.side == Side::Server {
            self.newest = seen;
        }
        let op = source.byte();
        let mut bytes = match op & 15 {
            0..=3 => self.head(source),
            4 | 5 => self.data(source),
            6 => settings(source),
            7 => frame(WINDOW_UPDATE, 0, self.stream(source), &source.one_of(NUMBERS)),
            8 => frame(RST_STREAM, 0, self.stream(source), &source.one_of(NUMBERS)),
            9 => frame(PING, source.byte() & ACK, 0, b"fuzzping"),
            10 => goaway(source),
            11 => self.continuation(source),
            12 => self.odd(source),
            13 => self.any_frame(source),
            14 => {
                self.bent = true;
                let count = source.byte();
                source.bytes(usize::from(count))
            }
            _ => return control(source),
        };
        if op & BEND != 0 {
            self.bent = true;
            let at = source.word() % bytes.len().max(1);
            let bit = source.byte();
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << (bit & 7);
            }
        }
        if op & REPEAT != 0 {
            let times = usize::from(source.byte()) * 8;
            bytes = bytes.repeat(times.clamp(1, REPEATED_BYTES_MAX / bytes.len().max(1) + 1));
        }
        bytes.truncate(self.left);
        self.left -= bytes.len();
        self.bent |= self.left == 0;
        Step::Say(bytes)
    }

    /// A stream, mostly one that there is.
    fn stream(&self, source: &mut Source) -> u32 {
        match source.byte() {
            0..=127 => self.newest,
            odd @ 128..=239 => 2 * u32::from(odd - 128) + 1,
            other => [0, 2, 4, u32::MAX, i32::MAX as u32][usize::from(other) % 5],
        }
    }

    fn head(&mut self, source: &mut Source) -> Vec<u8> {
        let shape = source.byte();
        let opens = self.side == Side::Client && shape < TRAILERS;
        let stream = if opens && source.byte() < 224 {
            self.newest += 2 - (self.newest + 1) % 2;
            self.newest
        } else {
            self.stream(source)
        };
        let (mut list, extra) = match self.side {
            Side::Client => (question(source), QUESTION_FIELDS),
            Side::Server => (vec![(":status", source.one_of(STATUSES))], ANSWER_FIELDS),
        };
        let id = format!("{stream:x}");
        if shape >= TRAILERS {
            list.clear();
        } else if self.side == Side::Client {
            list.push(("x-id", &id));
        }
        let count = source.byte() % 4;
        list.extend((0..count).map(|_| source.one_of(extra)));
        let at = usize::from(shape) % list.len().max(1);
        match shape {
            224..240 if !list.is_empty() => list.insert(at, list[at]),
            240.. if !list.is_empty() => drop(list.remove(at)),
            _ => {}
        }
        let flags = source.one_of(HEAD_FLAGS);
        let raw = usize::from(source.byte());
        // Whatever HPACK can do: indices, sizes of tables, Huffman's code.
        let mut block = if raw > 224 { source.bytes(raw - 224) } else { Vec::new() };
        self.bent |= !block.is_empty() || flags & PADDED != 0;
        if flags & (PADDED | PRIORITY_FLAG) == PRIORITY_FLAG {
            block.splice(0..0, [0, 0, 0, 0, 16]);
        }
        block.extend(fields(&list));
        if list.iter().filter(|(name, _)| *name == "x-id").count() == 1 {
            self.asked.entry(stream).or_insert(u64::from(stream));
        }
        frame(HEADERS, flags, stream, &block)
    }

    fn data(&mut self, source: &mut Source) -> Vec<u8> {
        let stream = self.stream(source);
        let flags = source.one_of(&[0, END_STREAM, 0, END_STREAM, PADDED, PADDED | END_STREAM]);
        let length = source.one_of(&[0, 1, 5, 9, 100, 1_000, 16_384, 16_385]);
        let first = source.byte();
        // Mostly the beginning of a message of gRPC.
        let mut payload = [first & 0x83, 0, 0, 0, 4].to_vec();
        payload.resize(length, b'x');
        frame(DATA, flags, stream, &payload)
    }

    fn continuation(&mut self, source: &mut Source) -> Vec<u8> {
        self.bent = true;
        let extra = if self.side == Side::Client { QUESTION_FIELDS } else { ANSWER_FIELDS };
        let field = source.one_of(extra);
        let flags = source.byte() & END_HEADERS;
        let stream = self.stream(source);
        frame(CONTINUATION, flags, stream, &fields(&[field]))
    }

    /// Kinds that are not for this, or for nothing.
    fn odd(&mut self, source: &mut Source) -> Vec<u8> {
        let kind = source.one_of(&[PRIORITY, PUSH_PROMISE, 10, 12, 16, 254]);
        self.bent |= kind == PUSH_PROMISE;
        let length = source.one_of(&[5, 4, 0, 9]);
        let stream = self.stream(source);
        frame(kind, END_HEADERS, stream, &vec![0; length])
    }

    fn any_frame(&mut self, source: &mut Source) -> Vec<u8> {
        self.bent = true;
        let (kind, flags) = (source.byte() % 11, source.byte());
        let stream = self.stream(source);
        let length = usize::from(source.byte());
        frame(kind, flags, stream, &source.bytes(length))
    }
}

fn settings(source: &mut Source) -> Vec<u8> {
    let count = source.byte();
    let pair = |_| [&[0, source.byte() % 10], &source.one_of(NUMBERS)[..]].concat();
    let payload: Vec<u8> = (0..count % 4).flat_map(pair).collect();
    let ack = if payload.is_empty() { count >> 7 } else { 0 };
    frame(SETTINGS, ack, 0, &payload)
}

fn goaway(source: &mut Source) -> Vec<u8> {
    let (last, reason) = (source.one_of(NUMBERS), source.one_of(NUMBERS));
    frame(GOAWAY, 0, 0, &[last, reason].concat())
}

fn question(source: &mut Source) -> Vec<(&'static str, &'static str)> {
    vec![
        (
            ":method",
            source.one_of(&["GET", "POST", "HEAD", "PUT", "CONNECT", "OPTIONS", "get", ""]),
        ),
        (":scheme", source.one_of(&["http", "http", "https", "ftp"])),
        (":path", source.one_of(&["/", "/a?b", "/sim.Service/Call", "*", ""])),
        (":authority", source.one_of(&[HOST, HOST, HOST, "elsewhere.test", "a b"])),
    ]
}

fn control(source: &mut Source) -> Step {
    match source.byte() {
        byte @ 0..=127 => Step::Wait(Duration::from_millis(WAITS_MS[usize::from(byte) % 8])),
        128..=199 => Step::Await,
        200..=219 => Step::Deaf(true),
        220..=239 => Step::Deaf(false),
        240.. => Step::Finish,
    }
}

const REPEAT: u8 = 0x80;
const BEND: u8 = 0x40;
const PRIORITY_FLAG: u8 = 0x20;
/// Shapes of heads from here on have no pseudo-header fields.
const TRAILERS: u8 = 176;

const HEAD_FLAGS: &[u8] = &[
    END_HEADERS | END_STREAM,
    END_HEADERS,
    END_HEADERS | END_STREAM,
    END_HEADERS,
    END_STREAM,
    0,
    END_HEADERS | PADDED,
    END_HEADERS | PRIORITY_FLAG,
    0xff,
];

const WAITS_MS: [u64; 8] = [0, 1, 3, 10, 50, 300, 2_100, 11_000];

/// Window sizes, errors, limits: those that mean something, and their neighbours.
const NUMBERS: &[[u8; 4]] = &[
    0_u32.to_be_bytes(),
    1_u32.to_be_bytes(),
    2_u32.to_be_bytes(),
    3_u32.to_be_bytes(),
    7_u32.to_be_bytes(),
    8_u32.to_be_bytes(),
    11_u32.to_be_bytes(),
    100_u32.to_be_bytes(),
    4_096_u32.to_be_bytes(),
    16_383_u32.to_be_bytes(),
    16_384_u32.to_be_bytes(),
    65_535_u32.to_be_bytes(),
    0x00ff_ffff_u32.to_be_bytes(),
    0x0100_0000_u32.to_be_bytes(),
    0x7fff_ffff_u32.to_be_bytes(),
    0x8000_0000_u32.to_be_bytes(),
    u32::MAX.to_be_bytes(),
];

const STATUSES: &[&str] = &[
    "200", "200", "200", "204", "206", "304", "100", "103", "101", "404", "429", "503", "000",
    "99", "1000", "2OO", "",
];

const QUESTION_FIELDS: &[(&str, &str)] = &[
    (":protocol", "websocket"),
    (":protocol", "other"),
    (":status", "200"),
    ("content-length", "5"),
    ("content-length", "0"),
    ("content-length", "5, 6"),
    ("te", "trailers"),
    ("te", "gzip"),
    ("transfer-encoding", "chunked"),
    ("connection", "close"),
    ("cookie", "a=b"),
    ("host", "other.test"),
    ("trailer", "x-end"),
    ("expect", "100-continue"),
    ("content-type", "application/grpc"),
    ("content-type", "application/grpc-web+proto"),
    ("content-type", "application/grpc-web-text"),
    ("grpc-timeout", "10m"),
    ("sec-websocket-version", "13"),
    ("x-forwarded-for", "1.2.3.4, 5"),
    ("X-Upper", "1"),
    ("x a", "1"),
    ("x-line", "a\r\nb: c"),
    ("", "nameless"),
    ("x-forty", "forty letters and all of them of no use"),
];

const ANSWER_FIELDS: &[(&str, &str)] = &[
    (":status", "200"),
    (":path", "/"),
    ("content-length", "5"),
    ("content-length", "0"),
    ("content-length", "5, 6"),
    ("content-length", "16384"),
    ("transfer-encoding", "chunked"),
    ("connection", "close"),
    ("content-type", "application/grpc"),
    ("grpc-status", "0"),
    ("grpc-status", "14"),
    ("grpc-message", "%zz"),
    ("retry-after", "1"),
    ("retry-after", "99999999999999999999"),
    ("retry-after", "Wed, 01 Jan 2025 00:00:01 GMT"),
    ("trailer", "x-end"),
    ("set-cookie", "a=b"),
    ("upgrade", "websocket"),
    ("sec-websocket-accept", "x"),
    ("X-Upper", "1"),
    ("x-line", "a\r\nb: c"),
    ("", "nameless"),
];

/// What one side may say.
const SAID_BYTES_MAX: usize = 256 * 1024;
/// What a repeated frame comes to.
const REPEATED_BYTES_MAX: usize = 64 * 1024;
