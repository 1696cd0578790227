//! `[[listener.X.route]]`: which requests are meant, and what is done with them.

use std::time::Duration;

use serde_json::{Value, json};

use crate::action::Action;
use crate::chain::{CHAIN, FilterUse, check_chain};
use crate::client::ClientAttribute;
use crate::edits::HeaderEdits;
use crate::grammar::names::Names;
use crate::grammar::reader::{Node, Reader, TableReader, wrong_type};
use crate::grammar::section::{choice, section};
use crate::grammar::setting::{ListOf, Setting};
use crate::grammar::tree::Tree;
use crate::values::grpc::GrpcService;
use crate::values::header::{HeaderName, Method, UpgradeToken};
use crate::values::name::RouteName;
use crate::values::pattern::{HostPattern, PathPattern, PathText, TextMatch};
use crate::values::units::Ratio;

section! {
    /// Requests that are alike, and what is done with them. Everything that is set has to match;
    /// of a list, one item.
    pub struct Route("route", check = check_route) {
        .. {
            /// What is done.
            action: Action;
        }
        /// What metrics, the access log and filters call it, whatever stands in front of it; its
        /// place in the listener, from 0, if not set.
        name: Option<RouteName> = None;
        /// The hosts that are meant; every host if none is named.
        hosts as "host": Vec<HostPattern> = Vec::new(), in SOME;
        /// The paths that are meant; every path if none is named.
        paths as "path": Vec<PathPattern> = Vec::new(), in SOME;
        /// The gRPC services, or methods of services, that are meant; every one if none is named.
        services as "service": Vec<GrpcService> = Vec::new(), in SOME;
        /// The methods that are meant; every method if none is named. GET means HEAD too.
        methods as "method": Vec<Method> = Vec::new(), in SOME;
        /// Header fields that have to be as said.
        headers: HeaderMatches = HeaderMatches::default();
        /// Query parameters that have to be as said.
        query: QueryMatches = QueryMatches::default();
        /// What the downstream's verified certificate has to say; without one, nothing is said.
        client: ClientMatches = ClientMatches::default();
        /// The path that the endpoint sees.
        rewrite: Option<Rewrite> = None;
        /// Changes to the fields of the request, before it is forwarded.
        request_headers: HeaderEdits = HeaderEdits::default();
        /// Changes to the fields of the response.
        response_headers: HeaderEdits = HeaderEdits::default();
        /// From the request's head to the response's end, tries and all; no limit if not set.
        timeout: Option<Duration> = None, in Duration::from_millis(1)..=DAY;
        /// How requests are tried again.
        retry: Retry = Retry::default();
        /// Filters after the listener's own. One that the listener has too runs once, at the
        /// listener's place, with the config given here. Where they change what routes look at, and
        /// so the route, the filters of that one run too.
        filters: Vec<FilterUse> = Vec::new(), in CHAIN;
        /// Protocols that a connection may be handed over to.
        upgrades as "upgrade": Vec<UpgradeToken> = vec![UpgradeToken::websocket()], in SOME;
        /// How long a WebSocket may be silent.
        websocket: WebSocket = WebSocket::default();
    }
}

section! {
    /// How long a WebSocket may be silent.
    #[derive(Eq)]
    pub struct WebSocket("websocket") = default {
        /// Without a frame in either direction, answers to our pings left out, before it is closed;
        /// the cluster's `timeouts.upgrade_idle` if not set.
        idle: Option<Duration> = None, in Duration::from_millis(1)..=DAY;
        /// Silence of a peer after which we send it a ping. It is given up where nothing comes
        /// within as long again. No pings if not set.
        ping: Option<Duration> = None, in Duration::from_secs(1)..=DAY;
    }
}

const SOME: ListOf<()> = ListOf { item: (), count_min: 0, count_max: 256, bare: true };

impl Route {
    /// True if no request is left for the routes behind this one.
    pub(crate) fn matches_everything(&self) -> bool {
        let every_path = |path: &PathPattern| *path == PathPattern::everything();
        let any_path = self.paths.is_empty() || self.paths.iter().any(every_path);
        let anywhere = self.hosts.is_empty() && any_path && self.services.is_empty();
        let anyhow = self.methods.is_empty() && self.headers.is_empty() && self.query.is_empty();
        anywhere && anyhow && self.client.is_empty()
    }

