//! Checks over HTTP/2: a request, and the question that gRPC's health protocol has.

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use http::{HeaderMap, Method, Request};

use super::check::{Plain, text};

/// Of a gRPC answer; a health status takes ten.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// `grpc.health.v1.HealthCheckResponse.ServingStatus`.
const SERVING: u64 = 1;

/// The status of the answer to a request for `path`.
///
/// # Errors
/// There was none.
pub(super) async fn get(
    stream: Box<dyn Plain>,
    (scheme, host): (&str, &str),
    path: &str,
) -> Result<u16, String> {
    let request = Request::builder()
        .uri(format!("{scheme}://{host}{path}"))
        .header("user-agent", "penstock")
        .body(())
        .map_err(text)?;
    over(stream, async |mut sender| {
        let (response, _) = sender.send_request(request, true).map_err(text)?;
        Ok(response.await.map_err(text)?.status().as_u16())
    })
    .await
}

/// Asks whether `service` serves (gRPC's `health-checking.md`).
///
/// # Errors
/// It does not, or did not say so.
pub(super) async fn grpc(
    stream: Box<dyn Plain>,
    (scheme, host): (&str, &str),
    service: &str,
) -> Result<(), String> {
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("{scheme}://{host}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "penstock")
        .body(())
        .map_err(text)?;
    let message = Bytes::from(question(service));
    let answer = over(stream, async |mut sender| {
        let (response, mut body) = sender.send_request(request, false).map_err(text)?;
        body.send_data(message, true).map_err(text)?;
        read(response).await
    });
    match serving(&answer.await?) {
        Some(SERVING) => Ok(()),
        Some(status) => Err(format!("it says that it does not serve ({status})")),
        None => Err("its answer is no health status".to_owned()),
    }
}

/// Runs `work` on a connection of its own.
async fn over<T>(
    stream: Box<dyn Plain>,
    work: impl AsyncFnOnce(SendRequest<Bytes>) -> Result<T, String>,
) -> Result<T, String> {
    let (sender, connection) = h2::client::handshake(stream).await.map_err(text)?;
    let sender = sender.ready();
    let asking = async { work(sender.await.map_err(text)?).await };
    tokio::select! {
        // What has come is looked at before the end of the connection is.
        biased;
        done = asking => done,
        ended = connection => Err(match ended {
            Ok(()) => "closed without an answer".to_owned(),
            Err(error) => error.to_string(),
        }),
    }
}

/// The message of an answer that ended with OK.
async fn read(response: ResponseFuture) -> Result<Vec<u8>, String> {
    let (head, mut body) = response.await.map_err(text)?.into_parts();
    let mut content = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece.map_err(text)?;
        body.flow_control().release_capacity(piece.len()).map_err(text)?;
        content.extend_from_slice(&piece);
        if content.len() > ANSWER_BYTES_MAX {
            return Err("its answer is too long".to_owned());
        }
    }
    let trailers = body.trailers().await.map_err(text)?.unwrap_or_default();
    let said = |fields: &HeaderMap| Some(fields.get("grpc-status")?.to_str().ok()?.to_owned());
    match said(&trailers).or_else(|| said(&head.headers)).as_deref() {
        Some("0") => Ok(content),
        Some(code) => Err(format!("grpc-status {code}")),
        None => Err(format!("status {}, and no grpc-status", head.status.as_u16())),
    }
}

/// `HealthCheckRequest { string service = 1; }`, with a message's prefix before it.
fn question(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        // At most 256 bytes: two of a varint.
        let bytes = service.len();
        match bytes < 0x80 {
            true => message.push(bytes as u8),
            false => message.extend([(bytes & 0x7f | 0x80) as u8, (bytes >> 7) as u8]),
        }
        message.extend_from_slice(service.as_bytes());
    }
    let mut framed = vec![0];
    framed.extend((message.len() as u32).to_be_bytes());
    framed.extend(message);
    framed
}

/// `HealthCheckResponse { ServingStatus status = 1; }`; 0 where it is left out.
fn serving(framed: &[u8]) -> Option<u64> {
    let (prefix, message) = framed.split_at_checked(5)?;
    let length = u32::from_be_bytes(prefix[1..].try_into().ok()?) as usize;
    if prefix[0] != 0 || message.len() != length {
        return None;
    }
    match message {
        [] => Some(0),
        [0x08, status] if *status < 0x80 => Some(u64::from(*status)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{question, serving};

    #[test]
    fn the_question_names_the_service() {
        assert_eq!(question(""), [0, 0, 0, 0, 0]);
        assert_eq!(question("a.B"), [0, 0, 0, 0, 5, 0x0a, 3, b'a', b'.', b'B']);
        let long = question(&"x".repeat(200));
        assert_eq!(long[..8], [0, 0, 0, 0, 203, 0x0a, 0xc8, 0x01]);
    }

    #[test]
    fn the_answer_is_one_number() {
        for (bytes, status) in [
            (&[0, 0, 0, 0, 2, 8, 1][..], Some(1)),
            (&[0, 0, 0, 0, 2, 8, 2], Some(2)),
            (&[0, 0, 0, 0, 0], Some(0)),
            (&[1, 0, 0, 0, 2, 8, 1], None),
            (&[0, 0, 0, 0, 3, 8, 1], None),
            (&[0, 0, 0, 0, 2, 9, 1], None),
            (&[0, 0], None),
        ] {
            assert_eq!(serving(bytes), status, "{bytes:?}");
        }
    }
}
