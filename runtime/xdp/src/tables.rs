//! The kernel's maps, typed: written by the control side, read for counters and flows.

use aya::Ebpf;
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray};
use penstock_l4::value::{
    Address, Backend, Counters, Flow, FlowKey, Link, Plain, Settings, SourceRule, Vip, VipKey,
};
use penstock_l4::{Kept, MAGLEV_SLOTS, Subject, Tenure};

use crate::batch::{entries, set_array};
use crate::{Fill, Sizes, XdpError};

/// A value of `penstock-l4` as bytes of a map.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct Bytes<T>(T);

// SAFETY: that is what `Plain` says: no padding, no pointer, any bytes are a value.
unsafe impl<T: Plain> aya::Pod for Bytes<T> {}

/// The maps of a running program.
pub struct KernelTables {
    settings: Array<MapData, Bytes<Settings>>,
    services: HashMap<MapData, Bytes<VipKey>, u32>,
    vips: Array<MapData, Bytes<Vip>>,
    slots: Array<MapData, u32>,
    backends: Array<MapData, Bytes<Backend>>,
    new_flows: HashMap<MapData, Bytes<FlowKey>, Bytes<Flow>>,
    proven_flows: HashMap<MapData, Bytes<FlowKey>, Bytes<Flow>>,
    source_rules: LpmTrie<MapData, Bytes<Address>, Bytes<SourceRule>>,
    vip_counts: PerCpuArray<MapData, Bytes<Counters>>,
    backend_counts: PerCpuArray<MapData, Bytes<Counters>>,
    sizes: Sizes,
}

impl KernelTables {
    /// Takes the maps out of a loaded object.
    pub(crate) fn of(program: &mut Ebpf, sizes: &Sizes) -> Result<Self, XdpError> {
        Ok(KernelTables {
            settings: take(program, "SETTINGS")?,
            services: take(program, "VIP_NUMBERS")?,
            vips: take(program, "VIPS")?,
            slots: take(program, "SLOTS")?,
            backends: take(program, "BACKENDS")?,
            new_flows: take(program, "FLOWS_NEW")?,
            proven_flows: take(program, "FLOWS_PROVEN")?,
            source_rules: take(program, "SOURCE_RULES")?,
            vip_counts: take(program, "VIP_COUNTS")?,
            backend_counts: take(program, "BACKEND_COUNTS")?,
            sizes: *sizes,
        })
    }

    /// The counts so far, over all processors; nothing when there is no such VIP or backend.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn counters(&self, subject: Subject) -> Result<Option<Counters>, XdpError> {
        let (map, counts, index) = match subject {
            Subject::Vip(number) => ("VIP_COUNTS", &self.vip_counts, u32::from(number)),
            Subject::Backend(index) => ("BACKEND_COUNTS", &self.backend_counts, index),
        };
        match counts.get(&index, 0) {
            Ok(values) => Ok(values.iter().map(|value| value.0).reduce(summed)),
            Err(MapError::OutOfBounds { .. }) => Ok(None),
            Err(error) => Err(failed(map, &error)),
        }
    }

    /// The flows of a table, each direction on its own. An entry that goes while the others are
    /// read is left out.
    pub fn flows(&self, tenure: Tenure) -> impl Iterator<Item = (FlowKey, Flow)> {
        let map = match tenure {
            Tenure::New => &self.new_flows,
            Tenure::Proven => &self.proven_flows,
        };
        entries(map).map(|(key, flow)| (key.0, flow.0))
    }

    /// What the control side has written, of earlier processes too.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn kept(&self) -> Result<Kept, XdpError> {
        let mut kept = Kept::default();
        for entry in self.services.iter() {
            let (key, number) = entry.map_err(|error| failed("VIP_NUMBERS", &error))?;
            // The map's values are words for the program's sake.
            kept.services.push((key.0, number as u16));
        }
        for number in 1..=self.sizes.vips_max {
            let vip = self.vips.get(&u32::from(number), 0);
            let Bytes(vip) = vip.map_err(|error| failed("VIPS", &error))?;
            if vip.mode != 0 {
                kept.vips.push((number, vip));
            }
        }
        for index in 0..self.sizes.backends_max {
            let backend = self.backends.get(&index, 0);
            let Bytes(backend) = backend.map_err(|error| failed("BACKENDS", &error))?;
            if backend.generation != 0 {
                kept.backends.push((index, backend));
            }
        }
        for entry in self.source_rules.iter() {
            let (key, _) = entry.map_err(|error| failed("SOURCE_RULES", &error))?;
            kept.sources.push((key.data().0, key.prefix_len() as u8));
        }
        Ok(kept)
    }
}

