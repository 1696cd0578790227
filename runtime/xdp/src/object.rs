//! The committed object, the maps in it, and how large they are made.

use aya::maps::MapType;
use penstock_l4::MAGLEV_SLOTS;
use penstock_l4::value::{
    Backend, Bucket, Counters, Flow, FlowKey, Settings, SourceRule, Vip, VipKey,
};

use crate::XdpError;

/// The program and its maps, as `cargo xtask ebpf` made them.
pub(crate) static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/penstock.bpf.o"));

/// The program's name in the object.
pub(crate) const PROGRAM: &str = "penstock_l4";

/// Moves on when the meaning of a map's bytes changes: pins of another version are never read.
pub(crate) const LAYOUT_VERSION: u32 = 1;

/// How many entries the maps have. A start with other sizes than those of the pinned maps can't
/// keep them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sizes {
    /// Services, and addresses that are ours: a service may have one of its own, and what packets
    /// to backends come from are two more.
    pub services_max: u32,
    /// VIPs, numbered from 1 on.
    pub vips_max: u16,
    /// Maglev tables. One more than VIPs at least, so that there is a place for the next one.
    pub maglevs_max: u32,
    /// Backends.
    pub backends_max: u32,
    /// Entries of flows that have just begun.
    pub new_flows_max: u32,
    /// Entries of flows that go on: one per flow in `dsr`, two in `nat`.
    pub proven_flows_max: u32,
    /// Rules for sources.
    pub source_rules_max: u32,
    /// Sources with a bucket of tokens.
    pub buckets_max: u32,
}

impl Default for Sizes {
    /// About 150 MiB, most of it the flows: an entry and its key take 128 bytes, and about 60 more
    /// are the kernel's.
    fn default() -> Self {
        Sizes {
            services_max: 2_048,
            vips_max: 512,
            maglevs_max: 64,
            backends_max: 4_096,
            new_flows_max: 131_072,
            proven_flows_max: 524_288,
            source_rules_max: 16_384,
            buckets_max: 65_536,
        }
    }
}

impl Sizes {
    /// Whether there is a VIP of that number.
    pub(crate) fn hold_vip(&self, number: u16) -> Result<(), XdpError> {
        fits(number != 0 && number <= self.vips_max, "VIP", number, self.vips_max)
    }

    /// Whether there is a Maglev table of that number, and whether these are slots for one.
    pub(crate) fn hold_maglev(&self, maglev: u32, slots: &[u32]) -> Result<(), XdpError> {
        let count = slots.len() as u32;
        fits(count == MAGLEV_SLOTS, "Maglev table of slots", count, MAGLEV_SLOTS)?;
        fits(maglev < self.maglevs_max, "Maglev table", maglev, self.maglevs_max)
    }

    /// Whether there is a backend of that index.
    pub(crate) fn hold_backend(&self, index: u32) -> Result<(), XdpError> {
        fits(index < self.backends_max, "backend", index, self.backends_max)
    }
}

/// An error unless it fits.
pub(crate) fn fits(
    fits: bool,
    what: &'static str,
    number: impl Into<u64>,
    max: impl Into<u64>,
) -> Result<(), XdpError> {
    match fits {
        true => Ok(()),
        false => Err(XdpError::OutOfBounds { what, number: number.into(), max: max.into() }),
    }
}

/// One map of the object.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    pub(crate) kind: MapType,
    pub(crate) key_bytes: u32,
    pub(crate) value_bytes: u32,
    pub(crate) entries_max: u32,
}

/// All maps of the object, as they are to be made with `sizes`.
pub(crate) fn shapes(sizes: &Sizes) -> [Shape; 11] {
    use MapType::{Array, Hash, LpmTrie, LruHash, PerCpuArray};
    let vips = u32::from(sizes.vips_max) + 1;
    let slots = sizes.maglevs_max.saturating_mul(MAGLEV_SLOTS);
    [
        shape::<u32, Settings>("SETTINGS", Array, 1),
        shape::<VipKey, u32>("VIP_NUMBERS", Hash, sizes.services_max),
        shape::<u32, Vip>("VIPS", Array, vips),
        shape::<u32, u32>("SLOTS", Array, slots),
        shape::<u32, Backend>("BACKENDS", Array, sizes.backends_max),
        shape::<FlowKey, Flow>("FLOWS_NEW", LruHash, sizes.new_flows_max),
        shape::<FlowKey, Flow>("FLOWS_PROVEN", LruHash, sizes.proven_flows_max),
        // An LPM key is the count of bits in front of the address.
        shape::<[u32; 5], SourceRule>("SOURCE_RULES", LpmTrie, sizes.source_rules_max),
        shape::<u64, Bucket>("BUCKETS", LruHash, sizes.buckets_max),
        shape::<u32, Counters>("VIP_COUNTS", PerCpuArray, vips),
        shape::<u32, Counters>("BACKEND_COUNTS", PerCpuArray, sizes.backends_max),
    ]
}

fn shape<K, V>(name: &'static str, kind: MapType, entries_max: u32) -> Shape {
    let (key_bytes, value_bytes) = (size_of::<K>() as u32, size_of::<V>() as u32);
    Shape { name, kind, key_bytes, value_bytes, entries_max }
}

#[cfg(test)]
mod tests;
