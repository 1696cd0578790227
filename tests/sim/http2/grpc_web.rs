//! gRPC-Web: calls of browsers, over both versions of HTTP, to an endpoint that speaks gRPC.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Request, Response};
use penstock_env::{Address, Env, Rng};
use penstock_tests::sim::{Faults, Limits, SimEnv, World, check_few_seeds, check_some_seeds};
use penstock_wire::grpc::{Code, Messages, TextDecoder, put_text, put_trailers};
use penstock_wire::http1::{BodyDecoder, BodyLimits, Framing};

use super::client::{self, Io, send_body};
use crate::http::plan::{Framing as Frames, Pace};
use crate::http::wire::{Head, Wire};
use crate::proxy::{Proxy, config};

/// An endpoint of gRPC: a body comes back as it was, `/shop.v1.Cart/Gone` is not there.
fn listen(env: &SimEnv) -> Address {
    let (own, address) = (env.clone(), env.address(8080));
    env.listen(&address, move |stream| {
        let env = own.clone();
        own.spawn(async move {
            let builder = h2::server::Builder::new();
            let io = Io(env.clone(), stream);
            let Ok(mut connection) = builder.handshake::<_, Bytes>(io).await else { return };
            while let Some(Ok((request, respond))) = connection.accept().await {
                env.spawn(async move { drop(answer(request, respond).await) });
            }
        });
    });
    address
}

async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> Result<(), h2::Error> {
    let (head, mut recv) = request.into_parts();
    assert_eq!(head.headers["content-type"], "application/grpc+proto");
    assert_eq!(head.headers["te"], "trailers");
    assert!(!head.headers.contains_key("x-grpc-web"));
    let mut body = Vec::new();
    while let Some(piece) = recv.data().await {
        let piece = piece?;
        recv.flow_control().release_capacity(piece.len())?;
        body.extend_from_slice(&piece);
    }
    let response = Response::builder().header("content-type", "application/grpc+proto");
    if head.uri.path().ends_with("/Gone") {
        let response = response.header("grpc-status", "5").body(()).expect("a head");
        return respond.send_response(response, true).map(drop);
    }
    let mut stream = respond.send_response(response.body(()).expect("a head"), false)?;
    let status = [("grpc-status", "0"), ("x-tail", "yes")];
    let fields = status
        .map(|(name, value)| (name.parse().expect("a name"), HeaderValue::from_static(value)));
    send_body(&mut stream, Bytes::from(body), Some(HeaderMap::from_iter(fields))).await
}

/// What a call is sent and gets.
#[derive(Clone, Copy)]
struct Call<'a> {
    path: &'a str,
    form: &'a str,
    accept: &'a str,
}

/// How a call ended.
#[derive(Debug)]
struct Heard {
    status: String,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Heard {
    fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|field| field.0 == name).map(|field| &*field.1)
    }
}

async fn ask_http1(env: SimEnv, front: Address, call: Call<'_>, body: &[u8], step: usize) -> Heard {
    let stream = Wire::connect(&env, &front).await.expect("the proxy listens");
    let wire = Wire::new(env, stream);
    let Call { path, form, accept } = call;
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nHost: sim.test\r\nContent-Type: {form}\r\nAccept: {accept}\r\n\
         X-Grpc-Web: 1\r\nConnection: close\r\n"
    )
    .into_bytes();
    if step == 0 {
        request.extend(format!("Content-Length: {}\r\n\r\n", body.len()).bytes());
        request.extend(body);
    } else {
        request.extend(b"Transfer-Encoding: chunked\r\n\r\n");
        for piece in body.chunks(step) {
            request.extend(format!("{:x}\r\n", piece.len()).bytes());
            request.extend(piece);
            request.extend(b"\r\n");
        }
        request.extend(b"0\r\n\r\n");
    }
    // A proxy that refuses does not read to the end.
    let _ = wire.write(&request, &Pace::QUICK).await;
    let head: Head = wire.head().await.expect("an answer").expect("an answer");
    let framing = match head.framing(Frames::None) {
        (Frames::Length, length) => Framing::Length(length),
        (Frames::Chunked, _) => Framing::Chunked,
        _ => Framing::None,
    };
    let mut decoder = BodyDecoder::for_response(framing, &BodyLimits::default());
    let mut body = Vec::new();
    while !decoder.is_done() {
        assert!(wire.more().await.expect("more"), "the body has an end");
        let bytes = wire.take_all();
        let mut input = &bytes[..];
        while !input.is_empty() {
            let step = decoder.decode(input).expect("chunks");
            body.extend_from_slice(&input[step.data]);
            input = &input[step.consumed..];
        }
    }
    assert_eq!(decoder.trailers().count(), 0, "they are in the body");
    let status = head.line.split(' ').nth(1).expect("a status").to_owned();
    Heard { status, fields: head.fields, body }
}