impl Fill for KernelTables {
    fn set_settings(&mut self, settings: &Settings) -> Result<(), XdpError> {
        self.settings.set(0, Bytes(*settings), 0).map_err(|error| failed("SETTINGS", &error))
    }

    fn set_service(&mut self, key: &VipKey, number: Option<u16>) -> Result<(), XdpError> {
        let done = match number {
            Some(number) => self.services.insert(Bytes(*key), u32::from(number), 0),
            None => unless_absent(self.services.remove(&Bytes(*key))),
        };
        done.map_err(|error| failed("VIP_NUMBERS", &error))
    }

    fn set_vip(&mut self, number: u16, vip: &Vip) -> Result<(), XdpError> {
        self.sizes.hold_vip(number)?;
        let done = self.vips.set(u32::from(number), Bytes(*vip), 0);
        done.map_err(|error| failed("VIPS", &error))
    }

    fn set_maglev(&mut self, maglev: u32, slots: &[u32]) -> Result<(), XdpError> {
        self.sizes.hold_maglev(maglev, slots)?;
        let set = set_array(&self.slots, maglev * MAGLEV_SLOTS, slots);
        set.map_err(|error| XdpError::Map { map: "SLOTS", reason: error.to_string() })
    }

    fn set_backend(&mut self, index: u32, backend: Option<&Backend>) -> Result<(), XdpError> {
        self.sizes.hold_backend(index)?;
        let backend = backend.copied().unwrap_or(NO_BACKEND);
        let done = self.backends.set(index, Bytes(backend), 0);
        done.map_err(|error| failed("BACKENDS", &error))
    }

    fn set_source(
        &mut self,
        address: &Address,
        bits: u8,
        rule: Option<&SourceRule>,
    ) -> Result<(), XdpError> {
        let key = Key::new(u32::from(bits), Bytes(*address));
        let done = match rule {
            Some(rule) => self.source_rules.insert(&key, Bytes(*rule), 0),
            None => unless_absent(self.source_rules.remove(&key)),
        };
        done.map_err(|error| failed("SOURCE_RULES", &error))
    }
}

/// Takes a map of the object as what it is known to be.
fn take<T: TryFrom<Map, Error = MapError>>(
    program: &mut Ebpf,
    name: &'static str,
) -> Result<T, XdpError> {
    let absent = || XdpError::Map { map: name, reason: "it is not in the object".into() };
    let map = program.take_map(name).ok_or_else(absent)?;
    T::try_from(map).map_err(|error| failed(name, &error))
}

/// That what is to go is gone already is all right.
fn unless_absent(done: Result<(), MapError>) -> Result<(), MapError> {
    match done {
        Err(MapError::KeyNotFound | MapError::ElementNotFound) => Ok(()),
        Err(MapError::SyscallError(error))
            if error.io_error.kind() == std::io::ErrorKind::NotFound =>
        {
            Ok(())
        }
        done => done,
    }
}

fn failed(map: &'static str, error: &MapError) -> XdpError {
    let reason = match error {
        MapError::SyscallError(error) => error.io_error.to_string(),
        error => error.to_string(),
    };
    XdpError::Map { map, reason }
}

/// Both together.
pub(crate) fn summed(mut sum: Counters, more: Counters) -> Counters {
    sum.packets += more.packets;
    sum.bytes += more.bytes;
    sum.return_packets += more.return_packets;
    sum.return_bytes += more.return_bytes;
    for (cause, count) in sum.causes.iter_mut().zip(more.causes) {
        *cause += count;
    }
    sum
}

/// What an entry of zeros is.
const NO_BACKEND: Backend = Backend {
    address: Address::v6([0; 16]),
    link: Link { destination: [0; 6], source: [0; 6], interface: 0 },
    port: 0,
    generation: 0,
    state: 0,
    zero: [0; 3],
};
