//! Captured messages, cut at every byte, head and body.

use super::{request_of, response_of};
use crate::http1::{
    BodyDecoder, BodyLimits, Framing, Lenient, Limits, Method, Parsed, RequestHead,
    RequestOutbound, parse_request, parse_response, write_request,
};

/// A request's sample must have this method, target, framing, and so many live fields.
#[track_caller]
fn request(sample: &[u8], line: (Method, &str), framing: Framing, fields: usize, body: &str) {
    let head = request_of(sample, &Limits::default(), Lenient::NONE).expect("it is valid");
    let target = head.path_and_query();
    assert_eq!((head.method(), target), (line.0, line.1.as_bytes()));
    assert_eq!((head.framing(), head.fields().count()), (framing, fields));
    let mut again = RequestHead::new();
    let answer = parse_request(sample, &Limits::default(), Lenient::NONE, &mut again);
    check_body(sample, answer.expect("it is valid"), framing, body.len());
}

#[track_caller]
fn response(sample: &[u8], status: u16, framing: Framing, fields: usize, body_bytes: usize) {
    let head = response_of(sample, Method::Get, Lenient::NONE).expect("it is valid");
    assert_eq!(head.status(), status);
    assert_eq!((head.framing(), head.fields().count()), (framing, fields));
    let (mut again, limits) = (head.clone(), Limits::default());
    again.clear();
    let answer = parse_response(sample, Method::Get, &limits, Lenient::NONE, &mut again);
    check_body(sample, answer.expect("it is valid"), framing, body_bytes);
}

#[track_caller]
fn check_body(sample: &[u8], parsed: Parsed, framing: Framing, bytes: usize) {
    let Parsed::Complete { head_bytes } = parsed else { panic!("the head is complete") };
    let body = &sample[head_bytes..];
    for step in 1..=body.len() {
        let mut decoder = BodyDecoder::for_response(framing, &BodyLimits::default());
        let (mut consumed, mut content_bytes) = (0, 0);
        while consumed < body.len() {
            let read = &body[consumed..body.len().min(consumed + step)];
            let step = decoder.decode(read).expect("the framing is in order");
            content_bytes += step.data.len();
            consumed += step.consumed;
        }
        assert_eq!((content_bytes, decoder.finish()), (bytes, Ok(())));
    }
}

#[test]
fn requests_as_they_come() {
    let get = |target| (Method::Get, target);
    let none = Framing::None;
    let sample = include_bytes!("../samples/request-chrome.bin");
    request(sample, get("/search?q=load+balancer&hl=en"), none, 15, "");
    let sample = include_bytes!("../samples/request-curl-chunked.bin");
    request(sample, (Method::Post, "/upload"), Framing::Chunked, 5, "hi");
    let sample = include_bytes!("../samples/request-curl-get.bin");
    request(sample, get("/index.html?a=b"), none, 3, "");
    request(include_bytes!("../samples/request-curl-http10.bin"), get("/"), none, 3, "");
    let sample = include_bytes!("../samples/request-curl-post.bin");
    request(sample, (Method::Post, "/form"), Framing::Length(18), 5, "name=value&other=1");
    request(include_bytes!("../samples/request-curl-proxy.bin"), get("/a?b"), none, 3, "");
    let sample = include_bytes!("../samples/request-firefox-websocket.bin");
    request(sample, get("/chat"), none, 11, "");
    request(include_bytes!("../samples/request-nginx-proxied.bin"), get("/up/x?y"), none, 2, "");
    request(include_bytes!("../samples/request-wrk.bin"), get("/"), none, 4, "");
}

#[test]
fn responses_as_they_come() {
    let chunked = Framing::Chunked;
    response(include_bytes!("../samples/response-envoy-chunked.bin"), 200, chunked, 4, 8);
    let sample = include_bytes!("../samples/response-nginx-200.bin");
    response(sample, 200, Framing::Length(520), 7, 520);
    response(include_bytes!("../samples/response-nginx-304.bin"), 304, Framing::None, 4, 0);
    let sample = include_bytes!("../samples/response-nginx-404-close.bin");
    response(sample, 404, Framing::Length(153), 4, 153);
    response(include_bytes!("../samples/response-nginx-gzip-chunked.bin"), 200, chunked, 6, 39);
    response(include_bytes!("../samples/response-node-trailers.bin"), 200, chunked, 2, 11);
    let sample = include_bytes!("../samples/response-python-http10.bin");
    response(sample, 200, Framing::UntilClose, 3, 7);
    response(include_bytes!("../samples/response-websocket-101.bin"), 101, Framing::None, 1, 0);
}

#[test]
fn a_warm_head_keeps_its_buffers() {
    let sample = include_bytes!("../samples/request-chrome.bin");
    let mut head = RequestHead::new();
    let mut out = Vec::new();
    let mut places = Vec::new();
    for _ in 0..3 {
        let answer = parse_request(sample, &Limits::default(), Lenient::NONE, &mut head);
        assert!(answer.is_ok());
        out.clear();
        write_request(&head, &RequestOutbound::of(&head), &mut out);
        let fields = head.fields();
        places.push((fields.bytes().as_ptr(), fields.all().as_ptr(), out.as_ptr()));
        head.clear();
    }
    assert!(places.iter().all(|place| *place == places[0]), "a buffer was made anew");
}
