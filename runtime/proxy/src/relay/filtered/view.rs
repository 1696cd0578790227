//! A raw connection as its filters see it: no fields, but properties.

use penstock_env::Address;
use penstock_filter_host::abi::MapType;
use penstock_filter_host::{HeaderMap, Session};

use crate::properties::{Properties, address, text};

/// What is known of a connection.
#[derive(Clone, Copy)]
pub(super) struct Facts<'a> {
    /// The client, and the address that it connected to.
    pub(super) peer: &'a Address,
    pub(super) local: &'a Address,
    pub(super) service: &'a str,
    /// What its TLS hello asks for, where that was read.
    pub(super) server_name: Option<&'a str>,
    /// Where it goes, once that is chosen.
    pub(super) cluster: Option<&'a str>,
    /// Whom it is connected to, once it is.
    pub(super) endpoint: Option<&'a Address>,
}

/// One call's view of a connection.
pub(super) struct View<'a> {
    pub(super) facts: Facts<'a>,
    pub(super) properties: &'a mut Properties,
}

impl Session for View<'_> {
    fn headers(&mut self, _map: MapType) -> Option<&mut dyn HeaderMap> {
        None
    }

    fn property(&self, path: &[&[u8]], out: &mut Vec<u8>) -> bool {
        self.well_known(path, out) || self.properties.find(path, out)
    }

    fn set_property(&mut self, path: &[&[u8]], value: &[u8]) -> bool {
        !self.well_known(path, &mut Vec::new()) && self.properties.set(path, value)
    }
}

impl View<'_> {
    /// The properties that every connection has, by the names that Envoy gives them.
    fn well_known(&self, path: &[&[u8]], out: &mut Vec<u8>) -> bool {
        let facts = &self.facts;
        match *path {
            [b"source", name] => address(name, Some(facts.peer), out),
            [b"destination", name] => address(name, Some(facts.local), out),
            [b"upstream", name] => address(name, facts.endpoint, out),
            [b"connection", b"requested_server_name"] => {
                text(facts.server_name.map(str::as_bytes), out)
            }
            // Nobody here has ended TLS.
            [b"connection", b"mtls"] => text(Some(&[0]), out),
            [b"listener_name"] | [b"xds", b"listener_name"] => {
                text(Some(facts.service.as_bytes()), out)
            }
            [b"cluster_name"] | [b"xds", b"cluster_name"] => {
                text(facts.cluster.map(str::as_bytes), out)
            }
            _ => false,
        }
    }
}
