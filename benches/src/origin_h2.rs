//! The origin over HTTP/2 without TLS: the same fixed answer, or one message and a status where
//! gRPC is called.
//!
//! One thread of tokio under the `h2` crate. It costs several times what the other origin does,
//! so it bounds how fast proxies can be fed, not what they cost.

use std::io;
use std::net::TcpListener;

use bytes::Bytes;
use h2::server::{self, SendResponse};
use http::{HeaderMap, HeaderValue, Request, Response, header};

/// Serves `listener` for ever with a body of `body_bytes` letters.
///
/// # Errors
/// Only what concerns the listener; a broken connection is dropped quietly.
pub fn serve(listener: TcpListener, body_bytes: usize) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let local = tokio::task::LocalSet::new();
    let body = Bytes::from(vec![b'x'; body_bytes]);
    local.block_on(&runtime, async move {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::task::spawn_local(connection(stream, body.clone()));
        }
    })
}

/// Serves one connection until it ends.
async fn connection(stream: tokio::net::TcpStream, body: Bytes) {
    let mut builder = server::Builder::new();
    builder.max_concurrent_streams(STREAMS_MAX);
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
    while let Some(Ok((request, answer))) = connection.accept().await {
        tokio::task::spawn_local(exchange(request, answer, body.clone()));
    }
}

/// Reads a request to its end and answers it. A peer that has left is no error.
async fn exchange(
    request: Request<h2::RecvStream>,
    mut answer: SendResponse<Bytes>,
    body: Bytes,
) -> Option<()> {
    let kind = request.headers().get(header::CONTENT_TYPE);
    let is_call = kind.is_some_and(|kind| kind.as_bytes().starts_with(GRPC.as_bytes()));
    let mut upload = request.into_body();
    while let Some(chunk) = upload.data().await {
        upload.flow_control().release_capacity(chunk.ok()?.len()).ok()?;
    }
    let kind = HeaderValue::from_static(if is_call { GRPC } else { "text/plain" });
    let head = Response::builder().header(header::CONTENT_TYPE, kind).body(()).ok()?;
    let mut download = answer.send_response(head, false).ok()?;
    if !is_call {
        return download.send_data(body, true).ok();
    }
    let length = (body.len() as u32).to_be_bytes();
    let message = [&[0], &length[..], &body[..]].concat();
    download.send_data(message.into(), false).ok()?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    download.send_trailers(trailers).ok()
}

const GRPC: &str = "application/grpc";
/// More than a proxy opens on one connection.
const STREAMS_MAX: u32 = 256;
