//! What no client of `h2` would send, and what becomes of it: the error of RFC 9113, the name it
//! is counted under, and nothing left behind.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use penstock_env::Env;
use penstock_proxy::Cause;
use penstock_tests::sim::{Faults, Limits, World, check_few_seeds};

use super::raw::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, Heard, PADDED, PING,
    PRIORITY, PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE, fields, frame, say,
};
use crate::http::origin::HOST;
use crate::proxy::{Proxy, config};

const NO_ERROR: u32 = 0;
const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const FRAME_SIZE_ERROR: u32 = 6;
pub(super) const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
pub(super) const ENHANCE_YOUR_CALM: u32 = 11;

/// Answered 404 at once.
pub(super) const GET: &[(&str, &str)] =
    &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "elsewhere.test")];
/// Never answered: its origin is silent.
pub(super) const HANG: &[(&str, &str)] = &[GET[0], GET[1], GET[2], (":authority", HOST)];

/// What came back, and whether the connection ended.
pub(super) type Told = (Heard, bool);

/// What came back for each of `sent`, and what was counted.
pub(super) fn hear(world: &World, sent: Vec<Vec<u8>>) -> (Vec<Told>, Vec<(Cause, u64)>) {
    let (heard, failures, _) = hear_and_reach(world, "", sent);
    (heard, failures)
}

/// As [`hear`], with more in the config, and how many connections the endpoint got.
pub(super) fn hear_and_reach(
    world: &World,
    blocks: &str,
    sent: Vec<Vec<u8>>,
) -> (Vec<Told>, Vec<(Cause, u64)>, usize) {
    let client = world.node("client", Limits::AMPLE);
    let (origin, silent) = (client.address(9), Rc::new(RefCell::new(Vec::new())));
    let accepted = silent.clone();
    client.listen(&origin, move |stream| accepted.borrow_mut().push(stream));
    let proxy = Proxy::serve(world, &config(&[origin], "", blocks));
    let (heard, count) = (Rc::new(RefCell::new(BTreeMap::new())), sent.len());
    for (number, bytes) in sent.into_iter().enumerate() {
        let (env, front, heard) = (client.clone(), proxy.front.clone(), heard.clone());
        client.spawn(async move {
            let answer = say(&env, &front, bytes, Duration::from_secs(20)).await;
            heard.borrow_mut().insert(number, answer);
        });
    }
    let done = || heard.borrow().len() == count || world.panicked().is_some();
    assert!(world.run_until(Duration::from_secs(600), done), "{:#?}", world.leaks());
    assert_eq!(world.panicked(), None);
    let failures = proxy.failures();
    let reached = silent.take().len();
    proxy.end(world);
    (heard.take().into_values().collect(), failures, reached)
}

/// What is sent, and the error that it has to bring about.
type Rows<'a> = &'a [(&'a str, Vec<u8>, u32)];

/// Each row ends its connection, and is counted once under `cause`.
fn check_connections(rows: Rows<'_>, cause: Cause) {
    check_few_seeds("h2 connection error", Faults::CALM, |world| {
        let (all, failures) = hear(world, rows.iter().map(|(_, sent, _)| sent.clone()).collect());
        let wrong: Vec<_> = rows
            .iter()
            .zip(all)
            .filter(|((_, _, error), (heard, ended))| !ended || heard.goaway() != Some(*error))
            .collect();
        assert!(wrong.is_empty(), "{wrong:?}");
        let counted = failures.iter().find(|(counted, _)| *counted == cause);
        assert_eq!(counted, Some(&(cause, rows.len() as u64)), "{failures:?}");
    });
}

/// Each row resets stream 1, and a request behind it is answered.
fn check_streams(rows: Rows<'_>) {
    check_few_seeds("h2 stream error", Faults::CALM, |world| {
        let and_more = |sent: &[u8]| [sent, &headers(3, GET)].concat();
        let (all, _) = hear(world, rows.iter().map(|(_, sent, _)| and_more(sent)).collect());
        let wrong: Vec<_> = rows
            .iter()
            .zip(all)
            .filter(|((_, _, error), (heard, ended))| {
                *ended || heard.reset(1) != Some(*error) || !heard.is_answered(3)
            })
            .collect();
        assert!(wrong.is_empty(), "{wrong:?}");
    });
}

pub(super) fn headers(stream: u32, list: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &fields(list))
}

fn with(more: &[(&str, &str)]) -> Vec<u8> {
    headers(1, &[GET, more].concat())
}

pub(super) fn open(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &fields(HANG))
}

