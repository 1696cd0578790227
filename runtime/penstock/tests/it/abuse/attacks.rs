//! What attackers send: how it begins, and how it goes on.

use std::time::Duration;

/// Whether an attacker reads what it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    All,
    Nothing,
}

/// One way to do harm.
pub struct Attack {
    pub name: &'static str,
    /// What a connection begins with.
    pub first: Vec<u8>,
    /// What follows, piece by piece; `None` ends the connection.
    pub again: Box<dyn Fn(u32) -> Option<Vec<u8>> + Sync>,
    /// Between two pieces.
    pub pause: Duration,
    pub reads: Reads,
    /// What it is ended by, one or another; none where it is simply served, or closed as any other.
    pub causes: &'static [&'static str],
}

impl Attack {
    fn new(name: &'static str, first: impl AsRef<[u8]>, causes: &'static [&'static str]) -> Attack {
        let (first, pause) = (first.as_ref().to_vec(), Duration::from_millis(10));
        Attack {
            name,
            first,
            again: Box::new(|_| Some(Vec::new())),
            pause,
            reads: Reads::All,
            causes,
        }
    }

    fn then(self, again: impl Fn(u32) -> Vec<u8> + Sync + 'static) -> Attack {
        Attack { again: Box::new(move |number| Some(again(number))), ..self }
    }

    /// The same bytes over and over.
    fn repeat(self, bytes: impl AsRef<[u8]>, times: usize) -> Attack {
        let bytes = bytes.as_ref().repeat(times);
        self.then(move |_| bytes.clone())
    }

    fn once(self) -> Attack {
        Attack { again: Box::new(|_| None), ..self }
    }

    fn slowly(self) -> Attack {
        Attack { pause: Duration::from_millis(200), ..self }
    }

    fn without_reading(self) -> Attack {
        Attack { reads: Reads::Nothing, ..self }
    }
}

/// All of them.
pub fn all() -> Vec<Attack> {
    [stalls(), floods(), streams(), heads(), bodies(), connections()]
        .into_iter()
        .flatten()
        .collect()
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A request's fields as literals that nobody remembers (RFC 7541 §6.2.2).
fn request(method: &str, path: &str) -> Vec<u8> {
    let fields = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "a")];
    let mut block = Vec::new();
    for text in fields.iter().flat_map(|(name, value)| [name, value]).enumerate() {
        if text.0 % 2 == 0 {
            block.push(0);
        }
        block.push(text.1.len() as u8);
        block.extend(text.1.bytes());
    }
    block
}

fn ask(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &request("GET", path))
}

fn open(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &request("POST", path))
}

/// A connection of HTTP/2 that begins with these settings.
fn http2(settings: &[u8]) -> Vec<u8> {
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(SETTINGS, 0, 0, settings)[..]].concat()
}

/// As [`http2`], with a request whose answer takes its time.
fn http2_open() -> Vec<u8> {
    [http2(&[]), open(1, "/hang")].concat()
}

/// Stream numbers of the `number`th piece, `count` each.
fn streams_of(number: u32, count: u32) -> impl Iterator<Item = u32> {
    (number * count..(number + 1) * count).map(|stream| 2 * stream + 1)
}

/// Frames that cost more than they carry.
fn floods() -> Vec<Attack> {
    let endless = frame(HEADERS, END_STREAM, 1, &request("GET", "/"));
    let two_bytes = |bytes: &[u8]| [bytes, bytes].concat();
    let table = two_bytes(&[frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0])].concat());
    vec![
        Attack::new("pings", http2(&[]), &["ping_flood"]).repeat(frame(PING, 0, 0, &[1; 8]), 200),
        Attack::new("answers to pings", http2(&[]), &["frame_flood"])
            .repeat(frame(PING, ACK, 0, &[1; 8]), 200),
        Attack::new("settings", http2(&[]), &["settings_flood"])
            .repeat(frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 9]), 200),
        Attack::new("table sizes", http2(&[]), &["settings_flood"]).repeat(table, 100),
        Attack::new("priorities", http2(&[]), &["frame_flood"])
            .repeat(frame(PRIORITY, 0, 3, &[0, 0, 0, 0, 9]), 200),
        Attack::new("unknown frames", http2(&[]), &["frame_flood"])
            .repeat(frame(0xbe, 0, 0, &[0; 100]), 200),
        Attack::new("goodbyes", http2(&[]), &["frame_flood"])
            .repeat(frame(GOAWAY, 0, 0, &[0; 8]), 200),
        Attack::new("windows", http2(&[]), &["window_flood"])
            .repeat(frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]), 1_000),
        Attack::new("a stream's windows", http2_open(), &["window_flood"])
            .repeat(frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]), 1_000),
        Attack::new("continuations", [http2(&[]), endless].concat(), &["continuation_flood"])
            .repeat(frame(CONTINUATION, 0, 1, &[]), 100),
        Attack::new("empty data", http2_open(), &["empty_data_flood"])
            .repeat(frame(DATA, 0, 1, &[]), 200),
    ]
}

