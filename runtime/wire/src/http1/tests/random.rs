//! Samples, whole and broken at random, against the properties that any bytes must keep.

use penstock_env::Rng;

use crate::http1::property::{
    check_chunked, check_path, check_request, check_response, check_retry_after,
};

const REQUESTS: [&[u8]; 9] = [
    include_bytes!("../samples/request-chrome.bin"),
    include_bytes!("../samples/request-curl-chunked.bin"),
    include_bytes!("../samples/request-curl-get.bin"),
    include_bytes!("../samples/request-curl-http10.bin"),
    include_bytes!("../samples/request-curl-post.bin"),
    include_bytes!("../samples/request-curl-proxy.bin"),
    include_bytes!("../samples/request-firefox-websocket.bin"),
    include_bytes!("../samples/request-nginx-proxied.bin"),
    include_bytes!("../samples/request-wrk.bin"),
];

const RESPONSES: [&[u8]; 8] = [
    include_bytes!("../samples/response-envoy-chunked.bin"),
    include_bytes!("../samples/response-nginx-200.bin"),
    include_bytes!("../samples/response-nginx-304.bin"),
    include_bytes!("../samples/response-nginx-404-close.bin"),
    include_bytes!("../samples/response-nginx-gzip-chunked.bin"),
    include_bytes!("../samples/response-node-trailers.bin"),
    include_bytes!("../samples/response-python-http10.bin"),
    include_bytes!("../samples/response-websocket-101.bin"),
];

const BODIES: [&[u8]; 4] = [
    b"5\r\nhello\r\n0\r\n\r\n",
    b"b;ext=\"x\" ; y\r\nhello world\r\n000\r\nGrpc-Status: 0\r\nX: y\r\n\r\n",
    b"A \t;x\r\n0123456789\r\n1\r\n!\r\n0\r\nContent-Length: 3\r\n\r\nGET / HTTP/1.1\r\n",
    b"ffffffffffffffff\r\n",
];

/// What a smuggler would insert.
const SHARP: [&[u8]; 26] = [
    b"\r",
    b"\n",
    b"\r\n",
    b"\n\n",
    b"\r\n\r\n",
    b"\0",
    b" ",
    b"\t",
    b"\r\n ",
    b":",
    b",",
    b";",
    b"\x7f",
    b"\xff",
    b"_",
    b"/../",
    b"%2e",
    b"%",
    b"?",
    b"http://h",
    b"0",
    b"HTTP/1.0",
    b"Host: a\r\n",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: close, Cookie\r\n",
];

/// Runs `property` on every sample as it is and on `runs` broken ones.
fn check(samples: &[&[u8]], runs: usize, property: fn(&[u8])) {
    let seed = std::env::var("PENSTOCK_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut rng = Rng::new(seed);
    for run in 0..runs {
        let mut data = vec![rng.next_u64() as u8];
        data.extend_from_slice(samples[run % samples.len()]);
        if run >= samples.len() * 4 {
            for _ in 0..=rng.below(4) {
                mutate(&mut data, samples, &mut rng);
            }
        }
        let outcome = std::panic::catch_unwind(|| property(&data));
        assert!(outcome.is_ok(), "PENSTOCK_SEED={seed} run {run}: {}", data.escape_ascii());
    }
}

fn mutate(data: &mut Vec<u8>, samples: &[&[u8]], rng: &mut Rng) {
    let at = rng.below(data.len() as u32) as usize;
    let end = (at + rng.below(12) as usize).min(data.len());
    let mut pick = |from: &[&'static [u8]]| from[rng.below(from.len() as u32) as usize];
    match pick(&[b"i", b"i", b"r", b"d", b"t", b"c", b"s"])[0] {
        b'i' => drop(data.splice(at..at, pick(&SHARP).iter().copied())),
        b'r' => drop(data.splice(at..end, pick(&SHARP).iter().copied())),
        b'd' => drop(data.drain(at..end)),
        b't' => data.truncate(at.max(1)),
        b'c' => data.extend_from_within(at..end),
        _ => {
            let other = samples[rng.below(samples.len() as u32) as usize];
            let cut = rng.below(other.len() as u32) as usize;
            data.truncate(at.max(1));
            data.extend_from_slice(&other[cut..]);
        }
    }
    if data.is_empty() {
        data.push(0);
    }
}

#[test]
fn broken_requests_keep_the_properties() {
    check(&REQUESTS, 3_000, check_request);
}

#[test]
fn broken_responses_keep_the_properties() {
    check(&RESPONSES, 3_000, check_response);
}

#[test]
fn broken_chunks_keep_the_properties() {
    check(&BODIES, 5_000, check_chunked);
}

#[test]
fn broken_paths_keep_the_properties() {
    check(&[b"/a/%2e%2e//b/../c", b"/x/./%2F%7e/..", b"/"], 5_000, |data| check_path(&data[1..]));
}

#[test]
fn broken_dates_keep_the_properties() {
    // Behind seven of the eight bytes of now; the first is drawn.
    let samples: [&[u8]; 5] = [
        b"\0\0\0\x42\x3a\x35\x85120",
        b"\0\0\0\x42\x3a\x35\x8599999999999999999999",
        b"\0\0\0\x42\x3a\x35\x85Fri, 18 Mar 2005 02:00:00 GMT",
        b"\0\0\0\x42\x3a\x35\x85Friday, 18-Mar-05 02:00:00 GMT",
        b"\0\0\0\x42\x3a\x35\x85Fri Mar 18 02:00:00 2005",
    ];
    check(&samples, 5_000, check_retry_after);
}
