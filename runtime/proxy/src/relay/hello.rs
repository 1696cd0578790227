//! What is read of a connection before it is carried: the name that its TLS hello asks for. It is
//! carried as it came, and the handshake is the endpoint's.

use penstock_config::ClusterId;
use penstock_env::{Env, Stream, TimerExt};
use penstock_wire::tls_hello::{HelloError, Parsed, parse_client_hello};

use crate::failure::Cause;
use crate::secure::hello;
use crate::snapshot::Service;

/// What was read of a connection, and what it asks for.
#[derive(Default)]
pub(super) struct Hello {
    pub(super) bytes: Vec<u8>,
    pub(super) server_name: Option<String>,
}

/// Reads the hello, and chooses by it.
///
/// # Errors
/// It is none, or nobody is there for the name.
pub(super) async fn choose<E: Env>(
    service: &Service,
    down: &E::Stream,
    timer: &E::Timer,
    hello: &mut Hello,
) -> Result<ClusterId, Cause> {
    match timer.race(name(down, &mut hello.bytes)).await {
        None => Err(Cause::TlsTimeout),
        Some(Err(cause)) => Err(cause),
        Some(Ok(name)) => {
            hello.server_name = name;
            let name = hello.server_name.as_deref();
            let asked = name.and_then(|name| service.names.cluster_of(name));
            asked.or(service.config.destinations.others).ok_or(Cause::TlsUnknownName)
        }
    }
}

async fn name<S: Stream>(down: &S, head: &mut Vec<u8>) -> Result<Option<String>, Cause> {
    hello::collect(down, head).await.map_err(|hello::Gone| Cause::TlsGone)?;
    match parse_client_hello(head, &mut Vec::new()) {
        Ok(Parsed::Complete(hello)) => Ok(hello.server_name.map(str::to_owned)),
        Err(HelloError::NotTls) => Err(Cause::NotTls),
        Ok(Parsed::Partial { .. }) | Err(_) => Err(Cause::TlsFailed),
    }
}

/// What a client hears that asked for a name which nobody is there for: a fatal alert,
/// unrecognized_name (RFC 8446 §6, RFC 6066 §3).
pub(super) const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];
