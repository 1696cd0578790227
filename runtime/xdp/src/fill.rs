//! Filling tables, whichever they are: the kernel's maps or plain memory.

use penstock_l4::memory::MemoryTables;
use penstock_l4::value::{Address, Backend, Settings, SourceRule, Vip, VipKey};

use crate::XdpError;

/// The writing side of `penstock_l4::Tables`: what the control side says.
///
/// A change is seen by the next packet. What belongs together is made safe by its order: a Maglev
/// table is written where no VIP names yet, then the VIP is set to name it; a
/// service's key comes last and goes first.
pub trait Fill {
    /// What holds for all packets.
    ///
    /// # Errors
    /// The kernel refuses; so with all that follow.
    fn set_settings(&mut self, settings: &Settings) -> Result<(), XdpError>;

    /// Says which VIP a key belongs to; `None` takes it away.
    ///
    /// # Errors
    /// The table is full.
    fn set_service(&mut self, key: &VipKey, number: Option<u16>) -> Result<(), XdpError>;

    /// Sets the VIP of a number, from 1 on.
    ///
    /// # Errors
    /// The number is beyond the limit.
    fn set_vip(&mut self, number: u16, vip: &Vip) -> Result<(), XdpError>;

    /// Sets a Maglev table: one backend's index for each of its slots.
    ///
    /// # Errors
    /// There are more or fewer slots, or the table is beyond the limit.
    fn set_maglev(&mut self, maglev: u32, slots: &[u32]) -> Result<(), XdpError>;

    /// Sets the backend of an index; `None` leaves an entry that is none.
    ///
    /// # Errors
    /// The index is beyond the limit.
    fn set_backend(&mut self, index: u32, backend: Option<&Backend>) -> Result<(), XdpError>;

    /// Sets the rule for a prefix, in bits of IPv6 (an IPv4 prefix has 96 more).
    ///
    /// # Errors
    /// The table is full.
    fn set_source(
        &mut self,
        address: &Address,
        bits: u8,
        rule: Option<&SourceRule>,
    ) -> Result<(), XdpError>;
}

impl Fill for MemoryTables {
    fn set_settings(&mut self, settings: &Settings) -> Result<(), XdpError> {
        MemoryTables::set_settings(self, *settings);
        Ok(())
    }

    fn set_service(&mut self, key: &VipKey, number: Option<u16>) -> Result<(), XdpError> {
        MemoryTables::set_service(self, *key, number);
        Ok(())
    }

    fn set_vip(&mut self, number: u16, vip: &Vip) -> Result<(), XdpError> {
        let fits = MemoryTables::set_vip(self, number, Some(*vip));
        in_bounds(fits, "VIP", u64::from(number))
    }

    fn set_maglev(&mut self, maglev: u32, slots: &[u32]) -> Result<(), XdpError> {
        let fits = MemoryTables::set_maglev(self, maglev, slots.into());
        in_bounds(fits, "Maglev table of slots", slots.len() as u64)
    }

    fn set_backend(&mut self, index: u32, backend: Option<&Backend>) -> Result<(), XdpError> {
        let fits = MemoryTables::set_backend(self, index, backend.copied());
        in_bounds(fits, "backend", u64::from(index))
    }

    fn set_source(
        &mut self,
        address: &Address,
        bits: u8,
        rule: Option<&SourceRule>,
    ) -> Result<(), XdpError> {
        MemoryTables::set_source(self, *address, bits, rule.copied());
        Ok(())
    }
}

fn in_bounds(fits: bool, what: &'static str, number: u64) -> Result<(), XdpError> {
    match fits {
        true => Ok(()),
        false => Err(XdpError::OutOfBounds { what, number, max: number.saturating_sub(1) }),
    }
}
