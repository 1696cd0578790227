//! Those who keep to the rules: clients that ask and look at every byte of the answer, origins that
//! answer with a text which follows from who asks.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use penstock_env::{Address, Env, SendBuf, Stream, StreamExt, Timer, TimerExt};
use penstock_wire::http1::{
    BodyDecoder, BodyLimits, Lenient, Limits, Method, Parsed, ResponseHead, parse_response,
};

use super::HOST;
use super::judge::{End, Judge};
use super::peer::{Ended, Peer};
use crate::frames::{
    DATA, END_HEADERS, END_STREAM, HEADERS, SETTINGS, WINDOW_UPDATE, fields, frame,
};
use crate::sim::{Io, SimEnv, SimStream};

/// What an origin answers to `id`.
pub(super) fn text_of(id: u64) -> String {
    format!("{MARK}{id:x};").repeat(1 + (id % 40) as usize)
}

/// What every such text begins with.
pub(super) const MARK: &str = "origin says ";

/// Asks three times over HTTP/2, on one connection. Where the origin is `exact`, each answer has to
/// be its.
pub(super) async fn ask_http2(env: SimEnv, front: Address, exact: bool) {
    let stream = env.connect(&front).await.expect("the proxy listens");
    let mut peer = Peer::new(&env, stream, Judge::of_server());
    peer.say(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    peer.say(&frame(SETTINGS, 0, 0, &[0, 4, 0x10, 0, 0, 0]));
    peer.say(&frame(WINDOW_UPDATE, 0, 0, &[0x10, 0, 0, 0]));
    for stream in [1, 3, 5] {
        let id = format!("{:x}", GOOD + u64::from(stream));
        let post = stream == 3;
        let call = !exact && stream == 5;
        let list = [
            (":method", if post || call { "POST" } else { "GET" }),
            (":scheme", "http"),
            (":path", "/sim.Service/Call"),
            (":authority", HOST),
            ("x-id", &id),
            ("te", "trailers"),
            ("content-type", if call { "application/grpc" } else { "text/plain" }),
        ];
        let ends = if post { 0 } else { END_STREAM };
        peer.say(&frame(HEADERS, END_HEADERS | ends, stream, &fields(&list)));
        if post {
            peer.say(&frame(DATA, END_STREAM, stream, b"said"));
        }
    }
    let until = env.now() + PATIENCE;
    let all = |judge: &Judge| judge.streams.len() == 3 && judge.open_count() == 0;
    while !all(&peer.judge) && peer.ended.is_none() && env.now() < until {
        peer.go(Duration::from_secs(1), |judge| all(judge) || !judge.owed.is_empty()).await;
        peer.say_owed();
    }
    assert!(all(&peer.judge), "no answer: {:?} {:?}", peer.ended, peer.judge);
    for (&stream, heard) in peer.judge.streams.iter().filter(|_| exact) {
        let text = text_of(GOOD + u64::from(stream));
        assert_eq!(heard.end, Some(End::Whole), "{:?}", peer.judge);
        assert_eq!(heard.content, text.as_bytes(), "of another: {:?}", peer.judge);
    }
}

/// Asks once over HTTP/1.1: there is one answer, and nothing behind it.
pub(super) async fn ask_http1(env: SimEnv, front: Address) {
    let stream = env.connect(&front).await.expect("the proxy listens");
    let mut data = SendBuf::new(env.buffer());
    let head = format!("GET /one HTTP/1.1\r\nHost: {HOST}\r\nTE: trailers\r\n");
    data.push(head.as_bytes());
    data.push(b"Connection: close, TE\r\n\r\n");
    stream.send(data).await.expect("it is connected");
    let (mut bytes, timer) = (Vec::new(), env.timer());
    timer.set(env.now() + PATIENCE);
    let ended = loop {
        match timer.race(stream.recv()).await.expect("the connection ends") {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => break Ended::Orderly,
            Err(_) => break Ended::Broken,
        }
    };
    let mut rest = &bytes[..];
    let (limits, mut head) = (Limits::default(), ResponseHead::new());
    loop {
        match parse_response(rest, Method::Get, &limits, Lenient::NONE, &mut head) {
            Ok(Parsed::Complete { head_bytes }) => rest = &rest[head_bytes..],
            // What a reset overtook is not there.
            Ok(Parsed::Partial) if ended == Ended::Broken => return,
            other => panic!("{other:?}: {:?}", String::from_utf8_lossy(&bytes)),
        }
        assert_ne!(head.status(), 101, "nobody asked for that");
        if head.status() >= 200 {
            break;
        }
    }
    let mut body = BodyDecoder::for_response(head.framing(), &BodyLimits::default());
    while !rest.is_empty() {
        assert!(!body.is_done(), "behind the answer: {:?}", String::from_utf8_lossy(&bytes));
        let step = body.decode(rest);
        let step = step.unwrap_or_else(|e| panic!("{e}: {:?}", String::from_utf8_lossy(&bytes)));
        rest = &rest[step.consumed..];
    }
}

/// Serves `address` over HTTP/1.1: it answers what has no body and goes on, or answers and ends.
pub(super) fn listen_http1(env: &SimEnv, address: &Address) {
    let own = env.clone();
    env.listen(address, move |stream| own.spawn(serve_http1(own.clone(), stream)));
}

async fn serve_http1(env: SimEnv, stream: SimStream) {
    let mut held = Vec::new();
    loop {
        let Some(end) = held.windows(4).position(|four| four == b"\r\n\r\n") else {
            match stream.recv().await {
                Ok(Some(chunk)) => held.extend_from_slice(&chunk),
                Ok(None) | Err(_) => return,
            }
            continue;
        };
        let head: Vec<u8> = held.drain(..end + 4).collect();
        let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
        let id = head.lines().find_map(|line| line.strip_prefix("x-id: "));
        let id = id.and_then(|id| u64::from_str_radix(id, 16).ok()).unwrap_or_default();
        let body = head.lines().any(|line| {
            line.starts_with("content-length:") || line.starts_with("transfer-encoding:")
        });
        let text = text_of(id);
        let length = text.len();
        let close = if body { "Connection: close\r\n" } else { "" };
        let text = if head.starts_with("head ") { "" } else { &text };
        let mut data = SendBuf::new(env.buffer());
        data.push(
            format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n{close}\r\n{text}").as_bytes(),
        );
        if stream.send(data).await.is_err() {
            return;
        }
        if body {
            let _ = stream.sent().await;
            stream.shutdown_write();
            while let Ok(Some(_)) = stream.recv().await {}
            return;
        }
    }
}

/// The same over HTTP/2.
pub(super) fn listen_http2(env: &SimEnv, address: &Address) {
    let own = env.clone();
    env.listen(address, move |stream| own.spawn(serve_http2(own.clone(), stream)));
}

async fn serve_http2(env: SimEnv, stream: SimStream) {
    let mut builder = h2::server::Builder::new();
    builder.enable_connect_protocol();
    let Ok(mut connection) = builder.handshake::<_, Bytes>(Io(env.clone(), stream)).await else {
        return;
    };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let id = request.headers().get("x-id").and_then(|id| id.to_str().ok());
        let id = id.and_then(|id| u64::from_str_radix(id, 16).ok()).unwrap_or_default();
        let bare = request.method() == http::Method::HEAD;
        if let Ok(mut body) = respond.send_response(Response::new(()), bare) {
            let _ = body.send_data(text_of(id).into(), true);
        }
    }
}

/// Ids of those who ask well: no script has them.
const GOOD: u64 = 0x9_0000_0000;
/// Longer than any of the proxy's limits.
const PATIENCE: Duration = Duration::from_secs(300);
