//! `[cluster.X]`: endpoints that answer the same requests, and how they are treated.

use std::time::Duration;

use serde_json::{Value, json};
use toml::de::DeValue;

use crate::balance::Balance;
use crate::grammar::block::BlockName;
use crate::grammar::names::Names;
use crate::grammar::reader::{Node, Reader, TableReader};
use crate::grammar::section::{choice, section};
use crate::grammar::setting::{ListOf, Setting};
use crate::grammar::tree::Tree;
use crate::health::Health;
use crate::tls::{ClusterTls, VerifyEndpoint};
use crate::values::address::EndpointAddress;
use crate::values::units::{Ratio, Weight};

section! {
    /// Endpoints that answer the same requests.
    pub struct Cluster("cluster", check = check_cluster) {
        .. {
            /// The name after `cluster.`.
            name: BlockName;
            /// Which endpoint a request goes to.
            balance: Balance;
        }
        /// Who answers: addresses, or tables with an address and a weight.
        endpoints: Vec<Endpoint>, in ENDPOINTS;
        /// What is spoken with endpoints.
        protocol: ClusterProtocol = ClusterProtocol::Http1;
        /// How endpoints are verified; without it, nothing is encrypted.
        tls: Option<ClusterTls> = None;
        /// How long we wait for what.
        timeouts: ClusterTimeouts = ClusterTimeouts::default();
        /// How much may be under way.
        limits: ClusterLimits = ClusterLimits::default();
        /// How endpoints are checked; without it, only requests tell who is well.
        health: Option<Health> = None;
        /// When an endpoint that fails requests gets none for a while.
        outlier: Outlier = Outlier::default();
    }
}

section! {
    /// When an endpoint that fails requests is ejected, and for how long. Half of the requests of
    /// ten seconds failed, of 20 at least, is reason too.
    pub struct Outlier("outlier") = default {
        /// Connects that failed, or answers of 502, 503, 504 or UNAVAILABLE, in a row; 0 ejects
        /// nobody.
        consecutive_errors: u32 = 3, in 0..=1_000;
        /// For how long at first, more or less by a fifth; twice as long each time it fails the
        /// request that tries it then.
        eject_for: Duration = Duration::from_secs(10), in MS..=DAY;
        /// Never longer.
        eject_for_max: Duration = Duration::from_secs(300), in MS..=DAY;
        /// How many may be ejected at a time. One always may, as long as another is up.
        max_ejected: Ratio = Ratio::percent(50), in Ratio::percent(0)..=Ratio::percent(100);
        /// For how long at most an endpoint rests that answers 503 with `Retry-After`, and
        /// how long a gRPC call waits at most for a retry that its endpoint has put off; 0 heeds
        /// neither. Those that rest are counted among the ejected.
        retry_after_max: Duration = Duration::from_secs(10), in Duration::ZERO..=DAY;
    }
}

choice! {
    /// What is spoken with a cluster's endpoints.
    pub enum ClusterProtocol("cluster-protocol") {
        /// HTTP/1.1.
        Http1 = "http1",
        /// HTTP/2: agreed on by ALPN in TLS, by prior knowledge without.
        Http2 = "h2",
    }
}

const ENDPOINTS: ListOf<()> = ListOf { item: (), count_min: 1, count_max: 10_000, bare: false };

fn check_cluster(cluster: &Cluster, table: &mut TableReader<'_, '_, '_>) -> Option<()> {
    let mut addresses: Vec<_> = cluster.endpoints.iter().map(|e| &e.address).collect();
    addresses.sort();
    if let Some(pair) = addresses.windows(2).find(|pair| pair[0] == pair[1]) {
        let problem = format!("{} is listed twice; use `weight`", pair[0]);
        return table.contradict("endpoints", &problem);
    }
    if cluster.endpoints.iter().all(|endpoint| endpoint.weight.shares() == 0) {
        return table.contradict("endpoints", "every weight is 0: nobody would answer");
    }
    let nameless = cluster
        .tls
        .as_ref()
        .is_some_and(|tls| tls.name.is_none() && tls.verify == VerifyEndpoint::Ca);
    let unix = |endpoint: &Endpoint| matches!(endpoint.address, EndpointAddress::Unix(_));
    if nameless && cluster.endpoints.iter().any(unix) {
        let problem = "an endpoint on a unix socket has no address to verify: set `name`";
        return table.contradict("tls", problem);
    }
    Some(())
}