#[test]
fn floods_are_ended_by_name() {
    let calm = |what, bytes, cause| check_connections(&[(what, bytes, ENHANCE_YOUR_CALM)], cause);
    calm("pings", frame(PING, 0, 0, &[7; 8]).repeat(150), Cause::PingFlood);
    calm("settings", frame(SETTINGS, 0, 0, &[]).repeat(80), Cause::SettingsFlood);
    calm("answers to pings", frame(PING, ACK, 0, &[7; 8]).repeat(150), Cause::FrameFlood);
    calm("windows", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]).repeat(12_000), Cause::WindowFlood);
    let of_a_stream = frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]).repeat(12_000);
    calm("a stream's windows", [open(1), of_a_stream].concat(), Cause::WindowFlood);
    calm("priority", frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 9]).repeat(150), Cause::FrameFlood);
    calm("unknown kinds", frame(0xfe, 0, 0, b"grease").repeat(150), Cause::FrameFlood);
    let empty = [open(1), frame(DATA, 0, 1, &[]).repeat(150)].concat();
    calm("empty data", empty, Cause::EmptyDataFlood);
    // CVE-2024-27316 and its kin: a head without an end, in frames that hold something or not.
    for more in [fields(&[("x", "y")]), Vec::new()] {
        let begun = frame(HEADERS, END_STREAM, 1, &fields(GET));
        let endless = [begun, frame(CONTINUATION, 0, 1, &more).repeat(20)].concat();
        calm("continuations", endless, Cause::ContinuationFlood);
    }
}

/// Frames that hold a byte each: what `h2` keeps of them is far more than their windows say.
#[test]
fn content_in_crumbs_ends_the_connection() {
    let crumbs = |flags, payload: &[u8]| {
        let streams = (0..20).map(|number| 2 * number + 1);
        let of_one = |stream| {
            let data = frame(DATA, flags, stream, payload).repeat(2_000);
            [open(stream), data].concat()
        };
        streams.flat_map(of_one).collect::<Vec<u8>>()
    };
    check_connections(&[("crumbs", crumbs(0, b"x"), ENHANCE_YOUR_CALM)], Cause::Http2Overload);
    // No content at all, but a byte that says how much padding there is.
    check_connections(&[("padded", crumbs(PADDED, &[0]), ENHANCE_YOUR_CALM)], Cause::Http2Overload);
}

/// RFC 9113 §5.1.2: what is over the limit is refused, and costs us next to nothing; whoever goes
/// on with that is ended.
#[test]
fn streams_over_the_limit_are_refused_and_then_the_connection() {
    check_few_seeds("h2 many streams", Faults::CALM, |world| {
        let bytes = |count: u32| (0..count).flat_map(|number| open(2 * number + 1)).collect();
        let (all, failures) = hear(world, vec![bytes(300), bytes(900)]);
        let (heard, ended) = &all[0];
        assert!(!ended && heard.reset(201) == Some(REFUSED_STREAM), "{heard:?}");
        assert_ne!(heard.reset(199), Some(REFUSED_STREAM));
        let (heard, ended) = &all[1];
        assert!(*ended && heard.goaway() == Some(ENHANCE_YOUR_CALM), "{heard:?}");
        assert!(failures.contains(&(Cause::Http2Overload, 1)), "{failures:?}");
    });
}

