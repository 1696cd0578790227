//! The fields that tell endpoints who asked: `X-Forwarded-*`, `Forwarded`, `Via`.
//!
//! What a peer claims of others is believed only where the config trusts it; from all others
//! these fields are dropped, and ours tell what we saw.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use penstock_config::{ForwardedFields, Trusted};
use penstock_env::Env;
use penstock_wire::http1::{Known, KnownSet, RequestHead};

use super::Exchange;

/// Fields added to a request; their values lie one after the other in a scratch buffer.
pub(crate) struct Added<'a> {
    values: &'a mut Vec<u8>,
    fields: [(&'static [u8], Range<usize>); FIELDS_MAX],
    count: usize,
}

/// Room for all of them: names and values.
type Places<'a> = [(&'a [u8], &'a [u8]); FIELDS_MAX];

/// The host that was asked for, and the scheme.
type Seen<'a> = (Option<&'a [u8]>, &'a str);

/// `X-Forwarded-For`, `-Proto`, `-Host`, `Forwarded` and `Via`.
const FIELDS_MAX: usize = 5;

impl<'a> Added<'a> {
    /// Nothing yet.
    pub(crate) fn new(values: &'a mut Vec<u8>) -> Self {
        values.clear();
        Added { values, fields: [const { (b"" as &[u8], 0..0) }; FIELDS_MAX], count: 0 }
    }

    /// The fields, for rendering: so many of the places are used.
    pub(crate) fn fields(&self) -> (Places<'_>, usize) {
        let place =
            |(name, value): &(&'static [u8], Range<usize>)| (*name, &self.values[value.clone()]);
        (self.fields.each_ref().map(place), self.count)
    }

    /// Adds who asked, and for which `host`; the received fields that these stand for are to be
    /// dropped.
    pub(crate) fn forwarded<E: Env>(
        &mut self,
        exchange: &Exchange<'_, E>,
        request: &RequestHead,
        host: Option<&[u8]>,
    ) -> KnownSet {
        let config = &exchange.listener.config;
        if config.via {
            self.put(b"Via", |values| values.extend_from_slice(exchange.down.via(request)));
        }
        let peer = exchange.down.peer().ip();
        let trusted = is_believed(exchange);
        let (x_forwarded, forwarded) = match config.forwarded {
            ForwardedFields::XForwarded => (true, false),
            ForwardedFields::Forwarded => (false, true),
            ForwardedFields::Both => (true, true),
            ForwardedFields::Off => (false, false),
        };
        let (mut drop, seen) = (KnownSet::NONE, (host, exchange.down.scheme()));
        if !trusted {
            drop = FORWARDED_FIELDS;
        }
        if x_forwarded {
            if let Some(peer) = peer {
                drop = drop.with(Known::XForwardedFor);
                self.x_forwarded_for(request, peer, trusted);
            }
            self.x_forwarded(request, trusted, seen);
        }
        if forwarded {
            drop = drop.with(Known::Forwarded);
            self.forwarded_field(request, peer, trusted, seen);
        }
        drop
    }

    fn x_forwarded_for(&mut self, request: &RequestHead, peer: IpAddr, trusted: bool) {
        let is_there = trusted && request.fields().value_of_known(Known::XForwardedFor).is_some();
        let chain = is_there.then(|| request.fields().values_of(b"x-forwarded-for"));
        self.put(b"X-Forwarded-For", |values| {
            for value in chain.into_iter().flatten() {
                values.extend_from_slice(value);
                values.extend_from_slice(b", ");
            }
            write_ip(values, peer);
        });
    }

    /// A trusted peer's word stands: it has seen the downstream, we only saw the peer.
    fn x_forwarded(&mut self, request: &RequestHead, trusted: bool, (host, scheme): Seen<'_>) {
        let is_said = |known| trusted && request.fields().value_of_known(known).is_some();
        if !is_said(Known::XForwardedProto) {
            self.put(b"X-Forwarded-Proto", |values| values.extend_from_slice(scheme.as_bytes()));
        }
        if let Some(host) = host.filter(|_| !is_said(Known::XForwardedHost)) {
            self.put(b"X-Forwarded-Host", |values| values.extend_from_slice(host));
        }
    }

    /// RFC 7239 §4: an element for each hop, ours last.
    fn forwarded_field(
        &mut self,
        request: &RequestHead,
        peer: Option<IpAddr>,
        trusted: bool,
        (host, scheme): Seen<'_>,
    ) {
        self.put(b"Forwarded", |values| {
            if trusted {
                for value in request.fields().values_of(b"forwarded") {
                    values.extend_from_slice(value);
                    values.extend_from_slice(b", ");
                }
            }
            values.extend_from_slice(b"for=");
            match peer {
                // RFC 7239 §6.2: it came over a unix socket.
                None => values.extend_from_slice(b"unknown"),
                Some(peer @ IpAddr::V4(_)) => write_ip(values, peer),
                // RFC 7239 §6: IPv6 in brackets, and so in quotes.
                Some(peer @ IpAddr::V6(_)) => {
                    values.extend_from_slice(b"\"[");
                    write_ip(values, peer);
                    values.extend_from_slice(b"]\"");
                }
            }
            if let Some(host) = host {
                values.extend_from_slice(b";host=\"");
                values.extend_from_slice(host);
                values.push(b'"');
            }
            values.extend_from_slice(b";proto=");
            values.extend_from_slice(scheme.as_bytes());
        });
    }

    fn put(&mut self, name: &'static [u8], write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.values.len();
        write(self.values);
        self.fields[self.count] = (name, start..self.values.len());
        self.count += 1;
    }
}

/// Drops what a peer says of whom it speaks for, unless the config trusts it: before routes and
/// filters look at the request, so that neither is told a tale.
pub(crate) fn disown<E: Env>(exchange: &Exchange<'_, E>, request: &mut RequestHead) {
    if !request.fields().has_any(FORWARDED_FIELDS) || is_believed(exchange) {
        return;
    }
    for name in FORWARDED_NAMES {
        // None of them is the codec's own: they can all go.
        let _ = request.fields_mut().remove(name);
    }
}

/// Whether the config trusts the peer.
fn is_believed<E: Env>(exchange: &Exchange<'_, E>) -> bool {
    is_trusted(&exchange.listener.config.trusted, exchange.down.peer().ip())
}

/// Who asked, where a peer that the config trusts says that it was somebody else: the last in
/// `X-Forwarded-For` that is not trusted. What stands before that one is hearsay.
pub(crate) fn client<E: Env>(exchange: &Exchange<'_, E>, request: &RequestHead) -> Option<IpAddr> {
    let trusted = &exchange.listener.config.trusted;
    // Most have none: nothing is looked up for them.
    if trusted.is_empty() { None } else { told(trusted, exchange.down.peer().ip(), request) }
}

fn told(trusted: &[Trusted], peer: Option<IpAddr>, request: &RequestHead) -> Option<IpAddr> {
    if !is_trusted(trusted, peer) || request.fields().value_of_known(Known::XForwardedFor).is_none()
    {
        return None;
    }
    let values = request.fields().values_of(b"x-forwarded-for");
    let mut client = None;
    // From the left, so that nothing has to be kept: whoever is not trusted takes the place of all
    // before it, and of those that are trusted behind one another the first was spoken for. Behind
    // what is no address nobody knows.
    for hop in values.flat_map(|value| value.split(|&byte| byte == b',')) {
        client = match address_of(hop.trim_ascii()) {
            Some(hop) if client.is_none() || !is_trusted(trusted, Some(hop)) => Some(hop),
            Some(_) => client,
            None => None,
        };
    }
    client
}

/// An address as a hop has it: alone, or with a port, as some proxies write it.
fn address_of(hop: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(hop).ok()?;
    let alone = text.parse::<IpAddr>().ok();
    let address = alone.or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()))?;
    // It is one, whichever way it is written.
    Some(address.to_canonical())
}

