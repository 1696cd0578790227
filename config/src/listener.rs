//! `[listener.X]`: where requests come in, what is taken from them, and where they go.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::action::{Action, Forward};
use crate::chain::{CHAIN, FilterUse, check_chain};
use crate::grammar::block::BlockName;
use crate::grammar::names::ClusterId;
use crate::grammar::reader::TableReader;
use crate::grammar::section::{Group, TableSchema, TableWriter, choice, section};
use crate::grammar::setting::ListOf;
use crate::proxy_protocol::ProxyProtocol;
use crate::route::Route;
use crate::tls::ListenerTls;
use crate::values::address::{ListenAddress, Trusted};
use crate::values::units::{ByteSize, Ratio};

section! {
    /// A way in.
    pub struct Listener("listener", check = check_listener) {
        .. {
            /// The name after `listener.`.
            name: BlockName;
            /// Where requests go: the first route that matches.
            routes: Routes;
        }
        /// Where it listens: one address, or a list of them.
        addresses as "address": Vec<ListenAddress>, in ADDRESSES;
        /// What is spoken there.
        protocol: Protocol = Protocol::Http;
        /// Peers whose connections begin with a header that says who they are from.
        proxy_protocol: Option<ProxyProtocol> = None;
        /// The certificates that are presented there; without it, nothing is encrypted.
        tls: Option<ListenerTls> = None;
        /// The filters that every request passes, in order. Routes are looked at behind them, and
        /// so go by what they change.
        filters: Vec<FilterUse> = Vec::new(), in CHAIN;
        /// Malformed input that is let through all the same, by name, and counted.
        lenient: Vec<Lenience> = Vec::new();
        /// Proxies whose `X-Forwarded-For` and `Forwarded` are kept, and `Client-Cert` where no
        /// certificate is asked for: networks, and `"unix"` for all who come over a unix socket.
        /// Who asked is then the last address in `X-Forwarded-For` that is none of theirs: to
        /// filters (`source.address`), where a cluster hashes by `source`, and in the log.
        trusted: Vec<Trusted> = Vec::new();
        /// Which fields tell endpoints who asked.
        forwarded: ForwardedFields = ForwardedFields::XForwarded;
        /// Adds `Via` to requests and responses (RFC 9110 §7.6.3).
        via: bool = true;
        /// How long we wait for what.
        timeouts: ListenerTimeouts = ListenerTimeouts::default();
        /// How much is taken.
        limits: ListenerLimits = ListenerLimits::default();
        /// What a connection that speaks HTTP/2 may do.
        http2: Http2 = Http2::default();
    }
}

const ADDRESSES: ListOf<()> = ListOf { item: (), count_min: 1, count_max: 64, bare: true };

fn check_listener(listener: &Listener, table: &mut TableReader<'_, '_, '_>) -> Option<()> {
    if let Some(node) = table.peek("address") {
        let nodes = node.get_ref().as_array();
        for (index, address) in listener.addresses.iter().enumerate() {
            let node = nodes.and_then(|nodes| nodes.get(index)).unwrap_or(node);
            table.reader.below("address", |reader| reader.claim(node, address));
        }
    }
    check_chain(&listener.filters, table)?;
    check_clients(listener, table)?;
    if listener.limits.line_bytes_max > listener.limits.head_bytes_max {
        return table.contradict("limits", "`line` is larger than `head`");
    }
    if listener.limits.uri_bytes_max > listener.limits.line_bytes_max {
        return table.contradict("limits", "`uri` is larger than `line`");
    }
    Some(())
}

/// Only a certificate that was verified says who somebody is.
fn check_clients(listener: &Listener, table: &mut TableReader<'_, '_, '_>) -> Option<()> {
    let asked = listener.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
    let route = listener.routes.iter().position(|route| !route.client.is_empty());
    let Some(index) = route.filter(|_| !asked) else { return Some(()) };
    let span = table.span_of_item("route", index);
    table.reader.below("route", |reader| {
        reader.at(index, |reader| {
            let problem = "`client` needs the listener's `tls.client_ca` to verify by";
            reader.contradict(span, problem.to_owned())
        })
    })
}

