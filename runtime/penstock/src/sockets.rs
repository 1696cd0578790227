//! The listening sockets of one shard, and what a new snapshot changes about them.
//!
//! The originals stay here and a shard gets handles to them: connections that wait to be
//! accepted survive the shard that was to accept them.

use std::io::{self, ErrorKind::AddrNotAvailable};

use penstock_config::{ListenAddress, ServiceMode, Transport};
use penstock_control::{Listening, ShardsError};
use penstock_env::Address;
use penstock_proxy::snapshot::Service;
use penstock_proxy::{Entrance, Snapshot};
use penstock_shard::Listener;

use crate::service::{Duty, SocketKey};

/// Where a snapshot wants to be listened, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) entrance: Entrance,
    pub(crate) transport: Transport,
    pub(crate) address: ListenAddress,
    /// What is for addresses that are not ours is taken, too.
    pub(crate) foreign: bool,
}

impl Wanted {
    /// Whether it is the same address, for whomever.
    fn is_at(&self, other: &Wanted) -> bool {
        let way = (self.transport, self.foreign);
        way == (other.transport, other.foreign) && self.address == other.address
    }
}

/// The addresses of all listeners and services.
pub(crate) fn wanted(snapshot: &Snapshot) -> Vec<Wanted> {
    let listeners = snapshot.listeners.iter().enumerate().filter(|(_, one)| !one.removed);
    let listeners = listeners.flat_map(|(place, one)| {
        let addresses = one.config.addresses.iter().cloned();
        let (entrance, transport) = (Entrance::Listener(place), Transport::Tcp);
        addresses.map(move |address| Wanted { entrance, transport, address, foreign: false })
    });
    // Packets that are passed on never meet a socket.
    let is_ours = |one: &Service| !one.removed && one.config.mode == ServiceMode::Terminate;
    let services = snapshot.services.iter().enumerate().filter(|(_, one)| is_ours(one));
    let services = services.flat_map(|(place, one)| {
        [Transport::Tcp, Transport::Udp].into_iter().flat_map(move |transport| {
            let (entrance, foreign) = (Entrance::Service(place), one.config.transparent);
            let addresses = one.config.addresses(transport);
            addresses.map(move |address| Wanted { entrance, transport, address, foreign })
        })
    });
    listeners.chain(services).collect()
}

/// What the config calls it, as in `listener.web`.
pub(crate) fn name_of(entrance: Entrance, snapshot: &Snapshot) -> String {
    match entrance {
        Entrance::Listener(place) => format!("listener.{}", snapshot.listeners[place].config.name),
        Entrance::Service(place) => format!("service.{}", snapshot.services[place].config.name),
    }
}

/// An address that is bound: one socket for each shard.
pub(crate) struct Bound {
    pub(crate) key: SocketKey,
    wanted: Wanted,
    /// By shard.
    sockets: Vec<Listener>,
}

impl Bound {
    /// Binds `wanted` for `shards` shards.
    ///
    /// # Errors
    /// The address can't be had; `alone` refuses one that another process listens on, too.
    pub(crate) fn bind(
        key: SocketKey,
        wanted: Wanted,
        shards: usize,
        alone: bool,
    ) -> io::Result<Bound> {
        let address = match &wanted.address {
            ListenAddress::Unix(path) => Address::Unix(path.clone().into()),
            address => Address::Ip(address.socket_address().ok_or(io::ErrorKind::InvalidInput)?),
        };
        if let (Address::Ip(ip), true) = (&address, alone) {
            // Shards share a port by SO_REUSEPORT, and so would a second Penstock, without a
            // word. This socket is without it, and is refused where anybody listens.
            let probe = match wanted.transport {
                Transport::Tcp => std::net::TcpListener::bind(ip).map(drop),
                Transport::Udp => std::net::UdpSocket::bind(ip).map(drop),
            };
            match probe {
                // Nobody has it then, but who may have it as we do.
                Err(error) if wanted.foreign && error.kind() == AddrNotAvailable => {}
                probe => probe?,
            }
        }
        let bind = match wanted.transport {
            Transport::Tcp if wanted.foreign => Listener::bind_foreign,
            Transport::Tcp => Listener::bind,
            Transport::Udp if wanted.foreign => Listener::bind_foreign_datagrams,
            Transport::Udp => Listener::bind_datagrams,
        };
        let first = bind(&address)?;
        // With the port that the kernel chose, where it was left to it.
        let local = first.local().clone();
        let mut sockets = vec![first];
        while sockets.len() < shards {
            sockets.push(match local {
                Address::Ip(_) => bind(&local)?,
                Address::Unix(_) => sockets[0].share()?,
            });
        }
        Ok(Bound { key, wanted, sockets })
    }

