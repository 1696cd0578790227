//! A client that speaks HTTP/2, and the origin that its requests reach.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use penstock_env::{Address, Env};
pub(crate) use penstock_tests::sim::Io;
use penstock_tests::sim::SimEnv;

use crate::http::origin::HOST;
use crate::http::plan::{Framing, Pace, Text};
use crate::http::wire::{Expected, Wire};

/// A connection to the proxy. The flag is set once it ended.
pub(super) async fn connect(env: &SimEnv, to: &Address) -> (SendRequest<Bytes>, Rc<Cell<bool>>) {
    try_connect(env, to).await.expect("the proxy listens, and speaks HTTP/2")
}

/// As [`connect`], where the network may break it.
pub(super) async fn try_connect(
    env: &SimEnv,
    to: &Address,
) -> Option<(SendRequest<Bytes>, Rc<Cell<bool>>)> {
    let stream = Wire::connect(env, to).await?;
    let mut builder = h2::client::Builder::new();
    // `h2` measures this by the real clock: no pause of the machine's shall come into a run.
    builder.reset_stream_duration(Duration::from_secs(3_600));
    let (sender, connection) = builder.handshake(Io(env.clone(), stream)).await.ok()?;
    let ended = Rc::new(Cell::new(false));
    let told = ended.clone();
    env.spawn(async move {
        let _ = connection.await;
        told.set(true);
    });
    Some((sender, ended))
}

/// A request for `path`, with `fields`.
pub(super) fn request(method: &str, path: &str, fields: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::builder().method(method).uri(format!("http://{HOST}{path}"));
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).expect("a request")
}

/// Sends a request; its body goes into the stream that is given back.
pub(super) async fn send(
    sender: &SendRequest<Bytes>,
    request: Request<()>,
    ends: bool,
) -> Result<(h2::client::ResponseFuture, SendStream<Bytes>), h2::Error> {
    sender.clone().ready().await?.send_request(request, ends)
}

/// Sends a body as fast as there is room for it, and trailers behind it.
pub(super) async fn send_body(
    stream: &mut SendStream<Bytes>,
    mut body: Bytes,
    trailers: Option<HeaderMap>,
) -> Result<(), h2::Error> {
    while !body.is_empty() {
        stream.reserve_capacity(body.len());
        let room = std::future::poll_fn(|context| stream.poll_capacity(context)).await;
        let room = room.unwrap_or(Err(Reason::CANCEL.into()))?;
        let ends = room >= body.len() && trailers.is_none();
        stream.send_data(body.split_to(room.min(body.len())), ends)?;
    }
    match trailers {
        Some(trailers) => stream.send_trailers(trailers),
        None => Ok(()),
    }
}

/// An answer, read to its end.
pub(super) struct Answer {
    pub(super) head: http::response::Parts,
    pub(super) body: Vec<u8>,
    pub(super) trailers: Option<HeaderMap>,
}

/// Reads an answer.
pub(super) async fn read(response: Response<RecvStream>) -> Result<Answer, h2::Error> {
    let (head, mut recv) = response.into_parts();
    let mut body = Vec::new();
    while let Some(piece) = recv.data().await {
        let piece = piece?;
        recv.flow_control().release_capacity(piece.len())?;
        body.extend_from_slice(&piece);
    }
    let trailers = recv.trailers().await?;
    Ok(Answer { head, body, trailers })
}

/// Serves `address`: the body of a request has to be the text of its `x-id`, and the answer's is
/// the other text of that, `x-bytes` long. Each request is counted.
pub(crate) fn listen(env: &SimEnv, address: &Address, count: &Rc<Cell<u32>>) {
    let (own, count) = (env.clone(), count.clone());
    env.listen(address, move |stream| {
        own.spawn(serve(Wire::new(own.clone(), stream), count.clone()));
    });
}

async fn serve(wire: Wire, count: Rc<Cell<u32>>) {
    while let Ok(Some(head)) = wire.head().await {
        count.set(count.get() + 1);
        let id = head.id().expect("an id");
        let mut expected = Expected::text("origin", Text::new(id, 0));
        let Ok(()) = wire.body(head.framing(Framing::None), &mut expected, &Pace::QUICK).await
        else {
            return;
        };
        let bytes = head.field("x-bytes").map_or(0, |bytes| bytes.parse().expect("a number"));
        let body = Text::new(id, 1).next(bytes);
        let mut answer = match head.field("x-early") {
            Some(_) => b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".to_vec(),
            None => Vec::new(),
        };
        let via = head.field("via").unwrap_or("none");
        let fields = format!("X-Got: {}\r\nX-Via: {via}\r\nX-Id: {id:x}\r\n", expected.passed);
        match head.field("x-chunked") {
            None => {
                let length = body.len();
                answer.extend(
                    format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {length}\r\n\r\n").bytes(),
                );
                answer.extend(body);
            }
            Some(_) => {
                answer.extend(
                    format!("HTTP/1.1 200 OK\r\n{fields}Transfer-Encoding: chunked\r\n\r\n")
                        .bytes(),
                );
                for piece in body.chunks(1000) {
                    answer.extend(format!("{:x}\r\n", piece.len()).bytes());
                    answer.extend(piece);
                    answer.extend(b"\r\n");
                }
                answer.extend(format!("0\r\nX-Tail: {id:x}\r\n\r\n").bytes());
            }
        }
        if wire.write(&answer, &Pace::QUICK).await.is_err() {
            return;
        }
    }
}