/// The slowloris of HTTP/2: a head that never ends, behind which nothing else can come (RFC 9113
/// §4.3).
#[test]
fn a_head_that_does_not_end_ends_the_connection() {
    let begun = frame(HEADERS, END_STREAM, 1, &fields(GET));
    let whole = frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields(GET));
    let continued = [begun.clone(), frame(CONTINUATION, 0, 1, &fields(&[("x", "y")]))].concat();
    let behind = [open(1), frame(HEADERS, 0, 3, &fields(GET))].concat();
    let rows = [
        ("no end of the head", begun, ENHANCE_YOUR_CALM),
        ("half a frame", whole[..whole.len() / 2].to_vec(), ENHANCE_YOUR_CALM),
        ("a continuation, and no end", continued, ENHANCE_YOUR_CALM),
        ("behind a request", behind, ENHANCE_YOUR_CALM),
    ];
    check_connections(&rows, Cause::RequestHeadTimeout);
}

/// A window of nothing: the answer waits for as long as a reader may stall, on its stream alone.
#[test]
fn an_answer_that_gets_no_window_is_given_up() {
    check_few_seeds("h2 no window", Faults::CALM, |world| {
        let client = world.node("client", Limits::AMPLE);
        let text = config(&[client.address(9)], "timeouts.write_stall = \"5s\"\n", "");
        let proxy = Proxy::serve(world, &text);
        let (env, front, heard) =
            (client.clone(), proxy.front.clone(), Rc::new(RefCell::new(None)));
        let told = heard.clone();
        client.spawn(async move {
            let none = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
            let bytes = [none, headers(1, GET), headers(3, GET)].concat();
            *told.borrow_mut() = Some(say(&env, &front, bytes, Duration::from_secs(20)).await);
        });
        assert!(world.run_until(Duration::from_secs(600), || heard.borrow().is_some()));
        let failures = proxy.failures();
        proxy.end(world);
        let (heard, ended) = heard.take().expect("an answer");
        assert!(!ended && heard.is_answered(1) && heard.is_answered(3), "{heard:?}");
        assert_eq!((heard.reset(1), heard.reset(3)), (Some(CANCEL), Some(CANCEL)));
        assert!(failures.contains(&(Cause::DownstreamStalled, 2)), "{failures:?}");
    });
}