/// One who answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it is; also its identity.
    pub address: EndpointAddress,
    /// How much it takes, beside its siblings.
    pub weight: Weight,
}

section! {
    /// An endpoint in its long form.
    pub(crate) struct WeightedEndpoint("endpoint") {
        /// Where it is.
        address: EndpointAddress;
        /// How much it takes, beside its siblings; 0 takes nothing.
        weight: Weight = Weight::ONE;
    }
}

impl Setting for Endpoint {
    type Allowed = ();
    const ANY: () = ();

    fn read(node: Node<'_>, _allowed: &(), reader: &mut Reader<'_>) -> Option<Endpoint> {
        if let DeValue::Table(_) = node.get_ref() {
            let WeightedEndpoint { address, weight } = Setting::read(node, &(), reader)?;
            return Some(Endpoint { address, weight });
        }
        let address = Setting::read(node, &(), reader)?;
        Some(Endpoint { address, weight: Weight::ONE })
    }

    fn write(&self, names: &Names) -> Tree {
        let Endpoint { address, weight } = self.clone();
        match weight {
            Weight::ONE => address.write(names),
            weight => Setting::write(&WeightedEndpoint { address, weight }, names),
        }
    }

    fn schema(_allowed: &()) -> Value {
        json!({
            "anyOf": [EndpointAddress::schema(&()), <WeightedEndpoint as Setting>::schema(&())]
        })
    }
}

section! {
    /// How long a cluster's endpoints may take.
    pub struct ClusterTimeouts("timeouts") = default {
        /// For a connection to stand, with its TLS handshake. A dead host costs at most this.
        connect: Duration = Duration::from_secs(1), in MS..=MINUTE;
        /// From the request's end to the response's head; of gRPC over HTTP/2 it is
        /// `upgrade_idle`. What a request asks for (an upgrade, an event stream) lifts no limit.
        response_head: Duration = Duration::from_secs(15), in MS..=DAY;
        /// Without a byte in either direction, while a response is under way.
        idle: Duration = Duration::from_secs(60), in MS..=DAY;
        /// The same after an upgrade, of a gRPC call, and while an answer of `text/event-stream`
        /// is under way.
        upgrade_idle: Duration = Duration::from_secs(3_600), in MS..=DAY;
        /// Unused, before we close a kept connection: less than the usual 60 s of servers.
        keep_alive: Duration = Duration::from_secs(30), in Duration::ZERO..=DAY;
        /// In the queue for a free connection or request slot.
        queue: Duration = Duration::from_secs(1), in Duration::ZERO..=MINUTE;
    }
}

impl ClusterTimeouts {
    /// What holds for a gRPC call: its streams may rest, and its answer may begin late.
    pub fn of_calls(&self) -> ClusterTimeouts {
        let idle = self.upgrade_idle;
        ClusterTimeouts { response_head: idle, idle, ..self.clone() }
    }
}

section! {
    /// How much a cluster may have under way at one time.
    pub struct ClusterLimits("limits") = default {
        /// Connections to all endpoints together.
        connections_max as "connections": u32 = 4_096, in 1..=1_000_000;
        /// Requests in flight.
        requests_max as "requests": u32 = 16_384, in 1..=10_000_000;
        /// Requests in flight to one endpoint.
        endpoint_requests_max as "requests_per_endpoint": u32 = 1_024, in 1..=1_000_000;
        /// Requests that wait for a slot; the next is answered 503.
        queued_max as "queued": u32 = 1_024, in 0..=1_000_000;
    }
}

const MS: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3_600);
