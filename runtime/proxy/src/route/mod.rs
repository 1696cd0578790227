//! Which route a request takes: the first in file order whose conditions all hold.
//!
//! Pure. Hosts are looked up, so that many hosts cost what one costs; the rest is compared in
//! order among the routes that the host leaves.

mod matches;
#[cfg(test)]
mod tests;

use penstock_config::{self as config, FilterUse};
use penstock_env::{Map, MapSeed};
use penstock_filter_host::{ChainLink, FilterSettings, chain_links};
use penstock_telemetry::metrics::{Instance, Registry};
use penstock_tls::Identity;
use penstock_wire::http1::RequestHead;

use crate::metrics::Schemas;
pub use matches::Path;

/// A listener's routes.
pub struct RouteTable {
    routes: Vec<Route>,
    /// For each exact host, the routes that can match it, in file order.
    by_host: Map<Box<str>, Vec<u32>>,
    /// The routes that can match a host not in `by_host`.
    other: Vec<u32>,
    /// The first route has no condition: nothing needs to be looked at.
    first_takes_all: bool,
    /// Some route looks at paths.
    looks_at_paths: bool,
    /// The filters of requests that no route takes: the listener's.
    filters: Box<[ChainLink]>,
    /// For each filter of the listener, whether some route configures it in a way of its own.
    varied: Box<[bool]>,
    /// For requests that no route takes.
    unmatched: Instance,
}

/// One route.
pub struct Route {
    /// Its index in the listener.
    pub index: u32,
    /// What the log and metrics call it: its name, or its index.
    pub name: Box<str>,
    /// What the config says of it.
    pub config: config::Route,
    /// The filters that its requests pass: the listener's, then its own.
    pub filters: Box<[ChainLink]>,
    /// Its counters.
    pub metrics: Instance,
}

impl Route {
    /// What the request's connection shall be handed over to, if the route allows that.
    pub(crate) fn upgrade_of<'r>(&self, request: &'r RequestHead) -> Option<&'r [u8]> {
        let allows = |token: &&[u8]| self.config.upgrades.iter().any(|one| one.matches(token));
        request.upgrade().filter(allows)
    }
}

impl RouteTable {
    /// The table of `listener`'s routes.
    pub fn build(
        listener: &config::Listener,
        settings: &[FilterSettings],
        schemas: &Schemas,
        registry: &mut Registry,
    ) -> RouteTable {
        let mut instance =
            |name: &str| registry.instance(schemas.route.id, &[&listener.name, name]);
        let unmatched = instance("unmatched");
        let routes = listener.routes.iter().enumerate().map(|(index, route)| {
            let name = route.name.as_ref().map_or_else(|| index.to_string(), |own| own.to_string());
            Route {
                index: index as u32,
                filters: chain_links(settings, &chain(&listener.filters, &route.filters)).into(),
                config: route.clone(),
                metrics: instance(&name),
                name: name.into(),
            }
        });
        let routes: Vec<Route> = routes.collect();
        let mut by_host: Map<Box<str>, Vec<u32>> = Map::with_hasher(MapSeed::default());
        for host in routes.iter().flat_map(|route| &route.config.hosts) {
            if let config::HostPattern::Exact(host) = host {
                let takes = |route: &&Route| route.takes_host(host);
                let list = routes.iter().filter(takes).map(|route| route.index).collect();
                by_host.insert(host.clone(), list);
            }
        }
        let other = routes.iter().filter(|route| route.takes_unlisted_hosts());
        let filters = chain_links(settings, &listener.filters);
        let varies = |(place, link): (usize, &ChainLink)| {
            routes.iter().any(|route| route.filters[place] != *link)
        };
        RouteTable {
            other: other.map(|route| route.index).collect(),
            by_host,
            first_takes_all: routes.first().is_some_and(Route::takes_all),
            looks_at_paths: routes.iter().any(Route::looks_at_path),
            varied: filters.iter().enumerate().map(varies).collect(),
            routes,
            filters: filters.into(),
            unmatched,
        }
    }

    /// No routes at all, in the place of `previous`.
    pub(crate) fn empty(previous: &RouteTable) -> RouteTable {
        RouteTable {
            routes: Vec::new(),
            by_host: Map::with_hasher(MapSeed::default()),
            other: Vec::new(),
            first_takes_all: false,
            looks_at_paths: false,
            filters: Box::default(),
            varied: Box::default(),
            unmatched: previous.unmatched.clone(),
        }
    }

    /// The routes in file order.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// The filters of a request: its route's, or the listener's where no route takes it.
    #[inline]
    pub fn filters_of<'a>(&'a self, route: Option<&'a Route>) -> &'a [ChainLink] {
        route.map_or(&self.filters, |route| &route.filters)
    }

    /// Of those filters, the ones that run next, when some `ran`: as far as it does not matter
    /// which route the request takes behind them. None, once all ran.
    ///
    /// The filters of the listener are for all routes alike, and what they change decides on the
    /// route; so the routes are looked at behind them, and in front of one that routes configure.
    pub fn filters_ahead<'a>(
        &'a self,
        route: Option<&'a Route>,
        ran: impl Fn(ChainLink) -> bool,
    ) -> &'a [ChainLink] {
        let links = self.filters_of(route);
        let Some(start) = links.iter().position(|link| !ran(*link)) else { return &[] };
        let turns = |place: usize| match self.varied.get(place) {
            Some(varied) => *varied,
            None => place == self.filters.len(),
        };
        let stops = |place: &usize| ran(links[*place]) || (!self.first_takes_all && turns(*place));
        let end = (start + 1..links.len()).find(stops).unwrap_or(links.len());
        &links[start..end]
    }

    /// Counters for requests that no route takes.
    pub fn unmatched(&self) -> &Instance {
        &self.unmatched
    }

    /// Whether [`RouteTable::find`] needs the path in its normal form.
    #[inline]
    pub fn looks_at_paths(&self) -> bool {
        self.looks_at_paths && !self.first_takes_all
    }

    /// The route that `request` takes; `path` is its normalised path, `client` who asks, if a
    /// certificate was verified.
    #[inline]
    pub fn find(
        &self,
        request: &RequestHead,
        path: Path<'_>,
        client: Option<&Identity>,
    ) -> Option<&Route> {
        if self.first_takes_all {
            return self.routes.first();
        }
        self.find_among(request, path, client)
    }

    fn find_among(
        &self,
        request: &RequestHead,
        path: Path<'_>,
        client: Option<&Identity>,
    ) -> Option<&Route> {
        let host = request.host().and_then(|host| std::str::from_utf8(host).ok()).unwrap_or("");
        // RFC 3986 §3.2.2: hosts compare without regard to case; a last dot is the root's.
        let host = host.strip_suffix('.').unwrap_or(host);
        let candidates = if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            self.by_host.get(host.to_ascii_lowercase().as_str())
        } else {
            self.by_host.get(host)
        };
        let candidates = candidates.unwrap_or(&self.other);
        let mut routes = candidates.iter().map(|&index| &self.routes[index as usize]);
        routes.find(|route| route.takes(host, request, path, client))
    }
}

/// The chain of a route: the listener's filters, then the route's own. One that both name runs
/// once, at the listener's place, as the route configures it.
fn chain(listener: &[FilterUse], route: &[FilterUse]) -> Vec<FilterUse> {
    let mut chain = listener.to_vec();
    for wanted in route {
        match chain.iter_mut().find(|known| known.filter == wanted.filter) {
            Some(known) => *known = wanted.clone(),
            None => chain.push(wanted.clone()),
        }
    }
    chain
}
