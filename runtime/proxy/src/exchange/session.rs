//! An exchange as its filters see it: heads, trailers, properties.

use std::net::IpAddr;
use std::time::Duration;

use penstock_env::Address;
use penstock_filter_host::abi::MapType;
use penstock_filter_host::{HeaderMap, Session};
use penstock_tls::Facts as Secured;
use penstock_wire::http1::{Fields, RequestHead};

use super::fieldmap::{RequestMap, ResponseMap, TrailerMap};
use super::filtered::Sizes;
use crate::properties::{Properties, address, integer, text};

/// What does not change while a filter runs.
#[derive(Clone, Copy)]
pub(crate) struct Facts<'a> {
    /// Who asked, where a trusted peer says it.
    pub(crate) client: Option<IpAddr>,
    pub(crate) peer: &'a Address,
    pub(crate) local: &'a Address,
    pub(crate) secure: Option<&'a Secured>,
    pub(crate) listener: &'a str,
    /// What the downstream speaks.
    pub(crate) protocol: &'a str,
    pub(crate) route: Option<&'a str>,
    pub(crate) cluster: Option<&'a str>,
    pub(crate) endpoint: Option<&'a Address>,
    pub(crate) begun_us: u64,
    pub(crate) elapsed: Duration,
    pub(crate) sizes: Sizes,
}

/// One call's view of an exchange.
pub(crate) struct HttpSession<'a> {
    pub(crate) request: RequestMap<'a>,
    pub(crate) response: Option<ResponseMap<'a>>,
    pub(crate) request_trailers: Option<TrailerMap<'a>>,
    pub(crate) response_trailers: Option<TrailerMap<'a>>,
    pub(crate) properties: &'a mut Properties,
    /// Asked for when a filter reads a property: most don't.
    pub(crate) facts: &'a dyn Fn(&RequestHead) -> Facts<'a>,
}

impl Session for HttpSession<'_> {
    fn headers(&mut self, map: MapType) -> Option<&mut dyn HeaderMap> {
        fn part<M: HeaderMap>(map: Option<&mut M>) -> Option<&mut dyn HeaderMap> {
            map.map(|map| map as &mut dyn HeaderMap)
        }
        match map {
            MapType::RequestHeaders => Some(&mut self.request),
            MapType::RequestTrailers => part(self.request_trailers.as_mut()),
            MapType::ResponseHeaders => part(self.response.as_mut()),
            MapType::ResponseTrailers => part(self.response_trailers.as_mut()),
            _ => None,
        }
    }

    fn property(&self, path: &[&[u8]], out: &mut Vec<u8>) -> bool {
        self.well_known(path, out) || self.properties.find(path, out)
    }

    fn set_property(&mut self, path: &[&[u8]], value: &[u8]) -> bool {
        !self.well_known(path, &mut Vec::new()) && self.properties.set(path, value)
    }
}