async fn ask_http2(env: SimEnv, front: Address, call: Call<'_>, body: &[u8], step: usize) -> Heard {
    let (sender, _) = client::connect(&env, &front).await;
    let fields = [("content-type", call.form), ("accept", call.accept), ("x-grpc-web", "1")];
    let request = client::request("POST", call.path, &fields);
    let (response, mut stream) = client::send(&sender, request, false).await.expect("it is sent");
    for piece in body.chunks(step.max(1)) {
        // A proxy that refuses does not read to the end.
        let _ = send_body_part(&mut stream, piece).await;
    }
    let _ = stream.send_data(Bytes::new(), true);
    let answer = client::read(response.await.expect("an answer")).await.expect("all of it");
    assert!(answer.trailers.is_none(), "they are in the body");
    let text = |value: &HeaderValue| value.to_str().expect("ASCII").to_owned();
    let fields = answer.head.headers.iter();
    Heard {
        status: answer.head.status.as_str().to_owned(),
        fields: fields.map(|(name, value)| (name.to_string(), text(value))).collect(),
        body: answer.body,
    }
}

async fn send_body_part(stream: &mut h2::SendStream<Bytes>, piece: &[u8]) -> Result<(), h2::Error> {
    let mut piece = Bytes::copy_from_slice(piece);
    while !piece.is_empty() {
        stream.reserve_capacity(piece.len());
        let room = std::future::poll_fn(|context| stream.poll_capacity(context)).await;
        let room = room.unwrap_or(Err(h2::Reason::CANCEL.into()))?;
        stream.send_data(piece.split_to(room.min(piece.len())), false)?;
    }
    Ok(())
}

/// Asks over HTTP/1 or HTTP/2, through a proxy in front of one endpoint; what came of it, and what
/// was counted.
fn ask(
    world: &World,
    http2: bool,
    call: Call<'static>,
    body: &[u8],
    step: usize,
) -> (Heard, Counted) {
    let origin = listen(&world.node("origin", Limits::AMPLE));
    let text = config(&[origin], "protocol = \"grpc\"\n", "") + "protocol = \"h2\"\n";
    let proxy = Proxy::serve(world, &text);
    let heard = through(world, &proxy, http2, call, body, step);
    let counted = Counted { calls: proxy.calls(), messages: proxy.messages(call.path) };
    proxy.end(world);
    (heard, counted)
}

/// What is counted of a call.
struct Counted {
    calls: Vec<(Code, u64)>,
    /// From the caller and to it; then their bytes.
    messages: Option<[u64; 4]>,
}

fn through(
    world: &World,
    proxy: &Proxy,
    http2: bool,
    call: Call<'static>,
    body: &[u8],
    step: usize,
) -> Heard {
    let env = world.node("client", Limits::AMPLE);
    let (own, front, body) = (env.clone(), proxy.front.clone(), body.to_vec());
    let heard = Rc::new(RefCell::new(None));
    let told = heard.clone();
    env.spawn(async move {
        let answer = match http2 {
            true => ask_http2(own, front, call, &body, step).await,
            false => ask_http1(own, front, call, &body, step).await,
        };
        told.replace(Some(answer));
    });
    let done = || heard.borrow().is_some() || world.panicked().is_some();
    assert!(world.run_until(Duration::from_secs(600), done), "{:#?}", world.leaks());
    assert_eq!(world.panicked(), None);
    heard.take().expect("there was an answer")
}

/// Some messages, one after the other.
fn messages(rng: &mut Rng) -> Vec<u8> {
    let mut body = Vec::new();
    for _ in 0..1 + rng.below(5) {
        let bytes = rng.below(9_000);
        body.push(0);
        body.extend(bytes.to_be_bytes());
        body.extend((0..bytes).map(|_| rng.below(256) as u8));
    }
    body
}

