//! `[cluster.X] health`: checks that we make by ourselves, to know who is well before requests do.

use std::time::Duration;

use serde_json::{Value, json};

use crate::grammar::names::Names;
use crate::grammar::reader::{Node, Reader, TableReader};
use crate::grammar::section::{choice, section};
use crate::grammar::setting::Setting;
use crate::grammar::tree::Tree;
use crate::values::pattern::PathText;

choice! {
    /// What of an endpoint checks ask.
    pub enum CheckAt("check-at") {
        /// Each VIP of services in `dsr` that lead to it, through their encapsulation, as clients
        /// do: the endpoint is well if it answers on all of them.
        Vip = "vip",
        /// Its own address.
        Endpoint = "endpoint",
    }
}

section! {
    /// How endpoints are checked. Without `http` and `grpc`, a connection is all that is asked for.
    #[derive(Eq)]
    pub struct Health("health", check = check_health) {
        /// Connects: `true` to the port that requests go to, a number to another one.
        tcp: Option<TcpCheck> = None;
        /// Asks for this path; 200 to 399 is good.
        http: Option<PathText> = None;
        /// Asks `grpc.health.v1.Health` for this service; empty is the whole server.
        grpc: Option<String> = None, in 0..=256;
        /// What of an endpoint is asked. Unless set, the VIPs on it where services in `dsr` lead to
        /// it, and its own address where others do.
        at: Option<CheckAt> = None;
        /// From one check to the next, more or less by a fifth. One that only connects, and where
        /// requests go, is not made while requests are served.
        interval: Duration = Duration::from_secs(5), in Duration::from_millis(100)..=HOUR;
        /// How long a check may take.
        timeout: Duration = Duration::from_secs(2), in Duration::from_millis(10)..=HOUR;
        /// Failed checks in a row after which an endpoint is down.
        fall: u32 = 3, in 1..=100;
        /// Good checks in a row after which it is up again.
        rise: u32 = 2, in 1..=100;
    }
}

impl Health {
    /// Whether checks do nothing but connect where requests go: requests tell as much.
    pub fn is_bare(&self) -> bool {
        self.http.is_none() && self.grpc.is_none() && self.tcp_port().is_none()
    }

    /// The port that checks go to, if it is one of their own.
    pub fn tcp_port(&self) -> Option<u16> {
        match self.tcp {
            Some(TcpCheck::Port(port)) => Some(port),
            Some(TcpCheck::Requests) | None => None,
        }
    }
}

fn check_health(health: &Health, table: &mut TableReader<'_, '_, '_>) -> Option<()> {
    let (http, grpc) = (health.http.is_some(), health.grpc.is_some());
    match (health.tcp, http, grpc) {
        (_, true, true) => table.contradict("grpc", "stands beside `http`; only one is asked"),
        (Some(TcpCheck::Requests), true, _) | (Some(TcpCheck::Requests), _, true) => {
            table.contradict("tcp", "every check connects; a number is another port")
        }
        _ => Some(()),
    }
}

/// Where a check connects to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpCheck {
    /// `true`: where requests go.
    Requests,
    /// A port.
    Port(u16),
}

impl Setting for TcpCheck {
    type Allowed = ();
    const ANY: () = ();

    fn read(node: Node<'_>, _allowed: &(), reader: &mut Reader<'_>) -> Option<TcpCheck> {
        match node.get_ref().as_bool() {
            Some(true) => Some(TcpCheck::Requests),
            Some(false) => reader.refuse(node, "leave `health` out: then nothing is checked"),
            None => u16::read(node, &(1..=u16::MAX), reader).map(TcpCheck::Port),
        }
    }

    fn write(&self, _names: &Names) -> Tree {
        match self {
            TcpCheck::Requests => Tree::Bool(true),
            TcpCheck::Port(port) => Tree::Int(i64::from(*port)),
        }
    }

    fn schema(_allowed: &()) -> Value {
        json!({ "anyOf": [{ "const": true }, u16::schema(&(1..=u16::MAX))] })
    }
}

const HOUR: Duration = Duration::from_secs(3_600);