    /// A route that every request matches.
    pub fn everything(action: Action) -> Route {
        Route {
            action,
            name: None,
            hosts: Vec::new(),
            paths: Vec::new(),
            services: Vec::new(),
            methods: Vec::new(),
            headers: HeaderMatches::default(),
            query: QueryMatches::default(),
            client: ClientMatches::default(),
            rewrite: None,
            request_headers: HeaderEdits::default(),
            response_headers: HeaderEdits::default(),
            timeout: None,
            retry: Retry::default(),
            filters: Vec::new(),
            upgrades: vec![UpgradeToken::websocket()],
            websocket: WebSocket::default(),
        }
    }
}

fn check_route(route: &Route, table: &mut TableReader<'_, '_, '_>) -> Option<()> {
    check_chain(&route.filters, table)?;
    let forwards = matches!(route.action, Action::Forward(_));
    if !forwards && route.rewrite.is_some() {
        return table.contradict("rewrite", "only what is forwarded has a path to rewrite");
    }
    let all_prefixes = route.paths.iter().all(|path| matches!(path, PathPattern::Prefix(_)));
    if matches!(route.rewrite, Some(Rewrite { prefix: Some(_), .. })) && !all_prefixes {
        return table.contradict("rewrite", "`prefix` needs every `path` to end in \"/*\"");
    }
    Some(())
}

section! {
    /// The path that an endpoint sees in place of the request's. The query is kept.
    #[derive(Eq)]
    pub struct Rewrite("rewrite", check = check_rewrite) {
        /// Put in place of what stands before the star of `path`.
        prefix: Option<PathText> = None;
        /// Put in place of the whole path.
        path: Option<PathText> = None;
    }
}

fn check_rewrite(rewrite: &Rewrite, table: &mut TableReader<'_, '_, '_>) -> Option<()> {
    match (&rewrite.prefix, &rewrite.path) {
        (Some(_), Some(_)) => table.contradict("path", "stands beside `prefix`; only one is done"),
        (None, None) => table.missing("prefix", "one of `prefix` and `path` is needed"),
        _ => Some(()),
    }
}

section! {
    /// How a request that got no answer, or one that is worth another try, is tried again: on
    /// another endpoint, or over another connection where one that was kept had ended.
    #[derive(Eq)]
    pub struct Retry("retry") = default {
        /// Tries after the first; 0 is none.
        attempts: u32 = 2, in 0..=10;
        /// Of these, tries after an endpoint has answered.
        answers: u32 = 1, in 0..=10;
        /// What is tried again.
        on: Vec<RetryOn> = RetryOn::DEFAULT.to_vec();
        /// Doing a request of this route twice is as good as once, whatever its method: gRPC, a
        /// query by POST.
        idempotent: bool = false;
        /// How long one try may take to begin its answer; then it is as one that was answered 504.
        per_try_timeout: Option<Duration> = None, in Duration::from_millis(1)..=DAY;
        /// Retries of the cluster in the last ten seconds, as a share of its requests, beside 10 a
        /// second. Failed connects are not counted: nothing was sent.
        budget: Ratio = Ratio::percent(20), in Ratio::percent(0)..=Ratio::percent(1_000);
    }
}

choice! {
    /// A failure that a request can be tried again after.
    pub enum RetryOn("retry-on") {
        /// No connection: refused, unreachable, or not in time. Whatever the method, since nothing
        /// was sent.
        ConnectFailure = "connect-failure",
        /// The connection was cut before a byte of the response came. Only where doing it twice is
        /// as good as once (GET, HEAD, PUT, DELETE, OPTIONS): the endpoint may have acted on it.
        Reset = "reset",
        /// The endpoint answered 502, where doing it twice is as good as once, as for all that
        /// follows.
        Status502 = "502",
        /// It answered 503.
        Status503 = "503",
        /// It answered 504, or not within `per_try_timeout`.
        Status504 = "504",
        /// It answered any 5xx.
        Status5xx = "5xx",
        /// A gRPC call ended with UNAVAILABLE, before any message.
        Unavailable = "unavailable",
        /// The same with RESOURCE_EXHAUSTED.
        ResourceExhausted = "resource-exhausted",
    }
}

