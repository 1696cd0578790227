//! The rule by which marked packets are routed into the device, whatever they are for.
//!
//! It stands ahead of the rule for the machine's own addresses: the VIP may be one of them, or
//! become one while we run (VRRP). That one stands first, at priority 0; so ours is put behind it
//! there, then it is put in once more, behind ours, and taken out where it was.

use std::io;

use crate::XdpError;
use crate::netlink::{
    Body, FRA_PRIORITY, FRA_TABLE, Netlink, default_route, own_rule, rule, table_of,
};

/// The rule, in both families. It is gone when this is dropped.
pub(super) struct MarkRule {
    netlink: Netlink,
    /// Of the table, and the mark.
    number: u32,
}

impl MarkRule {
    /// For packets that go into the device of that name and index. What an earlier process has
    /// left is removed.
    pub(super) fn open(device: &str, index: u32) -> Result<Self, XdpError> {
        let mut rule = MarkRule { netlink: Netlink::open()?, number: table_of(device) };
        rule.remove();
        let failed = |error| XdpError::Tun { name: device.to_owned(), error };
        rule.put(libc::AF_INET as u8, index).map_err(failed)?;
        match rule.put(libc::AF_INET6 as u8, index) {
            // A kernel without IPv6, or one where it is switched off.
            Err(error) if is_without(&error) => {}
            done => done.map_err(failed)?,
        }
        Ok(rule)
    }

    /// What packets have to be marked with.
    pub(super) fn mark(&self) -> u32 {
        self.number
    }

    fn put(&mut self, family: u8, device: u32) -> io::Result<()> {
        let flags = libc::NLM_F_ACK | libc::NLM_F_CREATE;
        let route = default_route(family, device, self.number);
        self.netlink.ask(libc::RTM_NEWROUTE, flags | libc::NLM_F_REPLACE, &route)?;
        let first = self.marked(family).with(FRA_PRIORITY, &0_u32.to_ne_bytes());
        self.netlink.ask(libc::RTM_NEWRULE, flags, &first)?;
        let own = own_rule(family, 0);
        let again = self.netlink.ask(libc::RTM_NEWRULE, flags | libc::NLM_F_EXCL, &own);
        match again {
            // It stands somewhere else, ahead of which ours is; and not here from now on.
            Ok(_) => self.netlink.ask(libc::RTM_DELRULE, libc::NLM_F_ACK, &own).map(drop),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.netlink.ask(libc::RTM_NEWRULE, flags, &own)?;
                self.netlink.ask(libc::RTM_DELRULE, libc::NLM_F_ACK, &own).map(drop)
            }
            Err(error) => Err(error),
        }
    }

    /// Removes every rule of ours.
    fn remove(&mut self) {
        for family in [libc::AF_INET, libc::AF_INET6] {
            let like = rule(family as u8, 0).with(FRA_TABLE, &self.number.to_ne_bytes());
            while self.netlink.ask(libc::RTM_DELRULE, libc::NLM_F_ACK, &like).is_ok() {}
        }
    }

    fn marked(&self, family: u8) -> Body {
        let number = self.number.to_ne_bytes();
        rule(family, 0)
            .with(FRA_TABLE, &number)
            .with(FRA_FWMARK, &number)
            .with(FRA_FWMASK, &u32::MAX.to_ne_bytes())
    }
}

impl Drop for MarkRule {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Whether an error says that there is no such family here.
fn is_without(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EAFNOSUPPORT | libc::EOPNOTSUPP | libc::EACCES | libc::EINVAL | libc::ENODEV)
    )
}

/// `linux/fib_rules.h`.
const FRA_FWMARK: u16 = 10;
const FRA_FWMASK: u16 = 16;
