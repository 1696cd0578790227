//! The kernel's maps as the tables of `penstock-l4`.
//!
//! The sizes here are placeholders: the loader sets each before the map is made. All are
//! pinned by name, so that the next process finds them.

use core::cell::Cell;

use aya_ebpf::bindings::BPF_F_NO_COMMON_LRU;
use aya_ebpf::helpers::bpf_get_smp_processor_id;
use aya_ebpf::macros::map;
use aya_ebpf::maps::lpm_trie::Key;
use aya_ebpf::maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray};
use penstock_l4::value::{
    Address, Backend, Bucket, Counters, Flow, FlowKey, Settings, SourceRule, Vip, VipKey,
};
use penstock_l4::{CAUSE_COUNT, Count, MAGLEV_SLOTS, Subject, Tables, Tenure, forget};


#[map]
static SETTINGS: Array<Settings> = Array::pinned(1, 0);
/// Numbers of VIPs.
#[map]
static VIP_NUMBERS: HashMap<VipKey, u32> = HashMap::pinned(1, 0);
#[map]
static VIPS: Array<Vip> = Array::pinned(1, 0);
/// Maglev tables, one behind the other.
#[map]
static SLOTS: Array<u32> = Array::pinned(1, 0);
#[map]
static BACKENDS: Array<Backend> = Array::pinned(1, 0);
/// Not per processor: the two directions of a flow come in on different ones. But each processor
/// has its own list of the least recently used, or they would all fight for one.
#[map]
static FLOWS_NEW: LruHashMap<FlowKey, Flow> = LruHashMap::pinned(1, BPF_F_NO_COMMON_LRU);
#[map]
static FLOWS_PROVEN: LruHashMap<FlowKey, Flow> = LruHashMap::pinned(1, BPF_F_NO_COMMON_LRU);
#[map]
static SOURCE_RULES: LpmTrie<Address, SourceRule> = LpmTrie::pinned(1, 0);
#[map]
static BUCKETS: LruHashMap<u64, Bucket> = LruHashMap::pinned(1, BPF_F_NO_COMMON_LRU);
#[map]
static VIP_COUNTS: PerCpuArray<Counters> = PerCpuArray::pinned(1, 0);
#[map]
static BACKEND_COUNTS: PerCpuArray<Counters> = PerCpuArray::pinned(1, 0);

/// All maps, with the settings looked up once for a packet.
pub(crate) struct Maps {
    settings: &'static Settings,
}

impl Maps {
    /// None when the first map is missing an entry that an array always has.
    #[inline(always)]
    pub(crate) fn new() -> Option<Self> {
        let settings = SETTINGS.get(0)?;
        // An array of zeros before the loader has written it.
        Some(Maps { settings })
    }

    #[inline(always)]
    fn flows(tenure: Tenure) -> &'static LruHashMap<FlowKey, Flow> {
        match tenure {
            Tenure::New => &FLOWS_NEW,
            Tenure::Proven => &FLOWS_PROVEN,
        }
    }
}

impl Tables for Maps {
    #[inline(always)]
    fn settings(&self) -> &Settings {
        self.settings
    }

    #[inline(always)]
    fn vip_number(&self, key: &VipKey) -> Option<u16> {
        // SAFETY: written by the control side alone; a number is read in one piece.
        unsafe { VIP_NUMBERS.get(key) }.map(|number| *number as u16)
    }

    #[inline(always)]
    fn vip(&self, number: u16) -> Option<&Vip> {
        VIPS.get(u32::from(number))
    }

    #[inline(always)]
    fn slot(&self, maglev: u32, slot: u32) -> Option<u32> {
        SLOTS.get(maglev.wrapping_mul(MAGLEV_SLOTS as u32).wrapping_add(slot)).copied()
    }

    #[inline(always)]
    fn backend(&self, index: u32) -> Option<&Backend> {
        BACKENDS.get(index)
    }

    #[inline(always)]
    fn flow(&self, tenure: Tenure, key: &FlowKey) -> Option<&Cell<Flow>> {
        let flow = Self::flows(tenure).get_ptr_mut(key)?;
        // SAFETY: the kernel keeps an entry's memory until the program has ended; that others may
        // write it at the same time is what the cell says.
        Some(unsafe { &*flow.cast::<Cell<Flow>>() })
    }

    #[inline(always)]
    fn put_flow(&self, tenure: Tenure, key: &FlowKey, flow: &Flow) -> bool {
        Self::flows(tenure).insert(key, flow, 0).is_ok()
    }

    #[inline(always)]
    fn remove_flow(&self, tenure: Tenure, key: &FlowKey) {
        // That it is gone already is all right.
        let _ = Self::flows(tenure).remove(key);
    }

    #[inline(always)]
    fn source_rule(&self, address: &Address) -> Option<&SourceRule> {
        SOURCE_RULES.get(Key::new(128, *address))
    }

    #[inline(always)]
    fn bucket(&self, owner: &u64, full: Bucket) -> Option<&Cell<Bucket>> {
        if BUCKETS.get_ptr(owner).is_none() {
            // Another processor may be first: then its bucket stands.
            let _ = BUCKETS.insert(owner, full, u64::from(BPF_NOEXIST));
        }
        let bucket = BUCKETS.get_ptr_mut(owner)?;
        // SAFETY: as in `flow`.
        Some(unsafe { &*bucket.cast::<Cell<Bucket>>() })
    }

    #[inline(always)]
    fn count(&self, subject: Subject, count: Count) {
        let counters = match subject {
            Subject::Vip(number) => VIP_COUNTS.get_ptr_mut(u32::from(number)),
            Subject::Backend(index) => BACKEND_COUNTS.get_ptr_mut(index),
        };
        let Some(counters) = counters else { return };
        // SAFETY: this processor's own copy, and no other program of this processor runs now.
        let counters = unsafe { &mut *counters };
        match count {
            Count::Forward(bytes) => {
                counters.packets += 1;
                counters.bytes += bytes;
            }
            Count::Return(bytes) => {
                counters.return_packets += 1;
                counters.return_bytes += bytes;
            }
            Count::Cause(cause) => {
                let place = forget(cause as u64, counters.packets) as usize;
                if place < CAUSE_COUNT {
                    counters.causes[place] += 1;
                }
            }
        }
    }

    #[inline(always)]
    fn lane(&self) -> u32 {
        // SAFETY: a helper without arguments.
        unsafe { bpf_get_smp_processor_id() }
    }
}

/// Only when there is no such entry yet (`linux/bpf.h`).
const BPF_NOEXIST: u32 = 1;