choice! {
    /// What is spoken on a listener.
    pub enum Protocol("protocol") {
        /// HTTP/1.1 and 1.0, and HTTP/2 as `http2.mode` says.
        Http = "http",
        /// gRPC calls, and gRPC-Web's: HTTP in which anything else is answered 415.
        Grpc = "grpc",
    }
}

choice! {
    /// Malformed input that a listener can be told to let through.
    pub enum Lenience("lenience") {
        /// Field values folded over lines; the fold becomes a space (RFC 9112 §5.2).
        ObsFold = "obs-fold",
        /// Lines of a head that end in LF alone (RFC 9112 §2.2).
        BareLf = "bare-lf",
        /// Field names with an underscore, which are dropped otherwise.
        Underscore = "underscore",
        /// Equal lengths, repeated, which become one (RFC 9110 §8.6).
        RepeatedContentLength = "repeated-content-length",
        /// `%2F` in paths, read as text. Without these three, a path is refused that another route
        /// would take if it were read as some servers do: this as a slash (nginx).
        EscapedSlash = "escaped-slash",
        /// `\` and `%5C` in paths, read as text: some servers take them for slashes (IIS).
        Backslash = "backslash",
        /// `;` in paths, read as text: some servers drop it and what follows it in a segment
        /// (Tomcat), so that `..;` is `..` to them.
        PathParameters = "path-parameters",
    }
}

choice! {
    /// Which fields tell endpoints who asked.
    pub enum ForwardedFields("forwarded") {
        /// `X-Forwarded-For`, `-Proto` and `-Host`.
        XForwarded = "x-forwarded",
        /// `Forwarded` (RFC 7239).
        Forwarded = "forwarded",
        /// Both.
        Both = "both",
        /// None; those that came in are removed, unless the peer is trusted.
        Off = "off",
    }
}

section! {
    /// How long a listener waits.
    pub struct ListenerTimeouts("timeouts") = default {
        /// For a whole TLS handshake, from the connection's start.
        tls_handshake: Duration = Duration::from_secs(5), in MS..=HOUR;
        /// For a whole request head, from its first byte or the connection's start.
        request_head: Duration = Duration::from_secs(10), in MS..=HOUR;
        /// For the next bytes of a request body.
        body_stall: Duration = Duration::from_secs(30), in MS..=HOUR;
        /// For bytes of a request body to come at `body_rate_min`, after this time.
        body_rate_after: Duration = Duration::from_secs(10), in MS..=HOUR;
        /// Bytes per second that a request body has to come at; 0 asks for none. Up to 16 on one
        /// connection of HTTP/2 share them.
        body_rate_min: ByteSize = ByteSize::kib(1), in ByteSize::bytes(0)..=ByteSize::gib(1);
        /// For a reader to take the next bytes of a response.
        write_stall: Duration = Duration::from_secs(60), in MS..=HOUR;
        /// Unused, before a kept connection is closed.
        keep_alive: Duration = Duration::from_secs(75), in Duration::ZERO..=DAY;
        /// Age at which a connection is closed after its response...
        connection_age: Duration = Duration::from_secs(3_600), in Duration::from_secs(1)..=DAY;
        /// ... give or take this much, so that connections don't all end at once.
        connection_age_jitter: Ratio = Ratio::percent(10), in JITTER;
    }
}

