//! `proxy_protocol`: whose word is taken for who a connection is from, and how ours is given.

use std::net::IpAddr;
use std::time::Duration;

use crate::grammar::section::{choice, section};
use crate::grammar::setting::ListOf;
use crate::values::address::Cidr;

section! {
    /// Peers that say who their connections are from.
    pub struct ProxyProtocol("proxy_protocol") {
        /// Where those peers connect from. All of their connections begin with a header of the
        /// PROXY protocol, version 1 or 2, and so does each of their datagrams; those of others
        /// are their own.
        from: Vec<Cidr>, in FROM;
        /// For the whole header, from the connection's start.
        timeout: Duration = Duration::from_secs(5), in MS..=HOUR;
    }
}

impl ProxyProtocol {
    /// Whether a connection from there begins with a header.
    pub fn is_from(&self, peer: IpAddr) -> bool {
        self.from.iter().any(|network| network.contains(peer))
    }
}

choice! {
    /// The versions of the PROXY protocol.
    pub enum ProxyVersion("proxy-version") {
        /// A line of text.
        V1 = "v1",
        /// The same in binary.
        V2 = "v2",
    }
}

const FROM: ListOf<()> = ListOf { item: (), count_min: 1, count_max: 1_000, bare: true };
const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3_600);
