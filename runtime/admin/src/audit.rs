//! Who asked, and a line in the log for each call that may change something.

use std::fmt;
use std::net::SocketAddr;

use axum::extract::Request;
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// A process of this user, as the kernel says (SO_PEERCRED).
    User { uid: u32, pid: Option<i32> },
    /// Somebody over TCP, who has to show the token.
    Peer(SocketAddr),
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Caller::User { uid, pid: Some(pid) } => write!(f, "uid {uid} (pid {pid})"),
            Caller::User { uid, pid: None } => write!(f, "uid {uid}"),
            Caller::Peer(address) => address.fmt(f),
        }
    }
}

/// Marks the answer to a request that came with the token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bearer;

/// Logs what was asked and how it ended, unless it only reads.
pub(crate) async fn note(caller: Caller, request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = next.run(request).await;
    if !matches!(method, Method::GET | Method::HEAD) {
        let status = response.status().as_u16();
        match (caller, response.extensions().get::<Bearer>()) {
            (Caller::Peer(_), None) => tracing::warn!(
                target: "penstock::audit", %caller, %method, path, status, "admin call refused"
            ),
            _ => tracing::info!(
                target: "penstock::audit", %caller, %method, path, status, "admin call"
            ),
        }
    }
    response
}