/// A head of 56 KiB: a field of 3,700 bytes that is remembered once, and then named with a byte
/// each.
fn packed(stream: u32) -> Vec<u8> {
    let mut block = request("GET", "/hang");
    if stream == 1 {
        // RFC 7541 §5.1: 127, and the rest in groups of seven bits.
        let rest = 3_700 - 127;
        block.extend([0x40, 1, b'x', 127, (rest % 128) as u8 | 128, (rest / 128) as u8]);
        block.extend([b'y'; 3_700]);
    }
    block.extend([0xbe; 15]);
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &block)
}

/// A length that is not that of the content.
const LENGTH_5: &[u8] = b"\0\x0econtent-length\x015";

/// Streams that are begun for nothing.
fn streams() -> Vec<Attack> {
    let piece = |number, count, one: fn(u32) -> Vec<u8>| -> Vec<u8> {
        streams_of(number, count).flat_map(one).collect()
    };
    vec![
        // CVE-2023-44487.
        Attack::new("rapid resets", http2(&[]), &["reset_flood", "http2_overload"]).then(
            move |number| {
                piece(number, 50, |stream| {
                    [ask(stream, "/hang"), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
                })
            },
        ),
        // CVE-2025-8671: the peer has us reset its streams.
        Attack::new("made resets", http2(&[]), &["http2_overload"]).then(move |number| {
            piece(number, 50, |stream| {
                let says = [request("POST", "/hang"), LENGTH_5.to_vec()].concat();
                let head = frame(HEADERS, END_HEADERS, stream, &says);
                [head, frame(DATA, END_STREAM, stream, b"four")].concat()
            })
        }),
        Attack::new("streams over the limit", http2(&[]), &["http2_overload"])
            .then(move |number| piece(number, 50, |stream| open(stream, "/hang"))),
        // Remembered once, named thousands of times.
        Attack::new("packed heads", http2(&[]), &["http2_overload"]).then(move |number| {
            let mut block = request("GET", "/");
            block.extend([0x40, 1, b'x', 120]);
            block.extend([b'y'; 120]);
            block.extend(vec![0xbe; 16_000]);
            frame(HEADERS, END_HEADERS | END_STREAM, 2 * number + 1, &block)
        }),
        // The same with an endpoint that does not answer: what they unpack to is held.
        Attack::new("packed heads that wait", http2(&[]), &["stream_heads_max"])
            .slowly()
            .then(move |number| piece(number, 50, packed)),
        Attack::new("crumbs of bodies", http2(&[]), &["http2_overload"]).then(move |number| {
            let stream = 2 * number + 1;
            [open(stream, "/hang"), frame(DATA, 0, stream, b"x").repeat(2_000)].concat()
        }),
        Attack::new("a tunnel of nothing", http2(&[]), &["method_not_allowed"]).then(
            move |number| {
                piece(number, 10, |stream| {
                    let mut block = vec![0, 7];
                    block.extend(b":method\x07CONNECT");
                    block.extend([0, 10]);
                    block.extend(b":authority\x05a:443");
                    frame(HEADERS, END_HEADERS, stream, &block)
                })
            },
        ),
    ]
}

/// Who does not read, or not go on.
fn stalls() -> Vec<Attack> {
    let large = |count: u32| (0..count).flat_map(|n| ask(2 * n + 1, "/large")).collect::<Vec<u8>>();
    // SETTINGS_INITIAL_WINDOW_SIZE of 0.
    let shut = [http2(&[0, 4, 0, 0, 0, 0]), large(20)].concat();
    let wide = frame(WINDOW_UPDATE, 0, 0, &[0x70, 0, 0, 0]);
    let open_wide = [http2(&[0, 4, 0x7f, 0xff, 0xff, 0xff]), wide, large(20)].concat();
    let begun = frame(HEADERS, 0, 1, &request("GET", "/"));
    let dribbled = [http2(&[]), begun[..12].to_vec()].concat();
    vec![
        Attack::new("windows of nothing", shut, &["downstream_stalled"]).slowly(),
        Attack::new("a reader of nothing", open_wide, &[]).slowly().without_reading(),
        Attack::new(
            "a head without an end",
            [http2(&[]), begun].concat(),
            &["request_head_timeout"],
        )
        .slowly(),
        Attack::new("a head byte by byte", dribbled, &["request_head_timeout"])
            .slowly()
            .repeat(b"\0", 1),
        Attack::new("half a preface", b"PRI * HTTP/2.0\r\n", &["request_head_timeout"]).slowly(),
        Attack::new("a body that stops", http2_open(), &["request_body_timeout"]).slowly(),
    ]
}

/// Heads of HTTP/1.
fn heads() -> Vec<Attack> {
    const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n";
    vec![
        Attack::new("slowloris", GET, &["request_head_timeout"]).slowly().repeat(b"X: y\r\n", 1),
        Attack::new("slowloris, byte by byte", GET, &["request_head_timeout"])
            .slowly()
            .repeat(b"x", 1),
        Attack::new(
            "a field without an end",
            [GET, b"X: "].concat(),
            &["line_too_long", "head_too_large"],
        )
        .repeat(b"x", 20_000),
        Attack::new("fields without an end", GET, &["too_many_fields", "head_too_large"])
            .repeat(b"X: y\r\n", 1_000),
        Attack::new("a target without an end", b"GET /", &["target_too_long", "line_too_long"])
            .repeat(b"x", 20_000),
        Attack::new("a method without an end", b"", &["invalid_method"]).repeat(b"A", 10_000),
        Attack::new("empty lines", b"", &["too_many_empty_lines"]).repeat(b"\r\n", 1_000),
        Attack::new("no protocol", b"", &["invalid_method"])
            .repeat([0x16, 3, 1, 0, 200, 1, 0, 0], 50),
        Attack::new("pipelined requests", b"", &[])
            .repeat(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 50),
        Attack::new("pipelined requests, nothing read", b"", &["downstream_stalled"])
            .repeat(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n", 50)
            .without_reading(),
    ]
}

/// Bodies of HTTP/1.
fn bodies() -> Vec<Attack> {
    const POST: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\n";
    let chunked = [POST, b"Transfer-Encoding: chunked\r\n\r\n"].concat();
    let length = [POST, b"Content-Length: 100000\r\n\r\n"].concat();
    let ended = [&chunked[..], b"0\r\n"].concat();
    vec![
        Attack::new("a body that never comes", length.clone(), &["request_body_timeout"]).slowly(),
        Attack::new("a body byte by byte", length, &["request_body_timeout"])
            .slowly()
            .repeat(b"x", 1),
        Attack::new("chunks of a byte", chunked.clone(), &[]).repeat(b"1\r\nx\r\n", 500),
        Attack::new("extensions of chunks", chunked.clone(), &["invalid_body"])
            .repeat([b"1;".to_vec(), vec![b'e'; 1_000], b"\r\nx\r\n".to_vec()].concat(), 20),
        Attack::new(
            "a chunk of too much",
            [&chunked[..], b"ffffffffffffffffff\r\n"].concat(),
            &["invalid_body"],
        )
        .slowly(),
        Attack::new("trailers without an end", ended, &["trailers_too_large"])
            .repeat(b"X: y\r\n", 1_000),
        Attack::new(
            "two lengths",
            [POST, b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n"].concat(),
            &["conflicting_content_length", "repeated_content_length"],
        )
        .slowly(),
        Attack::new(
            "expecting, and nothing more",
            [POST, b"Expect: 100-continue\r\nContent-Length: 9\r\n\r\n"].concat(),
            &["request_body_timeout"],
        )
        .slowly(),
    ]
}

/// Connections themselves.
fn connections() -> Vec<Attack> {
    vec![
        Attack::new("connections for nothing", b"", &[]).once(),
        Attack::new("silence", b"", &[]).slowly(),
        Attack::new("a preface, and nothing more", http2(&[]), &[]).slowly(),
    ]
}