section! {
    /// How much a listener takes.
    pub struct ListenerLimits("limits") = default {
        /// Connections to this listener.
        connections_max as "connections": u32 = 1_000_000, in 1..=10_000_000;
        /// Connections from one source address, in IPv6 one /64, to this or any other listener.
        /// Counted in a table of fixed size: a source that shares its places there with busy ones
        /// may get fewer.
        source_connections_max as "connections_per_source": u32 = 1_024, in 1..=10_000_000;
        /// TLS handshakes under way on one shard, from a whole ClientHello on. Over it, the oldest
        /// of the source that has the most gives way to a newcomer, or one that stands still; where
        /// there is none such, new connections are closed.
        handshakes_max as "handshakes": u32 = 1_024, in 1..=1_000_000;
        /// Requests on one connection.
        connection_requests_max as "requests_per_connection": u32 = 10_000, in 1..=1_000_000_000;
        /// Bytes of a message's head; over it, 431.
        head_bytes_max as "head": ByteSize = ByteSize::kib(64), in HEAD;
        /// Bytes of one line of the head; over it, 431.
        line_bytes_max as "line": ByteSize = ByteSize::kib(32), in HEAD;
        /// Fields of a message's head; over it, 431.
        fields_max as "fields": u32 = 100, in 1..=FIELDS_MAX;
        /// Bytes of a request's URI; over it, 414.
        uri_bytes_max as "uri": ByteSize = ByteSize::kib(8), in URI;
        /// Bytes of chunk extensions in one message; they are dropped.
        extension_bytes_max as "chunk_extensions": ByteSize = ByteSize::kib(16), in SECTION;
        /// Bytes of a message's trailer section.
        trailer_bytes_max as "trailers": ByteSize = ByteSize::kib(16), in SECTION;
        /// Fields of a message's trailer section.
        trailer_fields_max as "trailer_fields": u32 = 64, in 0..=FIELDS_MAX;
        /// Bytes that wait in each direction for a slow reader.
        buffer_bytes_max as "buffer": ByteSize = ByteSize::kib(32), in BUFFER;
    }
}

choice! {
    /// Whether a listener speaks HTTP/2.
    pub enum Http2Mode("mode") {
        /// With those who begin with it: in TLS by ALPN, in the clear by its preface.
        Auto = "auto",
        /// With everybody: HTTP/1 is refused.
        Only = "only",
        /// With nobody.
        Off = "off",
    }
}

section! {
    /// What a connection that speaks HTTP/2 may do. Over a measure, it is closed.
    pub struct Http2("http2") = default {
        /// Beside HTTP/1, instead of it, or not at all.
        mode: Http2Mode = Http2Mode::Auto;
        /// Requests at a time.
        streams_max as "streams": u32 = 100, in 1..=10_000;
        /// Bytes of a request's body that may be on their way to us.
        stream_window_bytes as "stream_window": ByteSize = ByteSize::kib(64), in WINDOW;
        /// The same, of all bodies of a connection.
        connection_window_bytes as "connection_window": ByteSize = ByteSize::mib(1), in WINDOW;
        /// What a connection's window grows to where its path is too long and wide for less; a
        /// stream's grows to half of that.
        window_bytes_max as "window_max": ByteSize = ByteSize::mib(4), in WINDOW;
        /// Bytes of heads that are remembered to shorten those that follow.
        header_table_bytes as "header_table": ByteSize = ByteSize::kib(4), in TABLE;
        /// Bytes of heads of requests under way, where a head has more than 4 KiB; over it, streams
        /// are refused (REFUSED_STREAM), and clients may ask again.
        large_heads_bytes_max as "large_heads": ByteSize = ByteSize::kib(512), in HEADS;
        /// CONTINUATION frames of one head.
        continuations_max as "continuations": u32 = 8, in 0..=1_000;
        /// Requests per second that the peer may give up.
        resets_max as "resets": u32 = 100, in 1..=1_000_000;
        /// Streams with an error of the peer's, over the connection's life.
        errors_max as "errors": u32 = 500, in 1..=1_000_000;
        /// PING frames per second; ten times as many at once.
        pings_max as "pings": u32 = 10, in 1..=1_000_000;
        /// SETTINGS frames per second; five times as many at once.
        settings_max as "settings": u32 = 10, in 1..=1_000_000;
        /// Empty DATA frames per second that end nothing.
        empty_data_max as "empty_data": u32 = 100, in 1..=1_000_000;
        /// WINDOW_UPDATE frames per second, beside those that new streams and what we sent call
        /// for; ten times as many at once.
        window_updates_max as "window_updates": u32 = 1_000, in 1..=1_000_000;
        /// Frames per second that ask for nothing: PRIORITY, GOAWAY, answers to pings, and those of
        /// unknown kinds.
        others_max as "others": u32 = 100, in 1..=1_000_000;
    }
}