/// CVE-2023-44487: each request is given up as soon as it was sent.
#[test]
fn a_rapid_reset_ends_the_connection() {
    let streams = (0..300).map(|number| 2 * number + 1);
    let bytes = streams.flat_map(|stream| {
        [headers(stream, GET), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
    });
    let bytes: Vec<u8> = bytes.collect();
    check_few_seeds("h2 rapid reset", Faults::CALM, |world| {
        let (all, failures) = hear(world, vec![bytes.clone()]);
        assert!(all[0].1, "it goes on");
        assert_eq!(all[0].0.goaway(), Some(ENHANCE_YOUR_CALM));
        // Whoever is first: our count of frames, or that of `h2` of streams nobody saw.
        let named = [Cause::ResetFlood, Cause::Http2Overload];
        assert!(failures.iter().any(|(cause, _)| named.contains(cause)), "{failures:?}");
    });
}

/// Requests whose content is shorter than they say: we have to reset each (RFC 9113 §8.1.1).
fn made_resets(count: u32) -> Vec<u8> {
    let says = fields(&[HANG, &[("content-length", "5")]].concat());
    let one = |stream| {
        let head = frame(HEADERS, END_HEADERS, stream, &says);
        [head, frame(DATA, END_STREAM, stream, b"four")].concat()
    };
    (0..count).flat_map(|number| one(2 * number + 1)).collect()
}

/// CVE-2025-8671, MadeYouReset: the peer has us reset each of its streams.
#[test]
fn a_peer_that_makes_us_reset_streams_is_ended() {
    let bytes = made_resets(600);
    check_connections(&[("lengths", bytes, ENHANCE_YOUR_CALM)], Cause::Http2Overload);
}

/// The same, and given up by the peer itself (CVE-2023-44487): nothing is done for what is over.
#[test]
fn a_stream_that_is_over_before_its_turn_reaches_no_endpoint() {
    let given_up = |stream| {
        let head = frame(HEADERS, END_HEADERS, stream, &fields(HANG));
        [head, frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
    };
    let given_up: Vec<u8> = (0..20).flat_map(|number| given_up(2 * number + 1)).collect();
    let rows = [(made_resets(20), Cause::InvalidBody), (given_up, Cause::DownstreamGone)];
    for (bytes, cause) in rows {
        check_few_seeds("h2 over before its turn", Faults::CALM, |world| {
            let (_, failures, reached) = hear_and_reach(world, "", vec![bytes.clone()]);
            let counted = failures.iter().find(|(counted, _)| *counted == cause);
            // Where a read ends behind a head, that stream has its turn.
            let most = counted.is_some_and(|(_, times)| *times >= 15);
            assert!(most && reached <= 5, "{reached} of 20, {failures:?}");
        });
    }
}

/// RFC 7541 §6.3: a table larger than we allow.
const LARGE_TABLE: [u8; 6] = [0x3f, 0xe1, 0xff, 0xff, 0xff, 0x07];
/// RFC 7541 §5.2: more padding than a code's, which is that of the end.
const NO_CODE: [u8; 6] = [0, 0x82, 0xff, 0xff, 1, b'x'];

#[test]
fn what_breaks_the_connections_rules_ends_it() {
    let continued = [frame(HEADERS, 0, 1, &fields(GET)), frame(PING, 0, 0, &[0; 8])].concat();
    let rows = [
        // RFC 9113 §6.1, §6.2, §6.3, §6.4: frames that need a stream, or must not have one
        // (§6.5, §6.7).
        ("data of no stream", frame(DATA, 0, 0, b"x"), PROTOCOL_ERROR),
        ("a head of no stream", frame(HEADERS, END_HEADERS, 0, &fields(GET)), PROTOCOL_ERROR),
        ("a priority of none", frame(PRIORITY, 0, 0, &[0; 5]), PROTOCOL_ERROR),
        ("a reset of no stream", frame(RST_STREAM, 0, 0, &[0; 4]), PROTOCOL_ERROR),
        ("settings of a stream", frame(SETTINGS, 0, 1, &[]), PROTOCOL_ERROR),
        ("a ping of a stream", frame(PING, 0, 1, &[0; 8]), PROTOCOL_ERROR),
        ("an end of a stream", frame(GOAWAY, 0, 1, &[0; 8]), PROTOCOL_ERROR),
        // RFC 9113 §5.1.1: a stream of a client has an odd number, larger than those before.
        ("an even stream", open(2), PROTOCOL_ERROR),
        ("an earlier stream", [open(5), open(3)].concat(), PROTOCOL_ERROR),
        // RFC 9113 §5.1: frames on a stream that was never begun.
        ("data before a head", frame(DATA, 0, 5, b"x"), PROTOCOL_ERROR),
        ("a window before a head", frame(WINDOW_UPDATE, 0, 5, &[0, 0, 0, 1]), PROTOCOL_ERROR),
        ("a reset before a head", frame(RST_STREAM, 0, 5, &[0; 4]), PROTOCOL_ERROR),
        // RFC 9113 §6.2, §6.10: nothing between a head and its continuation.
        ("a ping in a head", continued, PROTOCOL_ERROR),
        ("a continuation of nothing", frame(CONTINUATION, END_HEADERS, 1, &[]), PROTOCOL_ERROR),
        // RFC 9113 §8.4: a client does not push.
        ("a push", frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2]), PROTOCOL_ERROR),
        // RFC 9113 §6.1, §6.2: more padding than there is payload.
        ("padding", [open(1), frame(DATA, PADDED, 1, &[9, 0])].concat(), PROTOCOL_ERROR),
        ("padded head", frame(HEADERS, END_HEADERS | PADDED, 1, &[200, 0x82]), PROTOCOL_ERROR),
        // RFC 9113 §6.5.2.
        ("a push of 2", frame(SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 2]), PROTOCOL_ERROR),
        ("small frames", frame(SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 1]), PROTOCOL_ERROR),
        ("large frames", frame(SETTINGS, 0, 0, &[0, 5, 1, 0, 0, 0]), PROTOCOL_ERROR),
        // `h2` says no more than PROTOCOL_ERROR, where FLOW_CONTROL_ERROR is asked for.
        ("a large window", frame(SETTINGS, 0, 0, &[0, 4, 0x80, 0, 0, 0]), PROTOCOL_ERROR),
        // RFC 9113 §6.9, §6.9.1.
        ("a window of none", frame(WINDOW_UPDATE, 0, 0, &[0; 4]), PROTOCOL_ERROR),
        (
            "a window over its end",
            frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]).repeat(2),
            FLOW_CONTROL_ERROR,
        ),
        // RFC 9113 §4.2, and the sizes of §6.3 to §6.9.
        ("settings of 5 bytes", frame(SETTINGS, 0, 0, &[0; 5]), FRAME_SIZE_ERROR),
        ("an answer with settings", frame(SETTINGS, ACK, 0, &[0; 6]), FRAME_SIZE_ERROR),
        ("a ping of 7 bytes", frame(PING, 0, 0, &[0; 7]), FRAME_SIZE_ERROR),
        ("a window of 5 bytes", frame(WINDOW_UPDATE, 0, 0, &[0; 5]), FRAME_SIZE_ERROR),
        ("a priority of 4 bytes", frame(PRIORITY, 0, 1, &[0; 4]), FRAME_SIZE_ERROR),
        ("a short reset", [open(1), frame(RST_STREAM, 0, 1, &[0; 3])].concat(), FRAME_SIZE_ERROR),
        ("a large frame", [open(1), frame(DATA, 0, 1, &[0; 16_385])].concat(), FRAME_SIZE_ERROR),
        // RFC 7541 §2.3.3, §6.1: an index that is none. `h2` does not say COMPRESSION_ERROR
        // (RFC 9113 §4.3) for what it can't unpack.
        ("index 0", frame(HEADERS, END_HEADERS, 1, &[0x80]), PROTOCOL_ERROR),
        ("a table of 2 GiB", frame(HEADERS, END_HEADERS, 1, &LARGE_TABLE), PROTOCOL_ERROR),
        ("no Huffman code", frame(HEADERS, END_HEADERS, 1, &NO_CODE), PROTOCOL_ERROR),
        ("an endless number", frame(HEADERS, END_HEADERS, 1, &[0xff; 20]), PROTOCOL_ERROR),
        ("index 254", frame(HEADERS, END_HEADERS, 1, &[0xff, 0x7f]), PROTOCOL_ERROR),
        // RFC 9113 §8.2.1, §8.3: a malformed request; `h2` finds it while it unpacks the head, and
        // then there is no telling what the next would be.
        ("an upper case name", with(&[("X-Upper", "1")]), PROTOCOL_ERROR),
        ("an unknown pseudo-field", with(&[(":unknown", "1")]), PROTOCOL_ERROR),
        // RFC 9113 §6.9: `h2` makes no difference between windows of streams and the connection's.
        (
            "a stream's window",
            [open(1), frame(WINDOW_UPDATE, 0, 1, &[0; 4])].concat(),
            PROTOCOL_ERROR,
        ),
        // RFC 9113 §5.1: half-closed (remote). The stream's error would be STREAM_CLOSED.
        ("data at the end", [headers(1, HANG), frame(DATA, 0, 1, b"x")].concat(), PROTOCOL_ERROR),
    ];
    check_connections(&rows, Cause::Http2Violation);
}

