//! Whether a request is one of a route's.

use penstock_config::{ClientAttribute, HostPattern, TextMatch};
use penstock_tls::Identity;
use penstock_wire::http1::RequestHead;

use super::Route;

/// A request's path in the form that routes compare, without its query.
#[derive(Clone, Copy, Debug)]
pub struct Path<'a>(pub &'a [u8]);

impl Route {
    /// Whether there is no condition at all.
    pub(super) fn takes_all(&self) -> bool {
        let route = &self.config;
        route.hosts.is_empty()
            && route.paths.is_empty()
            && route.services.is_empty()
            && route.methods.is_empty()
            && route.headers.is_empty()
            && route.query.is_empty()
            && route.client.is_empty()
    }

    /// Whether the path makes a difference.
    pub(super) fn looks_at_path(&self) -> bool {
        !self.config.paths.is_empty() || !self.config.services.is_empty()
    }

    /// Whether requests for `host` can be this route's.
    pub(super) fn takes_host(&self, host: &str) -> bool {
        let hosts = &self.config.hosts;
        hosts.is_empty() || hosts.iter().any(|pattern| pattern.matches(host))
    }

    /// Whether a host that no route names exactly can be this route's.
    pub(super) fn takes_unlisted_hosts(&self) -> bool {
        let hosts = &self.config.hosts;
        let is_suffix = |host: &HostPattern| matches!(host, HostPattern::Suffix(_));
        hosts.is_empty() || hosts.iter().any(is_suffix)
    }

    /// Whether every condition holds.
    pub(super) fn takes(
        &self,
        host: &str,
        request: &RequestHead,
        path: Path<'_>,
        client: Option<&Identity>,
    ) -> bool {
        let route = &self.config;
        self.takes_host(host)
            && self.takes_path(path)
            && (route.methods.is_empty() || self.takes_method(request))
            && self.takes_headers(request)
            && self.takes_query(request)
            && self.takes_client(client)
    }

    fn takes_path(&self, path: Path<'_>) -> bool {
        let (paths, services) = (&self.config.paths, &self.config.services);
        if paths.is_empty() && services.is_empty() {
            return true;
        }
        // Normal paths are ASCII; what is not matches nothing.
        let Ok(path) = std::str::from_utf8(path.0) else { return false };
        (paths.is_empty() || paths.iter().any(|pattern| pattern.matches(path)))
            && (services.is_empty() || services.iter().any(|service| service.matches(path)))
    }

    fn takes_method(&self, request: &RequestHead) -> bool {
        let name = request.method_name();
        self.config.methods.iter().any(|method| {
            let method = method.as_str().as_bytes();
            // RFC 9110 §9.3.2: HEAD is GET without the content.
            method == name || (method == b"GET" && name == b"HEAD")
        })
    }

    fn takes_headers(&self, request: &RequestHead) -> bool {
        let fields = request.fields();
        self.config.headers.iter().all(|(name, wanted)| {
            let mut values = fields.values_of(name.as_str().as_bytes()).peekable();
            match values.peek() {
                None => wanted.matches(None),
                Some(_) => values.any(|value| wanted.matches(Some(value))),
            }
        })
    }

    fn takes_client(&self, client: Option<&Identity>) -> bool {
        self.config.client.iter().all(|(attribute, wanted)| match client {
            None => wanted.matches(None),
            Some(client) => says(client, *attribute, wanted),
        })
    }

    fn takes_query(&self, request: &RequestHead) -> bool {
        if self.config.query.is_empty() {
            return true;
        }
        let query = request.query().unwrap_or_default();
        self.config.query.iter().all(|(name, wanted)| {
            let mut values = parameters(query).filter(|(key, _)| key == name.as_bytes()).peekable();
            match values.peek() {
                None => wanted.matches(None),
                Some(_) => values.any(|(_, value)| wanted.matches(Some(&value))),
            }
        })
    }
}

/// Whether a certificate says what is wanted; of several names, one has to.
fn says(client: &Identity, attribute: ClientAttribute, wanted: &TextMatch) -> bool {
    let one = |text: &str| wanted.matches(Some(text.as_bytes()));
    let any = |names: &[Box<str>]| match names {
        [] => wanted.matches(None),
        names => names.iter().any(|name| one(name)),
    };
    match attribute {
        ClientAttribute::Subject => one(&client.subject),
        ClientAttribute::Issuer => one(&client.issuer),
        ClientAttribute::Serial => one(&client.serial),
        ClientAttribute::Dns => any(&client.dns),
        ClientAttribute::Uri => any(&client.uris),
        ClientAttribute::Sha256 => one(&client.fingerprint.to_string()),
    }
}

/// A query's parameters, percent-decoded.
fn parameters(query: &[u8]) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    let pairs = query.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| {
        let mut halves = pair.splitn(2, |&byte| byte == b'=');
        let key = decode(halves.next().unwrap_or_default());
        (key, decode(halves.next().unwrap_or_default()))
    })
}

/// Percent-decodes; `+` is a space, as forms write it. What is no encoding stays as it is.
fn decode(text: &[u8]) -> Vec<u8> {
    let (mut decoded, mut at) = (Vec::with_capacity(text.len()), 0);
    while at < text.len() {
        let byte = match text[at] {
            b'+' => b' ',
            b'%' => match (hex(text, at + 1), hex(text, at + 2)) {
                (Some(high), Some(low)) => {
                    at += 2;
                    high << 4 | low
                }
                _ => b'%',
            },
            byte => byte,
        };
        decoded.push(byte);
        at += 1;
    }
    decoded
}

fn hex(text: &[u8], at: usize) -> Option<u8> {
    let digit = char::from(*text.get(at)?).to_digit(16)?;
    Some(digit as u8)
}