impl RetryOn {
    const DEFAULT: [RetryOn; 6] = [
        RetryOn::ConnectFailure,
        RetryOn::Reset,
        RetryOn::Status502,
        RetryOn::Status503,
        RetryOn::Status504,
        RetryOn::Unavailable,
    ];
}

/// Declares matches by name: header fields, query parameters.
macro_rules! matches_by_name {
    ($(#[$meta:meta])* pub struct $name:ident($key:ty, $what:literal, $parse:expr);) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct $name(Vec<($key, TextMatch)>);

        impl std::ops::Deref for $name {
            type Target = [($key, TextMatch)];

            fn deref(&self) -> &Self::Target {
                &self.0
            }
        }

        impl Setting for $name {
            type Allowed = ();
            const ANY: () = ();

            fn read(node: Node<'_>, _allowed: &(), reader: &mut Reader<'_>) -> Option<$name> {
                read_matches(node, $what, $parse, reader).map($name)
            }

            fn write(&self, _names: &Names) -> Tree {
                let entry = |(key, value): &($key, TextMatch)| {
                    (key.to_string(), write_match(value))
                };
                Tree::Table(self.0.iter().map(entry).collect())
            }

            fn schema(_allowed: &()) -> Value {
                let value = json!({ "type": ["string", "boolean"] });
                json!({ "type": "object", "additionalProperties": value })
            }
        }
    };
}

matches_by_name! {
    /// What header fields have to say: text, text with a star at an end, `true` for any value,
    /// `false` for none.
    pub struct HeaderMatches(HeaderName, "a table of header fields", |name| {
        name.parse().map_err(|problem: crate::BadText| problem.0)
    });
}

matches_by_name! {
    /// What query parameters have to say, as for header fields. Compared percent-decoded.
    pub struct QueryMatches(String, "a table of query parameters", |name| {
        if name.is_empty() { Err("a parameter has a name") } else { Ok(name.to_owned()) }
    });
}

matches_by_name! {
    /// What a downstream's certificate has to say, as for header fields.
    pub struct ClientMatches(ClientAttribute, "a table of a certificate's attributes", |name| {
        ClientAttribute::named(name)
            .ok_or("one of subject, issuer, serial, dns, uri and sha256 is meant")
    });
}

fn read_matches<K>(
    node: Node<'_>,
    what: &str,
    parse: impl Fn(&str) -> Result<K, &'static str>,
    reader: &mut Reader<'_>,
) -> Option<Vec<(K, TextMatch)>> {
    let Some(table) = node.get_ref().as_table() else {
        return reader.refuse(node, wrong_type(what, node));
    };
    if table.len() > MATCHES_MAX {
        return reader.refuse(node, format!("at most {MATCHES_MAX} of them"));
    }
    let mut read_one = |name: &str, value: Node<'_>| {
        reader.below(name, |reader| {
            let key = match parse(name) {
                Ok(key) => key,
                Err(problem) => return reader.refuse(value, problem.to_owned()),
            };
            Some((key, read_match(value, reader)?))
        })
    };
    let read: Vec<_> = table.iter().map(|(key, value)| read_one(key.get_ref(), value)).collect();
    read.into_iter().collect()
}

fn read_match(node: Node<'_>, reader: &mut Reader<'_>) -> Option<TextMatch> {
    match node.get_ref().as_bool() {
        Some(true) => return Some(TextMatch::Present),
        Some(false) => return Some(TextMatch::Absent),
        None => {}
    }
    match reader.text(node, "text, or `true` for any value, `false` for none")?.parse() {
        Ok(value) => Some(value),
        Err(crate::BadText(problem)) => reader.refuse(node, problem.to_owned()),
    }
}

fn write_match(value: &TextMatch) -> Tree {
    match value {
        TextMatch::Present => Tree::Bool(true),
        TextMatch::Absent => Tree::Bool(false),
        text => Tree::text(text),
    }
}

const MATCHES_MAX: usize = 64;
const DAY: Duration = Duration::from_secs(24 * 3_600);