#[test]
fn a_malformed_request_costs_its_stream_alone() {
    let without = |at: usize| {
        let mut list = GET.to_vec();
        list.remove(at);
        headers(1, &list)
    };
    let says =
        frame(HEADERS, END_HEADERS, 1, &fields(&[HANG, &[("content-length", "5")]].concat()));
    let rows = [
        // RFC 9113 §8.2.2: no fields of the connection.
        ("connection", with(&[("connection", "close")])),
        ("keep-alive", with(&[("keep-alive", "1")])),
        ("proxy-connection", with(&[("proxy-connection", "close")])),
        ("transfer-encoding", with(&[("transfer-encoding", "chunked")])),
        ("upgrade", with(&[("upgrade", "h2c")])),
        ("te", with(&[("te", "gzip")])),
        // RFC 9113 §8.3: pseudo-fields are those of requests, first, and there once.
        ("two paths", with(&[(":path", "/again")])),
        ("a status", with(&[(":status", "200")])),
        ("after a field", headers(1, &[&[("x", "y")], GET].concat())),
        ("no method", without(0)),
        ("no scheme", without(1)),
        ("no path", without(2)),
        ("an empty path", headers(1, &[GET[0], GET[1], (":path", ""), GET[3]])),
        // RFC 9113 §8.1.1: a length that is not that of the content.
        ("no content", with(&[("content-length", "5")])),
        ("too little", [says.clone(), frame(DATA, END_STREAM, 1, b"four")].concat()),
        ("too much", [says, frame(DATA, END_STREAM, 1, b"longer")].concat()),
        // RFC 9113 §5.3.1 of the first edition, RFC 7540: a stream that depends on itself.
        ("itself", [open(1), frame(PRIORITY, 0, 1, &[0, 0, 0, 1, 9])].concat()),
    ];
    check_streams(&rows.map(|(what, bytes)| (what, bytes, PROTOCOL_ERROR)));
}

