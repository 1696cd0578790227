//! What a request asks for, in the forms that decisions are made on.

use penstock_balance::FleetSeed;
use penstock_config::{Balance, ClusterId, HashKey};
use penstock_env::Env;
use penstock_wire::http1::{Known, RequestHead, path};

use super::Scratch;
use super::exchange::Exchange;
use super::forwarded;
use crate::failure::Cause;
use crate::route::{Path, RouteTable};

/// The path that routes compare; `scratch` holds it where it is not as it came.
///
/// # Errors
/// It has no normal form.
pub(crate) fn path_to_match<'a>(
    routes: &RouteTable,
    request: &'a RequestHead,
    scratch: &'a mut Vec<u8>,
) -> Result<Path<'a>, Cause> {
    scratch.clear();
    if !routes.looks_at_paths() {
        return Ok(Path(request.path()));
    }
    path::normalise(request.path(), scratch).map(Path).map_err(|_| Cause::InvalidPath)
}

/// The key that the cluster hashes by, if it does; `None` also where the request lacks it.
pub(crate) fn hash_key<E: Env>(
    exchange: &Exchange<'_, E>,
    scratch: &Scratch,
    cluster: ClusterId,
) -> Option<u64> {
    let plan = exchange.plan;
    let Balance::Maglev { hash, .. } = &plan.cluster(cluster).config.balance else { return None };
    let (seed, request): (&FleetSeed, _) = (&plan.snapshot.seed, &scratch.request);
    match hash {
        HashKey::Source => {
            let peer = exchange.down.peer().ip()?;
            let ip = forwarded::source(&exchange.listener.config.trusted, peer, request);
            Some(match ip {
                std::net::IpAddr::V4(ip) => seed.hash(&ip.octets()),
                std::net::IpAddr::V6(ip) => seed.hash(&ip.octets()),
            })
        }
        HashKey::Path => Some(seed.hash(request.path())),
        HashKey::Header(name) => {
            request.fields().value_of(name.as_str().as_bytes()).map(|value| seed.hash(value))
        }
        HashKey::Cookie(name) => cookie(request, name.as_bytes()).map(|value| seed.hash(value)),
    }
}

/// The value of a cookie (RFC 6265 §5.4: pairs, separated by `; `, perhaps over several fields).
fn cookie<'a>(request: &'a RequestHead, name: &[u8]) -> Option<&'a [u8]> {
    request.fields().value_of_known(Known::Cookie)?;
    request.fields().values_of(b"cookie").find_map(|field| {
        let mut pairs = field.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
        pairs.find_map(|pair| pair.strip_prefix(name)?.strip_prefix(b"="))
    })
}
