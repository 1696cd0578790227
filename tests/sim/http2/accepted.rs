//! What RFC 9113 and RFC 7541 let a peer send, form by form: each is answered, and the connection
//! goes on. And what they ask to be refused that a peer can only do with a stream that has ended.

use penstock_tests::sim::{Faults, check_few_seeds};

use super::abuse::{GET, HANG, headers, hear, open};
use super::raw::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, PRIORITY,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, fields, frame,
};

const PRIORITIZED: u8 = 0x20;
const STREAM_CLOSED: u32 = 5;
const PROTOCOL_ERROR: u32 = 1;

/// Each row has its streams answered, and its connection goes on.
#[track_caller]
fn check(rows: &[(&str, Vec<u8>, &[u32])]) {
    check_few_seeds("h2 accepted", Faults::CALM, |world| {
        let (all, failures) = hear(world, rows.iter().map(|(_, sent, _)| sent.clone()).collect());
        let wrong: Vec<_> = rows
            .iter()
            .zip(all)
            .filter(|((_, _, streams), (heard, ended))| {
                *ended
                    || heard.goaway().is_some()
                    || streams.iter().any(|&stream| !heard.is_answered(stream))
            })
            .map(|((what, ..), told)| (what, told))
            .collect();
        assert!(wrong.is_empty(), "{wrong:?} {failures:?}");
    });
}

/// A request whose head is `block`, which says everything.
fn block(stream: u32, block: &[u8]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, block)
}

/// GET, http and `/` by their numbers (RFC 7541, appendix A), and then `more`.
fn short(more: &[u8]) -> Vec<u8> {
    block(1, &[&[0x82, 0x86, 0x84, 0x01, 1, b'x'], more].concat())
}

/// The bytes of hexadecimal digits.
fn hex(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).expect("digits"));
    pairs.map(|pair| u8::from_str_radix(pair, 16).expect("hexadecimal")).collect()
}

#[test]
fn frames_of_every_kind_are_taken() {
    let post = frame(HEADERS, END_HEADERS, 1, &fields(GET));
    let more = |bytes: &[u8]| [&headers(1, GET), bytes, &headers(3, GET)].concat();
    let first = |bytes: &[u8]| [bytes, &headers(3, GET)].concat();
    let data = |flags, payload: &[u8]| frame(DATA, flags, 1, payload);
    let priority = |on: u8, weight: u8| first(&frame(PRIORITY, 0, 1, &[on, 0, 0, 0, weight]));
    let setting = |id: u8, value: u32| {
        let one = [&[0, id], &value.to_be_bytes()[..]].concat();
        more(&frame(SETTINGS, 0, 0, &one))
    };
    let wider = |stream| frame(WINDOW_UPDATE, 0, stream, &[0, 0, 0xff, 0xff]);
    let half = fields(GET);
    let (begun, rest) = half.split_at(20);
    check(&[
        // RFC 9113 §6.1: content in one frame or several, with padding or without.
        ("a body", [&post[..], &data(END_STREAM, b"body")].concat(), &[1]),
        ("in pieces", [&post[..], &data(0, b"bo"), &data(END_STREAM, b"dy")].concat(), &[1]),
        ("padded", [&post[..], &data(END_STREAM | PADDED, b"\x02ab\0\0")].concat(), &[1]),
        ("large", [&post[..], &data(END_STREAM, &[0; 16_384])].concat(), &[1]),
        // RFC 9113 §6.2: padding, and what was once a priority.
        (
            "a padded head",
            frame(
                HEADERS,
                END_HEADERS | END_STREAM | PADDED,
                1,
                &[&[3][..], &fields(GET), &[0; 3]].concat(),
            ),
            &[1],
        ),
        (
            "a head with a priority",
            frame(
                HEADERS,
                END_HEADERS | END_STREAM | PRIORITIZED,
                1,
                &[&[0, 0, 0, 0, 255][..], &fields(GET)].concat(),
            ),
            &[1],
        ),
        // RFC 9113 §5.3.2, §6.3: told before, behind and between requests.
        ("priority 1", priority(0, 0), &[3]),
        ("priority 256", priority(0, 255), &[3]),
        ("an exclusive one", priority(0x80, 9), &[3]),
        ("of an ended stream", more(&frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 9])), &[1, 3]),
        ("of a later stream", first(&frame(PRIORITY, 0, 9, &[0, 0, 0, 1, 9])), &[3]),
        // RFC 9113 §6.4, §7: whatever its code.
        ("a reset", first(&[open(1), frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])].concat()), &[3]),
        ("a code", first(&[open(1), frame(RST_STREAM, 0, 1, &[0, 0, 0, 255])].concat()), &[3]),
        // What it asked for may not be answered any more.
        ("a reset of an ended one", more(&frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])), &[3]),
        // RFC 9113 §6.5, §6.5.2: known settings, and unknown ones.
        ("streams", setting(3, 100), &[1, 3]),
        ("a table", setting(1, 8_192), &[1, 3]),
        ("a small window", [setting(4, 1), wider(1), wider(3)].concat(), &[1, 3]),
        ("larger frames", setting(5, 65_536), &[1, 3]),
        ("an unknown setting", setting(0xff, 1), &[1, 3]),
        // RFC 9113 §6.7, §6.8: pings and their answers; who goes may still ask.
        ("a ping", more(&frame(PING, 0, 0, b"12345678")), &[1, 3]),
        ("an answer to none", more(&frame(PING, ACK, 0, b"12345678")), &[1, 3]),
        // RFC 9113 §6.9: windows, of streams that have ended too.
        ("the window", more(&frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])), &[1, 3]),
        ("a stream's window", more(&frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])), &[1, 3]),
        // RFC 9113 §6.10.
        (
            "a continuation",
            [
                frame(HEADERS, END_STREAM, 1, begun),
                frame(CONTINUATION, 0, 1, &[]),
                frame(CONTINUATION, END_HEADERS, 1, rest),
            ]
            .concat(),
            &[1],
        ),
        // RFC 9113 §4.1, §5.5: what has no meaning is ignored.
        ("a kind", more(&frame(0x16, 0, 0, b"12345678")), &[1, 3]),
        ("a kind on a stream", more(&frame(0x16, 0xff, 1, b"12345678")), &[1, 3]),
        ("a flag", more(&frame(PING, 0x16, 0, b"12345678")), &[1, 3]),
        ("a reserved bit", more(&frame(PING, 0, 0x8000_0000, b"12345678")), &[1, 3]),
    ]);
}