/// A head that unpacks to `copies` times 121 bytes (RFC 7541 §6.2.1): remembered once, and then a
/// byte for each copy of it.
fn bomb(stream: u32, copies: usize) -> Vec<u8> {
    let mut block = fields(GET);
    block.extend([0x40, 1, b'x', 120]);
    block.extend([b'y'; 120]);
    block.extend(vec![0xbe; copies]);
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &block)
}

/// RFC 9113 §10.5.1: a head over the limit is answered 431, and the connection goes on.
#[test]
fn a_head_that_is_too_large_is_refused_on_its_stream() {
    check_few_seeds("h2 large head", Faults::CALM, |world| {
        let rows = vec![[bomb(1, 700), headers(3, GET)].concat()];
        let (all, _) = hear(world, rows);
        let (heard, ended) = &all[0];
        assert!(!ended && heard.is_answered(1) && heard.is_answered(3), "{heard:?}");
    });
}

#[test]
fn a_head_that_unpacks_to_far_more_than_it_may_ends_the_connection() {
    check_connections(&[("bomb", bomb(1, 16_000), ENHANCE_YOUR_CALM)], Cause::Http2Overload);
}

#[test]
fn an_ended_connection_says_so_in_two_steps() {
    check_few_seeds("h2 goaway", Faults::CALM, |world| {
        let client = world.node("client", Limits::AMPLE);
        let text = config(&[client.address(9)], "timeouts.keep_alive = \"1s\"\n", "");
        let proxy = Proxy::serve(world, &text);
        let (env, front, heard) =
            (client.clone(), proxy.front.clone(), Rc::new(RefCell::new(None)));
        let told = heard.clone();
        client.spawn(async move {
            // It answers no ping, so it never learns of the second step, and is left.
            let answer = say(&env, &front, headers(1, GET), Duration::from_secs(60)).await;
            *told.borrow_mut() = Some(answer);
        });
        assert!(world.run_until(Duration::from_secs(600), || heard.borrow().is_some()));
        proxy.end(world);
        let (heard, ended) = heard.take().expect("an answer");
        assert!(ended && heard.is_answered(1), "{heard:?}");
        assert_eq!(heard.goaway(), Some(NO_ERROR));
        let goaway = heard.frames.iter().find(|frame| frame.kind == 7).expect("the first");
        assert_eq!(goaway.payload[..4], [0x7f, 0xff, 0xff, 0xff], "all streams are still fine");
    });
}

#[test]
fn an_upload_that_was_answered_already_may_end_by_itself() {
    check_few_seeds("h2 early answer", Faults::CALM, |world| {
        let begun = frame(HEADERS, END_HEADERS, 1, &fields(GET));
        let part = frame(DATA, 0, 1, &[b'x'; 6_000]);
        let end = frame(DATA, END_STREAM, 1, b"end");
        // It goes out in pieces: the answer comes after the first of them.
        let whole = [&begun[..], &part, &part, &end].concat();
        let (all, _) = hear(world, vec![whole, [begun, part].concat()]);
        assert!(all.iter().all(|(heard, ended)| !ended && heard.is_answered(1)), "{all:?}");
        assert_eq!(all[0].0.reset(1), None);
        // Who does not go on is told that nothing more is wanted (RFC 9113 §8.1).
        assert_eq!(all[1].0.reset(1), Some(NO_ERROR));
    });
}