fn message_count(body: &[u8]) -> u64 {
    let mut messages = Messages::default();
    messages.feed(body);
    messages.count()
}

/// What a client of gRPC-Web has to get back for `body`.
fn expected(body: &[u8]) -> Vec<u8> {
    let mut all = body.to_vec();
    let tail: [(&[u8], &[u8]); 2] = [(b"grpc-status", b"0"), (b"x-tail", b"yes")];
    put_trailers(tail.into_iter(), &mut all);
    all
}

const BINARY: &str = "application/grpc-web+proto";
const TEXT: &str = "application/grpc-web-text+proto";
const ADD: &str = "/shop.v1.Cart/Add";

#[test]
fn a_binary_call_comes_back_with_its_trailers_in_the_body() {
    for http2 in [false, true] {
        check_some_seeds("grpc-web binary", Faults::CALM, |world| {
            let body = messages(&mut world.rng());
            let step = world.rng().below(5_000) as usize;
            let call = Call { path: ADD, form: BINARY, accept: "*/*" };
            let (heard, counted) = ask(world, http2, call, &body, step);
            assert_eq!(&*heard.status, "200");
            assert_eq!(heard.field("content-type"), Some(BINARY));
            assert!(heard.body == expected(&body), "{} of {}", heard.body.len(), body.len());
            assert_eq!(counted.calls, [(Code::Ok, 1)]);
            let (count, bytes) = (message_count(&body), body.len() as u64);
            // Neither the trailers' frame nor base64 is a message of the method.
            assert_eq!(counted.messages, Some([count, count, bytes, bytes]));
        });
    }
}

#[test]
fn a_call_in_text_is_answered_in_text() {
    for http2 in [false, true] {
        check_some_seeds("grpc-web text", Faults::CALM, |world| {
            let body = messages(&mut world.rng());
            // Padded wherever its sender flushed.
            let (mut text, run) = (Vec::new(), 1 + world.rng().below(3_000) as usize);
            body.chunks(run).for_each(|piece| put_text(piece, &mut text));
            let step = world.rng().below(5_000) as usize;
            let call = Call { path: ADD, form: TEXT, accept: TEXT };
            let (heard, counted) = ask(world, http2, call, &text, step);
            let (count, bytes) = (message_count(&body), body.len() as u64);
            assert_eq!(counted.messages, Some([count, count, bytes, bytes]));
            assert_eq!(heard.field("content-type"), Some(TEXT));
            let (mut decoder, mut read) = (TextDecoder::default(), Vec::new());
            decoder.feed(&heard.body, &mut read).expect("base64");
            assert!(decoder.is_whole() && read == expected(&body));
        });
    }
}

#[test]
fn accept_says_in_which_form_the_answer_is_wanted() {
    check_few_seeds("grpc-web accept", Faults::CALM, |world| {
        let body = messages(&mut world.rng());
        let call = Call { path: ADD, form: BINARY, accept: "text/html, application/grpc-web-text" };
        let (heard, _) = ask(world, false, call, &body, 0);
        assert_eq!(heard.field("content-type"), Some(TEXT));
        let mut read = Vec::new();
        TextDecoder::default().feed(&heard.body, &mut read).expect("base64");
        assert!(read == expected(&body));
    });
}

#[test]
fn an_answer_that_is_trailers_alone_stays_in_the_head() {
    for http2 in [false, true] {
        check_few_seeds("grpc-web trailers only", Faults::CALM, |world| {
            let call = Call { path: "/shop.v1.Cart/Gone", form: BINARY, accept: "*/*" };
            let (heard, counted) = ask(world, http2, call, b"\0\0\0\0\0", 5);
            assert_eq!(heard.field("content-type"), Some(BINARY));
            assert_eq!((heard.field("grpc-status"), &*heard.body), (Some("5"), &b""[..]));
            assert_eq!(counted.calls, [(Code::NotFound, 1)]);
            assert_eq!(counted.messages, Some([1, 0, 5, 0]));
        });
    }
}

