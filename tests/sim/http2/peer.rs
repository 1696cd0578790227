//! Both sides of a WebSocket, over HTTP/1.1 and over streams of HTTP/2: they send frames, and look
//! at every bit of those that come.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::Bytes;
use h2::ext::Protocol;
use h2::{RecvStream, SendStream};
use http::{Method, Request, Response};
use penstock_env::{Address, Env, Stream};
use penstock_tests::sim::{SimEnv, SimStream};
use penstock_wire::websocket::accept_of;

use super::client::{self, Io};
use crate::http::origin::HOST;
use crate::http::plan::Pace;
use crate::http::wire::{Head, Wire};

pub(super) const TEXT: u8 = 1;
pub(super) const CLOSE: u8 = 8;
pub(super) const PING: u8 = 9;
pub(super) const PONG: u8 = 10;

/// A frame as it came: its first byte, and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) first: u8,
    pub(super) payload: Vec<u8>,
}

impl Frame {
    pub(super) fn opcode(&self) -> u8 {
        self.first & 15
    }
}

/// A frame's bytes; masked toward a server (RFC 6455 §5.1).
pub(super) fn frame(first: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let (mut bytes, masked) = (vec![first], u8::from(mask.is_some()) << 7);
    match payload.len() {
        length @ 0..126 => bytes.push(masked | length as u8),
        length @ 126..65_536 => {
            bytes.push(masked | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(masked | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    let key = mask.unwrap_or_default();
    bytes.extend(mask.iter().flatten());
    bytes.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

enum Pipe {
    Http1(Wire),
    Http2(SendStream<Bytes>, RecvStream),
}

/// One side of a WebSocket.
pub(super) struct Socket {
    pipe: Pipe,
    buffer: Vec<u8>,
    /// What the other side's frames are: masked, if this is the server.
    masked: bool,
}

impl Socket {
    /// Sends bytes, whether or not they are whole frames; false if they are not taken.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> bool {
        match &mut self.pipe {
            Pipe::Http1(wire) => wire.write(bytes, &Pace::QUICK).await.is_ok(),
            Pipe::Http2(stream, _) => {
                let mut left = Bytes::copy_from_slice(bytes);
                while !left.is_empty() {
                    stream.reserve_capacity(left.len());
                    let room = std::future::poll_fn(|context| stream.poll_capacity(context)).await;
                    let Some(Ok(room)) = room else { return false };
                    if stream.send_data(left.split_to(room.min(left.len())), false).is_err() {
                        return false;
                    }
                }
                true
            }
        }
    }

    /// The next frame; `None` at the end.
    ///
    /// # Panics
    /// When it is masked as the other side's frames must not be.
    pub(super) async fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some((bytes, masked, frame)) = parse(&self.buffer) {
                assert_eq!(masked, self.masked, "RFC 6455 §5.1: {frame:?}");
                self.buffer.drain(..bytes);
                return Some(frame);
            }
            if !self.more().await {
                assert_eq!(self.buffer, b"", "it ends between frames");
                return None;
            }
        }
    }

    async fn more(&mut self) -> bool {
        match &mut self.pipe {
            Pipe::Http1(wire) => {
                let more = matches!(wire.more().await, Ok(true));
                self.buffer.extend(wire.take_all());
                more
            }
            Pipe::Http2(_, recv) => match recv.data().await {
                Some(Ok(piece)) => {
                    let released = recv.flow_control().release_capacity(piece.len());
                    self.buffer.extend_from_slice(&piece);
                    released.is_ok()
                }
                Some(Err(_)) | None => false,
            },
        }
    }

    /// Ends its direction.
    pub(super) fn finish(&mut self) {
        match &mut self.pipe {
            Pipe::Http1(wire) => wire.stream.shutdown_write(),
            Pipe::Http2(stream, _) => {
                let _ = stream.send_data(Bytes::new(), true);
            }
        }
    }
}

fn parse(bytes: &[u8]) -> Option<(usize, bool, Frame)> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    let (length, at) = match second & 127 {
        126 => (usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)), 4),
        127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize, 10),
        length => (usize::from(length), 2),
    };
    let masked = second & 128 != 0;
    let key: [u8; 4] = match masked {
        true => bytes.get(at..at + 4)?.try_into().ok()?,
        false => [0; 4],
    };
    let at = at + if masked { 4 } else { 0 };
    let payload = bytes.get(at..at + length)?;
    let payload = payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
    Some((at + length, masked, Frame { first, payload }))
}

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// Asks for a WebSocket over HTTP/1.1 (RFC 6455 §4.1).
///
/// # Errors
/// The head of the answer that it got in its place.
pub(super) async fn open_http1(env: &SimEnv, front: &Address) -> Result<Socket, Head> {
    let stream = Wire::connect(env, front).await.expect("the proxy listens");
    let wire = Wire::new(env.clone(), stream);
    let request = format!(
        "GET /chat HTTP/1.1\r\nHost: {HOST}\r\nConnection: keep-alive, Upgrade\r\n\
         Upgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    );
    wire.write(request.as_bytes(), &Pace::QUICK).await.expect("it is taken");
    let head = wire.head().await.expect("an answer").expect("an answer");
    if !head.line.starts_with("HTTP/1.1 101 ") {
        return Err(head);
    }
    assert_eq!(head.field("sec-websocket-accept"), Some(&*accept_of(KEY.as_bytes())), "{head:?}");
    assert!(head.connection_has("upgrade"), "{head:?}");
    Ok(Socket { pipe: Pipe::Http1(wire), buffer: Vec::new(), masked: false })
}

/// Asks for `protocol` on a stream (RFC 8441 §4).
///
/// # Errors
/// The head of the answer that it got in its place.
pub(super) async fn open_http2(
    env: &SimEnv,
    front: &Address,
    protocol: &'static str,
) -> Result<Socket, http::response::Parts> {
    let (sender, _) = client::connect(env, front).await;
    // RFC 8441 §3: not before the server said that it takes them.
    while !sender.is_extended_connect_protocol_enabled() {
        Wire::sleep_on(env, std::time::Duration::from_millis(1)).await;
    }
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .uri(format!("http://{HOST}/chat"))
        .header("sec-websocket-version", "13")
        .body(())
        .expect("a request");
    request.extensions_mut().insert(Protocol::from_static(protocol));
    let (answer, stream) = client::send(&sender, request, false).await.expect("it is taken");
    let (head, recv) = answer.await.expect("an answer").into_parts();
    if !head.status.is_success() {
        return Err(head);
    }
    for gone in ["sec-websocket-accept", "upgrade", "connection", "content-length"] {
        assert!(!head.headers.contains_key(gone), "{head:?}");
    }
    Ok(Socket { pipe: Pipe::Http2(stream, recv), buffer: Vec::new(), masked: false })
}

/// What an origin does other than it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quirk {
    None,
    /// It answers 200, as to any other request.
    Ignores,
    /// It accepts another key.
    AcceptsWrongly,
    /// It does not say that it takes WebSockets over HTTP/2.
    SaysNothing,
}

