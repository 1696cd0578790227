//! Rules ahead of the machine's own addresses: which of their packets go into the device.
//!
//! A VIP or the address of a NAT pool may be one that the machine has itself; then no route can
//! lead elsewhere, and the rest of its traffic is not ours. So rules name the services by address,
//! protocol and port, and look a table up that leads into the device. They have to stand ahead of
//! the rule for the machine's own addresses, which stands first: that one is moved from priority 0
//! to 1 meanwhile (as `ip rule` would; nothing in between sees a difference).
//!
//! Rules outlive a process that is killed. They then lead into a table without routes, which is
//! as if they were not there, and the next start of the same instance removes them.

use std::io;

use penstock_l4::value::Address;

use crate::XdpError;
use crate::netlink::{
    Body, FRA_PRIORITY, FRA_TABLE, Netlink, default_route, own_rule, rule, table_of, wire,
};
use crate::userland::routes::failed;

/// Packets to one of the machine's addresses that are ours.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Selector {
    pub(super) address: Address,
    /// Number of the protocol.
    pub(super) protocol: u8,
    /// The first and the last of the ports, where the protocol has them.
    pub(super) ports: Option<(u16, u16)>,
}

/// The rules of one device, for packets that come by some interfaces.
pub(super) struct Rules {
    netlink: Netlink,
    device: u32,
    table: u32,
    selectors: Vec<Selector>,
    interfaces: Vec<String>,
    /// Families that are prepared, and whether the rule for the machine's addresses was moved.
    prepared: Vec<(u8, bool)>,
}

impl Rules {
    /// For rules into the device of that name and index; what an earlier one has left is removed.
    pub(super) fn open(name: &str, device: u32) -> Result<Self, XdpError> {
        let mut rules = Rules {
            netlink: Netlink::open()?,
            device,
            table: table_of(name),
            selectors: Vec::new(),
            interfaces: Vec::new(),
            prepared: Vec::new(),
        };
        rules.remove_all(rules.any(V4));
        rules.remove_all(rules.any(V6));
        Ok(rules)
    }

    /// Takes these packets into the device.
    pub(super) fn add(&mut self, selector: Selector) -> Result<(), XdpError> {
        let (family, _) = wire(&selector.address);
        self.prepare(family).map_err(|error| failed(&selector.address, error))?;
        for interface in self.interfaces.clone() {
            self.add_one(&selector, &interface)?;
        }
        self.selectors.push(selector);
        Ok(())
    }

    /// Leaves them to the machine again.
    pub(super) fn remove(&mut self, selector: &Selector) {
        self.remove_all(self.selected(selector));
        self.selectors.retain(|one| one != selector);
    }

    /// Takes packets that come by this interface, too.
    pub(super) fn attach(&mut self, interface: &str) -> Result<(), XdpError> {
        for selector in self.selectors.clone() {
            self.add_one(&selector, interface)?;
        }
        self.interfaces.push(interface.to_owned());
        Ok(())
    }

    /// Takes packets of this interface no more.
    pub(super) fn release(&mut self, interface: &str) {
        for family in [V4, V6] {
            self.remove_all(self.any(family).with(FRA_IIFNAME, &text(interface)));
        }
        self.interfaces.retain(|one| one != interface);
    }

    fn add_one(&mut self, selector: &Selector, interface: &str) -> Result<(), XdpError> {
        let body = self.selected(selector).with(FRA_IIFNAME, &text(interface));
        let body = body.with(FRA_PRIORITY, &0_u32.to_ne_bytes());
        let flags = libc::NLM_F_ACK | libc::NLM_F_CREATE;
        let answer = self.netlink.ask(libc::RTM_NEWRULE, flags, &body);
        answer.map(drop).map_err(|error| failed(&selector.address, error))
    }

    /// The route of our table, and the place ahead of the machine's addresses.
    fn prepare(&mut self, family: u8) -> io::Result<()> {
        if self.prepared.iter().any(|(known, _)| *known == family) {
            return Ok(());
        }
        let route = default_route(family, self.device, self.table);
        let flags = libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
        self.netlink.ask(libc::RTM_NEWROUTE, flags, &route)?;
        let second = self.put_own(family, SECOND)?;
        let first_is_gone = self.take_own(family, FIRST);
        // It stands further behind already: nothing has to be moved.
        if second && !first_is_gone {
            self.take_own(family, SECOND);
        }
        self.prepared.push((family, first_is_gone || !second));
        Ok(())
    }

    /// Puts in a rule for the machine's own addresses; false where there is one.
    fn put_own(&mut self, family: u8, priority: u32) -> io::Result<bool> {
        let flags = libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        match self.netlink.ask(libc::RTM_NEWRULE, flags, &own_rule(family, priority)) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Takes out the rule for the machine's own addresses; false where there is none.
    fn take_own(&mut self, family: u8, priority: u32) -> bool {
        self.netlink.ask(libc::RTM_DELRULE, libc::NLM_F_ACK, &own_rule(family, priority)).is_ok()
    }

    /// Removes every rule that is like this.
    fn remove_all(&mut self, like: Body) {
        while self.netlink.ask(libc::RTM_DELRULE, libc::NLM_F_ACK, &like).is_ok() {}
    }

    /// Any rule of ours.
    fn any(&self, family: u8) -> Body {
        rule(family, 0).with(FRA_TABLE, &self.table.to_ne_bytes())
    }

    fn selected(&self, selector: &Selector) -> Body {
        let (family, octets) = wire(&selector.address);
        let body = rule(family, octets.len() as u8 * 8)
            .with(FRA_TABLE, &self.table.to_ne_bytes())
            .with(FRA_DST, &octets)
            .with(FRA_IP_PROTO, &[selector.protocol]);
        match selector.ports {
            // `struct fib_rule_port_range`: in the machine's order.
            Some((first, last)) => {
                let range = [first.to_ne_bytes(), last.to_ne_bytes()].concat();
                body.with(FRA_DPORT_RANGE, &range)
            }
            None => body,
        }
    }
}

impl Drop for Rules {
    fn drop(&mut self) {
        for (family, was_moved) in std::mem::take(&mut self.prepared) {
            self.remove_all(self.any(family));
            // Back in the first place before it leaves the second.
            if was_moved && self.put_own(family, FIRST).is_ok() {
                self.take_own(family, SECOND);
            }
        }
    }
}

/// A name with its end.
fn text(name: &str) -> Vec<u8> {
    [name.as_bytes(), &[0]].concat()
}

const V4: u8 = libc::AF_INET as u8;
const V6: u8 = libc::AF_INET6 as u8;
/// Where the kernel puts the rule for the machine's own addresses, and where it is meanwhile.
const FIRST: u32 = 0;
const SECOND: u32 = 1;
/// `linux/fib_rules.h`.
const FRA_DST: u16 = 1;
const FRA_IIFNAME: u16 = 3;
const FRA_IP_PROTO: u16 = 22;
const FRA_DPORT_RANGE: u16 = 24;
