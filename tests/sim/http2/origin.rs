//! An origin that speaks HTTP/2, with the server of `h2`: it answers as that of HTTP/1 does, and
//! can refuse streams, or leave in the middle of its work.

use std::cell::Cell;
use std::rc::Rc;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use penstock_env::{Address, Env};
use penstock_tests::sim::{SimEnv, SimStream};

use super::client::{Io, send_body};
use crate::http::plan::Text;

/// What an origin does and what became of it.
#[derive(Default)]
pub(crate) struct Log {
    /// Requests that it answered.
    pub(super) answered: Cell<u32>,
    /// Connections so far.
    pub(super) connections: Cell<u32>,
    /// The most streams that were open at a time on one connection.
    pub(super) streams_max: Cell<u32>,
    /// Streams that it still refuses.
    pub(crate) refuses: Cell<u32>,
    /// Requests after which a connection is told to go.
    pub(super) leaves_after: Cell<u32>,
}

/// Serves `address`; `streams` at a time on each connection.
pub(crate) fn listen(env: &SimEnv, address: &Address, streams: u32, log: &Rc<Log>) {
    let (own, log) = (env.clone(), log.clone());
    env.listen(address, move |stream| {
        log.connections.set(log.connections.get() + 1);
        own.spawn(serve(own.clone(), stream, streams, log.clone()));
    });
}

async fn serve(env: SimEnv, stream: SimStream, streams: u32, log: Rc<Log>) {
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(streams);
    let Ok(mut connection) = builder.handshake::<_, Bytes>(Io(env.clone(), stream)).await else {
        return;
    };
    let (open, mut count) = (Rc::new(Cell::new(0)), 0);
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        count += 1;
        if log.refuses.get() > 0 {
            log.refuses.set(log.refuses.get() - 1);
            respond.send_reset(Reason::REFUSED_STREAM);
            continue;
        }
        if log.leaves_after.get() == count {
            connection.graceful_shutdown();
        }
        let (log, open) = (log.clone(), open.clone());
        env.spawn(async move {
            open.set(open.get() + 1);
            log.streams_max.set(log.streams_max.get().max(open.get()));
            if answer(request, respond).await.is_ok() {
                log.answered.set(log.answered.get() + 1);
            }
            open.set(open.get() - 1);
        });
    }
}

/// What [`super::client::listen`]'s origins answer, over HTTP/2.
async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> Result<(), h2::Error> {
    let (head, mut recv) = request.into_parts();
    let field = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let id = u64::from_str_radix(field("x-id").expect("an id"), 16).expect("a number");
    let (mut expected, mut got) = (Text::new(id, 0), 0);
    while let Some(piece) = recv.data().await {
        let piece = piece?;
        recv.flow_control().release_capacity(piece.len())?;
        expected.check("origin", &piece);
        got += piece.len();
    }
    let tail = recv.trailers().await?;
    let bytes = field("x-bytes").map_or(0, |bytes| bytes.parse().expect("a number"));
    let body = Bytes::from(Text::new(id, 1).next(bytes));
    if field("x-early").is_some() {
        let early = Response::builder().status(103).header("link", "</a>").body(());
        respond.send_informational(early.expect("a head"))?;
    }
    let chunked = field("x-chunked").is_some();
    let mut response = Response::builder()
        .header("x-got", got)
        .header("x-via", field("via").unwrap_or("none"))
        .header("x-id", format!("{id:x}"))
        .header("x-tail-got", u16::from(tail.is_some()));
    if !chunked {
        response = response.header("content-length", bytes);
    }
    let ends = bytes == 0 && !chunked;
    let mut stream = respond.send_response(response.body(()).expect("a head"), ends)?;
    if ends {
        return Ok(());
    }
    let trailers = chunked.then(|| {
        let value = HeaderValue::from_str(&format!("{id:x}")).expect("a value");
        HeaderMap::from_iter([("x-tail".parse().expect("a name"), value)])
    });
    send_body(&mut stream, body, trailers).await
}
