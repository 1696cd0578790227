//! What a head costs: nanoseconds to parse and to render requests and responses as they come.
//!
//! `cargo bench -p penstock-benches --bench http1`. Not a load test: `cargo xtask bench-peers`.

use std::hint::black_box;
use std::time::Instant;

use penstock_wire::http1::{
    BodyDecoder, BodyLimits, Framing, Lenient, Limits, Method, RequestHead, RequestOutbound,
    ResponseHead, ResponseOutbound, parse_request, parse_response, path, write_request,
    write_response,
};

fn main() {
    request("wrk", include_bytes!("../../runtime/wire/src/http1/samples/request-wrk.bin"));
    request("chrome", include_bytes!("../../runtime/wire/src/http1/samples/request-chrome.bin"));
    request("post", include_bytes!("../../runtime/wire/src/http1/samples/request-curl-post.bin"));
    response(
        "nginx",
        include_bytes!("../../runtime/wire/src/http1/samples/response-nginx-200.bin"),
    );
    body();
    paths();
}

fn request(name: &str, input: &[u8]) {
    let limits = Limits::default();
    let mut head = RequestHead::new();
    let mut out = Vec::new();
    measure(&format!("request {name}: parse"), || {
        let answer = parse_request(black_box(input), &limits, Lenient::NONE, &mut head);
        assert!(black_box(answer).is_ok());
    });
    let extra: [(&[u8], &[u8]); 2] =
        [(b"X-Forwarded-For", b"192.0.2.1"), (b"X-Forwarded-Proto", b"http")];
    measure(&format!("request {name}: render with two more fields"), || {
        out.clear();
        let outbound = RequestOutbound { extra: &extra, ..RequestOutbound::of(&head) };
        write_request(black_box(&head), &outbound, &mut out);
        black_box(&out);
    });
    measure(&format!("request {name}: parse and render"), || {
        let answer = parse_request(black_box(input), &limits, Lenient::NONE, &mut head);
        assert!(black_box(answer).is_ok());
        out.clear();
        let outbound = RequestOutbound { extra: &extra, ..RequestOutbound::of(&head) };
        write_request(&head, &outbound, &mut out);
        black_box(&out);
    });
}

fn response(name: &str, input: &[u8]) {
    let limits = Limits::default();
    let mut head = ResponseHead::new();
    let mut out = Vec::new();
    measure(&format!("response {name}: parse and render"), || {
        let answer =
            parse_response(black_box(input), Method::Get, &limits, Lenient::NONE, &mut head);
        assert!(black_box(answer).is_ok());
        out.clear();
        write_response(&head, &ResponseOutbound::of(&head), &mut out);
        black_box(&out);
    });
}

fn body() {
    let mut input = b"1000\r\n".to_vec();
    input.resize(input.len() + 0x1000, b'x');
    input.extend_from_slice(b"\r\n0\r\n\r\n");
    let mut decoder = BodyDecoder::for_response(Framing::Chunked, &BodyLimits::default());
    measure("body of one chunk of 4 KiB: decode", || {
        decoder.restart(Framing::Chunked);
        let step = decoder.decode(black_box(&input));
        assert!(black_box(step).is_ok_and(|step| step.done));
    });
}

fn paths() {
    let mut out = Vec::new();
    measure("path that is normal", || {
        let path = path::normalise(black_box(b"/api/v1/users/42/orders"), &mut out);
        assert!(black_box(path).is_ok());
    });
    measure("path that is not", || {
        let path = path::normalise(black_box(b"/api/./v1//users/%34%32/x/../orders"), &mut out);
        assert!(black_box(path).is_ok());
    });
}

/// Prints the median of 31 runs of 20,000 calls.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures with the real clock")]
fn measure(name: &str, mut call: impl FnMut()) {
    let mut runs: Vec<f64> = (0..31)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..CALLS {
                call();
            }
            start.elapsed().as_nanos() as f64 / f64::from(CALLS)
        })
        .collect();
    runs.sort_by(f64::total_cmp);
    println!("{name:50} {:8.1} ns (best {:.1})", runs[15], runs[0]);
}

const CALLS: u32 = 20_000;