impl HttpSession<'_> {
    /// The properties that every exchange has, by the names that Envoy gives them.
    fn well_known(&self, path: &[&[u8]], out: &mut Vec<u8>) -> bool {
        let facts = (self.facts)(self.request.head());
        match *path {
            [b"request", name] => self.request_property(name, &facts, out),
            [b"request", b"headers", name] => text(self.request.value(name), out),
            [b"response", name] => self.response_property(name, &facts, out),
            [b"response", b"headers", name] => {
                text(self.response.as_ref().and_then(|map| map.value(name)), out)
            }
            [b"source", name] => match facts.client {
                // Nobody says which port it was: 0, as in Envoy.
                Some(client) => address(name, Some(&Address::Ip((client, 0).into())), out),
                None => address(name, Some(facts.peer), out),
            },
            [b"destination", name] => address(name, Some(facts.local), out),
            [b"upstream", name] => address(name, facts.endpoint, out),
            [b"connection", name] => connection(name, facts.secure, out),
            [b"listener_name"] | [b"xds", b"listener_name"] => {
                text(Some(facts.listener.as_bytes()), out)
            }
            [b"cluster_name"] | [b"xds", b"cluster_name"] => {
                text(facts.cluster.map(str::as_bytes), out)
            }
            [b"route_name"] | [b"xds", b"route_name"] => {
                let name = facts.route.map(|route| format!("{}/{route}", facts.listener));
                text(name.as_ref().map(String::as_bytes), out)
            }
            _ => false,
        }
    }

    fn request_property(&self, name: &[u8], facts: &Facts<'_>, out: &mut Vec<u8>) -> bool {
        let head: &RequestHead = self.request.head();
        let header = |name: &[u8]| head.fields().value_of(name);
        match name {
            b"path" => text(Some(head.path_and_query()), out),
            b"url_path" => text(Some(head.path()), out),
            b"query" => text(head.query(), out),
            b"host" => text(head.authority(), out),
            b"method" => text(Some(head.method_name()), out),
            b"scheme" => {
                let scheme: &[u8] = if facts.secure.is_some() { b"https" } else { b"http" };
                text(Some(scheme), out)
            }
            b"id" => text(header(b"x-request-id"), out),
            b"referer" => text(header(b"referer"), out),
            b"useragent" => text(header(b"user-agent"), out),
            b"protocol" => text(Some(facts.protocol.as_bytes()), out),
            // Envoy gives times in nanoseconds.
            b"time" => integer(facts.begun_us * 1_000, out),
            b"duration" => integer(facts.elapsed.as_nanos() as u64, out),
            b"size" => integer(facts.sizes.request_body, out),
            b"total_size" => integer(facts.sizes.request_head + facts.sizes.request_body, out),
            _ => false,
        }
    }

    fn response_property(&self, name: &[u8], facts: &Facts<'_>, out: &mut Vec<u8>) -> bool {
        let Some(response) = &self.response else { return false };
        match name {
            b"code" => integer(u64::from(response.head().status()), out),
            b"size" => integer(facts.sizes.response_body, out),
            b"total_size" => integer(facts.sizes.response_heads + facts.sizes.response_body, out),
            _ => false,
        }
    }
}

/// Of the connection's TLS, by the names that Envoy gives it.
fn connection(name: &[u8], secure: Option<&Secured>, out: &mut Vec<u8>) -> bool {
    let client = secure.and_then(|secure| secure.client.as_deref());
    let string = |value: Option<&str>, out: &mut Vec<u8>| text(value.map(str::as_bytes), out);
    match name {
        b"mtls" => {
            out.push(u8::from(client.is_some()));
            true
        }
        b"tls_version" => string(secure.map(|secure| secure.suite.version()), out),
        b"requested_server_name" => {
            string(secure.and_then(|secure| secure.server_name.as_deref()), out)
        }
        b"subject_peer_certificate" => string(client.map(|client| &*client.subject), out),
        b"dns_san_peer_certificate" => string(client.and_then(|client| first(&client.dns)), out),
        b"uri_san_peer_certificate" => string(client.and_then(|client| first(&client.uris)), out),
        b"sha256_peer_certificate_digest" => {
            let digest = client.map(|client| client.fingerprint.to_string());
            string(digest.as_deref(), out)
        }
        _ => false,
    }
}

fn first(names: &[Box<str>]) -> Option<&str> {
    names.first().map(|name| &**name)
}

/// The trailers, if any came.
pub(crate) fn trailers(fields: &mut Fields) -> Option<TrailerMap<'_>> {
    (fields.count() > 0).then_some(TrailerMap(fields))
}

#[cfg(test)]
mod tests {
    use penstock_tls::Suite;

    use super::{Secured, connection};

    #[test]
    fn what_a_connection_does_not_have_is_no_property() {
        let facts = Secured {
            suite: Suite::default(),
            server_name: Some("a.example".into()),
            http2: false,
            resumed: false,
            client: None,
        };
        let get = |name: &[u8], secure: Option<&Secured>| {
            let mut out = Vec::new();
            connection(name, secure, &mut out).then_some(out)
        };
        assert_eq!(get(b"mtls", None), Some(vec![0]));
        assert_eq!(get(b"tls_version", None), None);
        assert_eq!(get(b"mtls", Some(&facts)), Some(vec![0]));
        assert_eq!(get(b"requested_server_name", Some(&facts)), Some(b"a.example".to_vec()));
        assert_eq!(get(b"subject_peer_certificate", Some(&facts)), None);
        assert_eq!(get(b"sha256_peer_certificate_digest", Some(&facts)), None);
    }
}