#[test]
fn what_is_no_grpc_web_is_told_so_as_a_status() {
    let rows: [(&str, &[u8]); 5] = [
        // No base64.
        (TEXT, b"AAAA!AAA"),
        // A group of base64 that is cut.
        (TEXT, b"AAAAAAA"),
        // Trailers, which only answers have.
        (BINARY, b"\x80\0\0\0\x03a:b"),
        // A message that is cut.
        (BINARY, b"\0\0\0\0\x05abc"),
        // A prefix that is cut.
        (BINARY, b"\0\0"),
    ];
    for (form, body) in rows {
        for http2 in [false, true] {
            check_few_seeds("grpc-web bad", Faults::CALM, |world| {
                let call = Call { path: ADD, form, accept: form };
                let (heard, counted) = ask(world, http2, call, body, 3);
                assert_eq!(&*heard.status, "200", "{heard:?}");
                assert_eq!(heard.field("content-type"), Some(form));
                assert_eq!(heard.field("grpc-status"), Some(Code::Internal.digits()));
                assert_eq!(heard.field("x-penstock-cause"), Some("invalid_body"));
                assert_eq!(counted.calls, [(Code::Internal, 1)]);
                assert_eq!(counted.messages, None, "no endpoint answered for the method");
            });
        }
    }
}

#[test]
fn a_browsers_preflight_reaches_the_routes_of_a_grpc_listener() {
    check_few_seeds("grpc-web preflight", Faults::CALM, |world| {
        let text = "[listener.web]\naddress = \"FRONT\"\nprotocol = \"grpc\"\n\
            [[listener.web.route]]\nmethod = \"OPTIONS\"\n\
            respond = { status = 204, headers = { access-control-allow-origin = \"*\" } }\n";
        let proxy = Proxy::serve(world, text);
        let env = world.node("client", Limits::AMPLE);
        let (own, front, done) = (env.clone(), proxy.front.clone(), Rc::new(Cell::new(false)));
        let told = done.clone();
        env.spawn(async move {
            let stream = Wire::connect(&own, &front).await.expect("the proxy listens");
            let wire = Wire::new(own, stream);
            for (more, status) in
                [("", " 415 "), ("Access-Control-Request-Method: POST\r\n", " 204 ")]
            {
                let request = format!("OPTIONS {ADD} HTTP/1.1\r\nHost: sim.test\r\n{more}\r\n");
                wire.write(request.as_bytes(), &Pace::QUICK).await.expect("it is taken");
                let head = wire.head().await.expect("an answer").expect("an answer");
                assert!(head.line.contains(status), "{head:?}");
                let _ = wire.body(head.framing(Frames::None), &mut anything(), &Pace::QUICK).await;
            }
            told.set(true);
        });
        assert!(world.run_until(Duration::from_secs(60), || done.get()), "{:?}", world.panicked());
        proxy.end(world);
    });
}

fn anything() -> crate::http::wire::Expected<'static> {
    crate::http::wire::Expected::anything("client")
}

#[test]
fn endpoints_of_http1_get_grpc_web_as_it_came() {
    check_few_seeds("grpc-web as it is", Faults::CALM, |world| {
        let origin = world.node("origin", Limits::AMPLE);
        let (own, address) = (origin.clone(), origin.address(8080));
        origin.listen(&address, move |stream| {
            let wire = Wire::new(own.clone(), stream);
            own.spawn(async move {
                let head = wire.head().await.expect("a head").expect("a head");
                assert_eq!(head.field("content-type"), Some(TEXT));
                assert_eq!(head.field("x-grpc-web"), Some("1"));
                let framing = head.framing(Frames::None);
                wire.body(framing, &mut anything(), &Pace::QUICK).await.expect("all of it");
                let says = "HTTP/1.1 200 OK\r\nContent-Type: application/grpc-web-text+proto\r\n\
                    Content-Length: 4\r\n\r\nAAAA";
                let _ = wire.write(says.as_bytes(), &Pace::QUICK).await;
            });
        });
        let proxy = Proxy::serve(world, &config(&[address], "protocol = \"grpc\"\n", ""));
        let call = Call { path: ADD, form: TEXT, accept: TEXT };
        let heard = through(world, &proxy, false, call, b"AAAAAAA=", 0);
        assert_eq!((heard.field("content-type"), &*heard.body), (Some(TEXT), &b"AAAA"[..]));
        proxy.end(world);
    });
}
