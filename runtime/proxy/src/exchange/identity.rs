//! The fields that tell of a downstream's certificate: theirs are dropped, ours are verified.
//!
//! Before routes and filters look at the request, so that neither is told a tale.

use penstock_env::Env;
use penstock_wire::http1::{EditError, Known, KnownSet, RequestHead};

use super::Exchange;
use super::forwarded::is_trusted;
use crate::failure::Cause;

/// Drops what the request says of a certificate, and says what its handshake verified.
///
/// RFC 9440 §4: a peer must not be able to say it itself. A peer that the config trusts may, in
/// front of a listener that asks for no certificates: it has seen them.
///
/// # Errors
/// The head would grow over its limits.
pub(crate) fn establish<E: Env>(
    exchange: &Exchange<'_, E>,
    request: &mut RequestHead,
) -> Result<(), Cause> {
    if request.fields().has_any(CLAIMS) && !is_believed(exchange) {
        for name in [&b"client-cert"[..], b"client-cert-chain", b"x-forwarded-client-cert"] {
            request.fields_mut().remove(name).map_err(too_large)?;
        }
    }
    let client = exchange.down.secure().and_then(|facts| facts.client.as_deref());
    for (telling, value) in client.into_iter().flat_map(|client| &client.told) {
        let (name, value) = (telling.field().as_bytes(), value.as_bytes());
        request.fields_mut().append(name, value).map_err(too_large)?;
    }
    Ok(())
}

fn is_believed<E: Env>(exchange: &Exchange<'_, E>) -> bool {
    let asks = exchange.listener.tls.as_ref().is_some_and(|tls| tls.asks_for_certificates());
    !asks && is_trusted(&exchange.listener.config.trusted, exchange.down.peer().ip())
}

fn too_large(_: EditError) -> Cause {
    Cause::HeadTooLarge
}

/// What a peer can claim of a certificate.
const CLAIMS: KnownSet = KnownSet::NONE
    .with(Known::ClientCert)
    .with(Known::ClientCertChain)
    .with(Known::XForwardedClientCert);