/// The routes of a listener, in file order: never empty.
///
/// Read from `[[listener.X.route]]`, or from `to`, which is one route for everything.
#[derive(Clone, Debug, PartialEq)]
pub struct Routes(Vec<Route>);

impl std::ops::Deref for Routes {
    type Target = [Route];

    fn deref(&self) -> &[Route] {
        &self.0
    }
}

impl Group for Routes {
    fn read(table: &mut TableReader<'_, '_, '_>) -> Option<Routes> {
        let to = table.optional::<Option<ClusterId>>("to", || None, &());
        let routes = table.optional::<Option<Vec<Route>>>("route", || None, &ROUTES);
        match (to?, routes?) {
            (Some(cluster), None) => {
                let forward = Forward::all_to(cluster);
                Some(Routes(vec![Route::everything(Action::Forward(forward))]))
            }
            (None, Some(routes)) => check_routes(routes, table),
            (Some(_), Some(_)) => {
                table.contradict("to", "stands beside [[route]]; make it the last route's")
            }
            (None, None) => table.missing("to", "neither `to` nor a [[route]] is set"),
        }
    }

    /// Always as routes, which have defaults to show.
    fn write(&self, out: &mut TableWriter<'_>) {
        out.put("route", &self.0);
    }

    fn describe(out: &mut TableSchema) {
        let docs = &["The cluster that every request goes to, in place of routes."];
        out.optional::<Option<ClusterId>>("to", docs, &None, &());
        let docs = &["Where requests go: the first that matches."];
        out.optional::<Option<Vec<Route>>>("route", docs, &None, &ROUTES);
    }
}

/// A name that two routes have would count both as one. A route behind one that matches everything
/// can only be a mistake: the first match wins.
fn check_routes(routes: Vec<Route>, table: &mut TableReader<'_, '_, '_>) -> Option<Routes> {
    let mut names: Vec<_> = routes.iter().filter_map(|route| route.name.as_ref()).collect();
    names.sort();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return table.contradict("route", &format!("two are named {}", pair[0]));
    }
    let everything = routes.iter().position(Route::matches_everything);
    match everything {
        Some(index) if index + 1 < routes.len() => {
            let problem = format!("never reached: route[{index}] matches everything");
            let span = table.span_of_item("route", index + 1);
            table.reader.below("route", |reader| {
                reader.at(index + 1, |reader| reader.contradict(span, problem))
            })
        }
        _ => Some(Routes(routes)),
    }
}

const ROUTES: ListOf<()> = ListOf { item: (), count_min: 1, count_max: 10_000, bare: false };
const HEAD: RangeInclusive<ByteSize> = ByteSize::kib(1)..=ByteSize::mib(1);
const URI: RangeInclusive<ByteSize> = ByteSize::bytes(256)..=ByteSize::mib(1);
const SECTION: RangeInclusive<ByteSize> = ByteSize::bytes(0)..=ByteSize::mib(1);
/// The parser keeps its fields in a table of this size on the stack.
const FIELDS_MAX: u32 = 256;
/// RFC 9113 §6.9.2: what a window begins with, and (§6.9.1) the largest.
const WINDOW: RangeInclusive<ByteSize> = ByteSize::kib(64)..=ByteSize::gib(1);
const HEADS: RangeInclusive<ByteSize> = ByteSize::kib(64)..=ByteSize::gib(1);
const TABLE: RangeInclusive<ByteSize> = ByteSize::bytes(0)..=ByteSize::mib(1);
const BUFFER: RangeInclusive<ByteSize> = ByteSize::kib(4)..=ByteSize::mib(16);
const JITTER: RangeInclusive<Ratio> = Ratio::percent(0)..=Ratio::percent(50);
const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);