/// What came to an origin.
#[derive(Default)]
pub(super) struct Log {
    pub(super) opened: Cell<u32>,
    /// Frames, other than those that it sent back.
    pub(super) heard: RefCell<Vec<Frame>>,
    /// Connections that ended, all their frames whole.
    pub(super) ended: Cell<u32>,
}

/// An origin of HTTP/1.1 that sends back what it hears.
pub(super) fn listen_http1(env: &SimEnv, address: &Address, quirk: Quirk, log: &Rc<Log>) {
    let (own, log) = (env.clone(), log.clone());
    env.listen(address, move |stream| {
        own.spawn(serve_http1(own.clone(), stream, quirk, log.clone()))
    });
}

async fn serve_http1(env: SimEnv, stream: SimStream, quirk: Quirk, log: Rc<Log>) {
    let wire = Wire::new(env, stream);
    let Ok(Some(head)) = wire.head().await else { return };
    assert!(head.line.starts_with("GET /chat "), "{head:?}");
    let token = head.field("upgrade").expect("it asks for one");
    assert!(token.eq_ignore_ascii_case("websocket") && head.connection_has("upgrade"), "{head:?}");
    assert_eq!(head.field("sec-websocket-version"), Some("13"));
    let key = head.field("sec-websocket-key").expect("a key");
    assert_eq!(key.len(), 24);
    if quirk == Quirk::Ignores {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno";
        let _ = wire.write(answer, &Pace::QUICK).await;
        return wire.linger().await;
    }
    let accept = accept_of(if quirk == Quirk::AcceptsWrongly { b"" } else { key.as_bytes() });
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    if wire.write(answer.as_bytes(), &Pace::QUICK).await.is_ok() {
        let socket = Socket { pipe: Pipe::Http1(wire), buffer: Vec::new(), masked: true };
        echo(socket, &log).await;
    }
}

/// The same over HTTP/2.
pub(super) fn listen_http2(env: &SimEnv, address: &Address, quirk: Quirk, log: &Rc<Log>) {
    let (own, log) = (env.clone(), log.clone());
    env.listen(address, move |stream| {
        own.spawn(serve_http2(own.clone(), stream, quirk, log.clone()))
    });
}

async fn serve_http2(env: SimEnv, stream: SimStream, quirk: Quirk, log: Rc<Log>) {
    let mut builder = h2::server::Builder::new();
    if quirk != Quirk::SaysNothing {
        builder.enable_connect_protocol();
    }
    let Ok(mut connection) = builder.handshake::<_, Bytes>(Io(env.clone(), stream)).await else {
        return;
    };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let (head, recv) = request.into_parts();
        assert_eq!((&head.method, head.uri.path()), (&Method::CONNECT, "/chat"));
        assert_eq!(head.extensions.get::<Protocol>().map(Protocol::as_str), Some("websocket"));
        for gone in ["sec-websocket-key", "upgrade", "connection"] {
            assert!(!head.headers.contains_key(gone), "{head:?}");
        }
        assert_eq!(head.headers["sec-websocket-version"], "13");
        let log = log.clone();
        env.spawn(async move {
            let Ok(stream) = respond.send_response(Response::new(()), false) else { return };
            let socket =
                Socket { pipe: Pipe::Http2(stream, recv), buffer: Vec::new(), masked: true };
            echo(socket, &log).await;
        });
    }
}

/// Sends back what is text, answers pings and the close, notes the rest.
async fn echo(mut socket: Socket, log: &Log) {
    log.opened.set(log.opened.get() + 1);
    while let Some(came) = socket.frame().await {
        let back = match came.opcode() {
            PING => frame(0x80 | PONG, &came.payload, None),
            TEXT | 0 | 2 => frame(came.first, &came.payload, None),
            _ => {
                log.heard.borrow_mut().push(came.clone());
                match came.opcode() {
                    CLOSE => frame(came.first, &came.payload, None),
                    _ => continue,
                }
            }
        };
        if !socket.send(&back).await {
            return;
        }
        if came.opcode() == CLOSE {
            socket.finish();
            break;
        }
    }
    // The rest of its direction.
    while socket.frame().await.is_some() {}
    log.ended.set(log.ended.get() + 1);
}
