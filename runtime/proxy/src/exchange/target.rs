//! What a request asks for, in the forms that decisions are made on.

use penstock_balance::FleetSeed;
use penstock_config::{Balance, ClusterId, HashKey};
use penstock_env::Env;
use penstock_wire::http1::{Known, Lenient, RequestHead, path};

use super::Exchange;
use super::Scratch;
use crate::failure::Cause;
use crate::route::{Path, Route, RouteTable};

/// The route that the request in `scratch` takes; its path as routes compare it stays there,
/// where it is not as it came.
///
/// # Errors
/// The path has no normal form, or one origin reads it as one route's and another as another's.
pub(crate) fn find_route<'r, E: Env>(
    exchange: &Exchange<'_, E>,
    routes: &'r RouteTable,
    scratch: &mut Scratch,
) -> Result<Option<&'r Route>, Cause> {
    let Scratch { request, path: room, .. } = scratch;
    let client = exchange.client();
    room.clear();
    if !routes.looks_at_paths() {
        return Ok(routes.find(request, Path(request.path()), client));
    }
    let normal = path::normalise(request.path(), room).map_err(|_| Cause::InvalidPath)?;
    let route = routes.find(request, Path(normal), client);
    let doubts = path::doubts(request.path());
    if !doubts.is_none() {
        check_readings(exchange, routes, request, doubts, route)?;
    }
    Ok(route)
}

/// Looks at `request` with every other reading of its path, as far as that is in doubt.
#[cold]
fn check_readings<E: Env>(
    exchange: &Exchange<'_, E>,
    routes: &RouteTable,
    request: &RequestHead,
    doubts: Lenient,
    route: Option<&Route>,
) -> Result<(), Cause> {
    let (lenient, mut room, mut waived) = (exchange.listener.lenient, Vec::new(), false);
    let place = |route: Option<&Route>| route.map(|route| route.index);
    for reading in doubts.parts() {
        let read = path::normalise_as(request.path(), reading, &mut room);
        let other = read.map(|()| routes.find(request, Path(&room), exchange.client()));
        if other.is_ok_and(|other| place(other) == place(route)) {
            continue;
        }
        if !reading.meets(lenient) {
            return Err(Cause::AmbiguousPath);
        }
        waived = true;
    }
    if waived {
        exchange.count_waived();
    }
    Ok(())
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
            let ip = scratch.client.or_else(|| exchange.down.peer().ip())?;
            Some(match ip.to_canonical() {
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
