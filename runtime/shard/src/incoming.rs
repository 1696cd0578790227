//! Answers to datagrams of everybody at one socket. How those are taken: `batch`.
//!
//! A socket that is bound to one address answers from it by itself. One that is bound to all, or
//! that datagrams to addresses of others are led to, is told by the kernel which of them a datagram
//! was sent to, and says so when it answers (ip(7), ipv6(7): IP_PKTINFO).

use std::net::SocketAddr;
use std::rc::Rc;

use penstock_env::{Address, Ends, Replies, Sent};

use crate::address::RawAddress;
use crate::control::Control;
use crate::listener::Listener;
use crate::train::{self, Way};

/// Answers by a socket that datagrams come in at. It stays open while somebody may answer.
#[derive(Clone)]
pub struct ShardReplies {
    listener: Rc<Listener>,
}

impl ShardReplies {
    pub(crate) fn new(listener: Rc<Listener>) -> ShardReplies {
        ShardReplies { listener }
    }
}

impl Replies for ShardReplies {
    fn send(&self, ends: &Ends, datagrams: &[&[u8]]) -> Sent {
        let is_v6 = self.listener.is_v6();
        let Ok(to) = RawAddress::new(&Address::Ip(as_family(ends.peer, is_v6))) else {
            return Sent::default();
        };
        let mut control = Control::default();
        if self.listener.is_many() {
            control.say_local(ends.local.ip(), is_v6);
        }
        train::send(self.listener.fd(), Some(&Way { to: &to, control }), datagrams).0
    }
}

/// The address as a socket of that family has it: one for both families knows IPv4 as mapped.
fn as_family(address: SocketAddr, is_v6: bool) -> SocketAddr {
    match (address, is_v6) {
        (SocketAddr::V4(v4), true) => (v4.ip().to_ipv6_mapped(), v4.port()).into(),
        (address, _) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_for_both_families_knows_ipv4_as_mapped() {
        let v4: SocketAddr = "10.0.0.7:53".parse().expect("an address");
        assert_eq!(as_family(v4, true).to_string(), "[::ffff:10.0.0.7]:53");
        assert_eq!(as_family(v4, false), v4);
    }
}