#[test]
fn requests_of_every_form_are_answered() {
    let method = |name| headers(1, &[(":method", name), GET[1], GET[2], GET[3]]);
    let post = frame(HEADERS, END_HEADERS, 1, &fields(GET));
    let trailers = frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields(&[("x-end", "1")]));
    check(&[
        ("GET", method("GET"), &[1]),
        ("HEAD", method("HEAD"), &[1]),
        ("a method of its own", method("PURGE"), &[1]),
        ("trailers", [&post[..], &frame(DATA, 0, 1, b"body"), &trailers].concat(), &[1]),
    ]);
}

/// RFC 7541: every way to say a field, in the examples of its appendix C among others.
#[test]
fn fields_in_every_form_are_read() {
    const KEY: &str = "8825a849e95ba97d7f";
    const VALUE: &str = "8925a849e95bb8e8b4bf";
    const HOST: &str = "8cf1e3c2e5f23a6ba0ab90f4ff";
    let named = |form: &str| short(&hex(&format!("{form}{KEY}{VALUE}")));
    let plain = |form: &str| short(&hex(&format!("{form}0878637573746f6d310161")));
    let hosted = |form: &str| block(1, &hex(&format!("828684{form}{HOST}")));
    let series = |blocks: [&str; 3]| -> Vec<u8> {
        let numbered = blocks.iter().zip([1, 3, 5]);
        numbered.flat_map(|(digits, stream)| block(stream, &hex(digits))).collect()
    };
    let without_huffman = series([
        "828684410f7777772e6578616d706c652e636f6d",
        "828684be58086e6f2d6361636865",
        "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
    ]);
    let with_huffman = series([
        "828684418cf1e3c2e5f23a6ba0ab90f4ff",
        "828684be5886a8eb10649cbf",
        "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
    ]);
    check(&[
        ("C.3", without_huffman, &[1, 3, 5]),
        ("C.4", with_huffman, &[1, 3, 5]),
        // §6.2.1: remembered; §6.2.2: not; §6.2.3: never, by anybody.
        ("remembered", plain("40"), &[1]),
        ("not remembered", plain("00"), &[1]),
        ("never remembered", plain("10"), &[1]),
        ("remembered, packed", named("40"), &[1]),
        ("not remembered, packed", named("00"), &[1]),
        ("never remembered, packed", named("10"), &[1]),
        ("a known name, remembered", hosted("41"), &[1]),
        ("a known name", hosted("01"), &[1]),
        ("a known name, never", hosted("11"), &[1]),
        // §6.3: a smaller table, and back again, in front of everything.
        ("a table of none", block(1, &hex("20828684010178")), &[1]),
        ("and of 4 KiB", block(1, &hex("203fe11f828684010178")), &[1]),
    ]);
}

/// RFC 9113 §5.1, closed: an error of the stream or of the connection, and what was under way of
/// a stream that was reset may come.
#[test]
fn a_stream_that_has_ended_takes_nothing_more() {
    let reset = [open(1), frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])].concat();
    let ended = headers(1, HANG);
    let behind = [
        ("data", frame(DATA, END_STREAM, 1, b"x")),
        ("a head", headers(1, GET)),
        ("a continuation", frame(CONTINUATION, END_HEADERS, 1, &fields(GET))),
    ];
    let rows = |before: &[u8]| behind.clone().map(|(what, more)| (what, [before, &more].concat()));
    check_few_seeds("h2 ended streams", Faults::CALM, |world| {
        let rows = [rows(&reset), rows(&ended)].concat();
        let (all, _) = hear(world, rows.iter().map(|(_, sent)| sent.clone()).collect());
        let wrong: Vec<_> = rows
            .iter()
            .zip(&all)
            .filter(|(_, (heard, ended))| {
                let codes = [Some(STREAM_CLOSED), Some(PROTOCOL_ERROR)];
                let refused = codes.contains(&heard.reset(1)) || codes.contains(&heard.goaway());
                !refused || (*ended && heard.goaway().is_none())
            })
            .map(|((what, _), told)| (what, told))
            .collect();
        assert!(wrong.is_empty(), "{wrong:?}");
    });
}

/// Who has said that it goes, whatever the reason, is answered what it asked before.
#[test]
fn a_goodbye_of_the_peer_ends_nothing_that_is_under_way() {
    check_few_seeds("h2 peer's goaway", Faults::CALM, |world| {
        let goodbye = |code| frame(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, code]);
        let rows = [0, 255].map(|code| [headers(1, GET), goodbye(code)].concat());
        let (all, _) = hear(world, rows.to_vec());
        assert!(all.iter().all(|(heard, _)| heard.is_answered(1)), "{all:?}");
    });
}