    /// The socket of a shard, for it to accept from.
    ///
    /// # Errors
    /// Out of file descriptors.
    pub(crate) fn share(&self, shard: usize) -> io::Result<Listener> {
        self.sockets[shard].share()
    }
}

/// Every address that is bound.
#[derive(Default)]
pub(crate) struct Sockets {
    bound: Vec<Bound>,
    next_key: u64,
}

/// What a new snapshot asks of the sockets, bound but not yet in use.
pub(crate) struct Rebinding {
    /// Sockets that stay, each with whom it now belongs to.
    kept: Vec<Duty>,
    pub(crate) added: Vec<Bound>,
}

impl Rebinding {
    /// Which socket accepts for whom from then on.
    pub(crate) fn duties(&self) -> Vec<Duty> {
        let added = self.added.iter();
        let added = added.map(|bound| Duty { socket: bound.key, entrance: bound.wanted.entrance });
        self.kept.iter().copied().chain(added).collect()
    }
}

impl Sockets {
    /// Binds what `snapshot` wants and nobody has bound yet. An address that moved to another
    /// listener or service keeps its socket.
    ///
    /// # Errors
    /// An address can't be had; those that were bound meanwhile are closed again.
    pub(crate) fn rebind(
        &mut self,
        snapshot: &Snapshot,
        shards: usize,
    ) -> Result<Rebinding, ShardsError> {
        let mut free: Vec<&Bound> = self.bound.iter().collect();
        let mut rebinding = Rebinding { kept: Vec::new(), added: Vec::new() };
        let mut missing = Vec::new();
        // Listeners that keep their sockets choose first: two may want the same address where
        // that is port 0.
        let (same, moved): (Vec<_>, Vec<_>) =
            wanted(snapshot).into_iter().partition(|want| free.iter().any(|b| b.wanted == *want));
        for want in same.into_iter().chain(moved) {
            let place = free
                .iter()
                .position(|bound| bound.wanted == want)
                .or_else(|| free.iter().position(|bound| bound.wanted.is_at(&want)));
            match place.map(|place| free.remove(place)) {
                Some(bound) => {
                    let duty = Duty { socket: bound.key, entrance: want.entrance };
                    rebinding.kept.push(duty);
                }
                None => missing.push(want),
            }
        }
        for want in missing {
            let key = SocketKey(self.next_key);
            self.next_key += 1;
            let alone = !self.bound.iter().any(|bound| bound.shares_port_with(&want));
            let refused = |error| ShardsError::Bind {
                entrance: name_of(want.entrance, snapshot),
                address: want.address.to_string(),
                error,
            };
            let bound = Bound::bind(key, want.clone(), shards, alone).map_err(refused)?;
            rebinding.added.push(bound);
        }
        Ok(rebinding)
    }

    /// Takes a rebinding into use: what is neither kept nor added is closed.
    pub(crate) fn commit(&mut self, rebinding: Rebinding) {
        let Rebinding { kept, added } = rebinding;
        self.bound.retain_mut(|bound| match kept.iter().find(|duty| duty.socket == bound.key) {
            Some(duty) => {
                bound.wanted.entrance = duty.entrance;
                true
            }
            None => false,
        });
        self.bound.extend(added);
    }

    /// Closes all; who waits to be accepted is refused.
    pub(crate) fn close(&mut self) {
        self.bound.clear();
    }

    /// The sockets of a shard, with whom they accept for.
    ///
    /// # Errors
    /// Out of file descriptors.
    pub(crate) fn of_shard(&self, shard: usize) -> io::Result<Vec<(Duty, Listener)>> {
        let each = self.bound.iter().map(|bound| {
            let duty = Duty { socket: bound.key, entrance: bound.wanted.entrance };
            Ok((duty, bound.share(shard)?))
        });
        each.collect()
    }

    /// Where is being listened, in the order of the snapshot's listeners and services.
    pub(crate) fn listening(&self) -> Vec<Listening> {
        let each = self.bound.iter().map(|bound| Listening {
            entrance: bound.wanted.entrance,
            address: bound.sockets[0].local().clone(),
        });
        let mut all: Vec<Listening> = each.collect();
        all.sort_by_key(|listening| listening.entrance);
        all
    }
}

impl Bound {
    /// Whether a probe of this address could meet this socket: `:80` and `127.0.0.1:80` do.
    fn shares_port_with(&self, wanted: &Wanted) -> bool {
        let port = |wanted: &Wanted| wanted.address.socket_address().map(|ip| ip.port());
        self.wanted.transport == wanted.transport && port(&self.wanted) == port(wanted)
    }
}