/// Whether the config trusts this peer; it has no address over a unix socket.
pub(crate) fn is_trusted(trusted: &[Trusted], peer: Option<IpAddr>) -> bool {
    trusted.iter().any(|one| one.contains(peer))
}

fn write_ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            for (index, byte) in ip.octets().into_iter().enumerate() {
                if index > 0 {
                    out.push(b'.');
                }
                if byte >= 100 {
                    out.push(b'0' + byte / 100);
                }
                if byte >= 10 {
                    out.push(b'0' + byte / 10 % 10);
                }
                out.push(b'0' + byte % 10);
            }
        }
        // A Vec takes every write.
        IpAddr::V6(ip) => drop(write!(out, "{ip}")),
    }
}

/// What a peer can claim about whom it speaks for.
const FORWARDED_FIELDS: KnownSet = KnownSet::NONE
    .with(Known::XForwardedFor)
    .with(Known::XForwardedProto)
    .with(Known::XForwardedHost)
    .with(Known::Forwarded);

const FORWARDED_NAMES: [&[u8]; 4] =
    [b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"forwarded"];

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use penstock_config::Trusted;
    use penstock_wire::http1::RequestHead;

    use super::{told, write_ip};

    /// Of a peer at 10.0.0.1, or over a unix socket; both are trusted.
    #[track_caller]
    fn check(forwarded: &[&str], expected: &str) {
        let trusted: Vec<Trusted> =
            ["10.0.0.0/8", "::1/128", "unix"].map(|net| net.parse().expect("a network")).to_vec();
        let mut head = RequestHead::new();
        head.start(b"GET", b"/", b"host").expect("a request");
        for value in forwarded {
            head.fields_mut().append(b"X-Forwarded-For", value.as_bytes()).expect("a field");
        }
        let peer: IpAddr = "10.0.0.1".parse().expect("an address");
        let is = |peer| told(&trusted, peer, &head).map_or("-".to_owned(), |ip| ip.to_string());
        assert_eq!((is(Some(peer)), is(None)), (expected.into(), expected.into()));
        // Whom nobody trusts is not asked.
        let networks = &trusted[..2];
        let stranger = "192.0.2.1".parse().ok();
        assert_eq!((told(networks, stranger, &head), told(networks, None, &head)), (None, None));
    }

    #[test]
    fn who_asked_is_the_last_hop_that_is_not_trusted() {
        check(&[], "-");
        check(&["203.0.113.7"], "203.0.113.7");
        check(&["1.2.3.4, 203.0.113.7, 10.9.9.9"], "203.0.113.7");
        check(&["1.2.3.4", "203.0.113.7", "10.9.9.9, 10.1.1.1"], "203.0.113.7");
        check(&["2001:db8::1, ::1"], "2001:db8::1");
        check(&["10.2.2.2"], "10.2.2.2");
        check(&["1.2.3.4, 10.2.2.2, 203.0.113.7, 10.3.3.3, 10.4.4.4"], "203.0.113.7");
        check(&["evil, 10.3.3.3"], "10.3.3.3");
        check(&["evil, 10.3.3.3, 10.4.4.4"], "10.3.3.3");
        check(&["1.2.3.4, evil"], "-");
        check(&["1.2.3.4, "], "-");
        check(&["::ffff:203.0.113.7"], "203.0.113.7");
        check(&["203.0.113.7:4711, 10.9.9.9"], "203.0.113.7");
        check(&["[2001:db8::1]:4711"], "2001:db8::1");
    }

    #[test]
    fn addresses_are_written_as_the_library_does() {
        for text in ["0.0.0.0", "9.10.99.100", "255.254.200.1", "::", "2001:db8::1"] {
            let mut out = Vec::new();
            write_ip(&mut out, text.parse().expect("an address"));
            assert_eq!(out, text.as_bytes());
        }
    }
}
