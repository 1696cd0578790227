//! The XDP datapath's life: loaded, attached, adopted by the next process, detached.

use std::path::{Path, PathBuf};

use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::XdpLink;
use aya::programs::{ProgramError, Xdp, XdpMode};
use aya::{Ebpf, EbpfError, EbpfLoader};

use crate::object::{OBJECT, PROGRAM, shapes};
use crate::pins::{self, Pins};
use crate::{Capability, Interface, KernelTables, Sizes, XdpError};

/// How to start.
#[derive(Clone, Debug)]
pub struct Options {
    /// A folder on a BPF file system; `/sys/fs/bpf/penstock` if nothing speaks against it.
    pub root: PathBuf,
    /// Tells apart the appliances of one machine.
    pub instance: String,
    /// Sizes of the maps.
    pub sizes: Sizes,
    /// In userland: a lane for each of these, on that processor or on any; without any, as many
    /// as there are processors.
    pub processors: Vec<Option<u32>>,
}

/// What a start found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// No maps of an earlier process.
    Fresh,
    /// Maps of an earlier process, with its flows.
    Adopted,
    /// Maps of another layout or other sizes: replaced, their flows are placed anew.
    Replaced,
}

/// The datapath in the kernel. It stays when this is dropped: the program goes on with what the
/// maps say, and the next process adopts both. [`detach`] ends it. Maps that were made for it and
/// that no packet has met go with it.
pub struct Kernel {
    program: Ebpf,
    tables: KernelTables,
    pins: Pins,
    start: Start,
    /// The maps are beside those of an earlier start yet, if there were any.
    is_new: bool,
}

impl Kernel {
    /// Loads the program, adopts or makes its maps, and attaches it to `interfaces`; from others
    /// of this instance it is taken away.
    ///
    /// # Errors
    /// A missing capability, interface or native XDP. What was attached by this start is taken
    /// away again; what an earlier one left goes on.
    pub fn start(options: &Options, interfaces: &[Interface]) -> Result<Self, XdpError> {
        let mut kernel = Kernel::load(options)?;
        kernel.attach(interfaces)?;
        kernel.release_others(interfaces)?;
        Ok(kernel)
    }

    /// Loads the program and adopts or makes its maps, for them to be filled before the first
    /// packet meets them. Until it is attached, what an earlier start left goes on.
    ///
    /// # Errors
    /// A missing capability.
    pub fn load(options: &Options) -> Result<Self, XdpError> {
        if let Some(missing) = Kernel::missing() {
            return Err(XdpError::Capability(missing));
        }
        let pins = Pins::open(&options.root, &options.instance)?;
        let loaded = load(&pins, &options.sizes).and_then(|(start, mut program)| {
            Ok((start, KernelTables::of(&mut program, &options.sizes)?, program))
        });
        match loaded {
            Ok((start, tables, program)) => {
                let is_new = start != Start::Adopted;
                Ok(Kernel { program, tables, pins, start, is_new })
            }
            Err(error) => {
                undo(&pins);
                Err(error)
            }
        }
    }

    /// Attaches the program to these interfaces too.
    ///
    /// # Errors
    /// A missing interface or native XDP. Where a program was attached before, one still is.
    pub fn attach(&mut self, interfaces: &[Interface]) -> Result<(), XdpError> {
        attach_all(&mut self.program, &self.pins, interfaces)?;
        if self.is_new {
            self.pins.adopt_new()?;
            self.is_new = false;
        }
        Ok(())
    }

    /// Takes the program off every interface but these.
    ///
    /// # Errors
    /// A pin could not be removed.
    pub fn release_others(&mut self, interfaces: &[Interface]) -> Result<(), XdpError> {
        release_others(&self.pins, interfaces)
    }

    /// Takes the program off all interfaces and removes its maps.
    ///
    /// # Errors
    /// A pin could not be removed.
    pub fn end(mut self) -> Result<(), XdpError> {
        self.is_new = false;
        self.pins.remove()
    }

    /// The first capability that this process lacks.
    pub(crate) fn missing() -> Option<Capability> {
        Capability::missing(&[Capability::Bpf, Capability::Perfmon, Capability::NetAdmin])
    }

    /// What the start found.
    pub fn found(&self) -> Start {
        self.start
    }

    /// The maps, to be read.
    pub fn read(&self) -> &KernelTables {
        &self.tables
    }

    /// The maps, to be written.
    pub fn tables(&mut self) -> &mut KernelTables {
        &mut self.tables
    }

    /// The program as it is in the kernel.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn program(&self) -> Result<&Xdp, XdpError> {
        let program = self.program.program(PROGRAM).and_then(|one| one.try_into().ok());
        program.ok_or_else(|| XdpError::Program("it is not in the object".into()))
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        if self.is_new {
            undo(&self.pins);
        }
    }
}

/// Takes the program off all interfaces of an instance and removes its maps. That there is
/// nothing of it is no error.
///
/// # Errors
/// A pin could not be removed.
pub fn detach(root: &Path, instance: &str) -> Result<(), XdpError> {
    match Pins::existing(root, instance) {
        Some(pins) => pins.remove(),
        None => Ok(()),
    }
}

/// Loads the object with maps that fit: the pinned ones, or new ones beside them.
fn load(pins: &Pins, sizes: &Sizes) -> Result<(Start, Ebpf), XdpError> {
    let shapes = shapes(sizes);
    let adopted = pins.fit(&shapes);
    let start = match (adopted, pins.linked()?.is_empty()) {
        (true, _) => Start::Adopted,
        (false, true) => Start::Fresh,
        (false, false) => Start::Replaced,
    };
    let folder = if adopted { pins.maps() } else { pins.new_maps() };
    if !adopted {
        // Half-made by a start that was cut short.
        pins::remove_all(&folder)?;
        pins::create(&folder)?;
    }
    let mut loader = EbpfLoader::new();
    // Nothing in the object depends on the kernel's types.
    loader.btf(None).default_map_pin_directory(&folder);
    for shape in &shapes {
        loader.map_max_entries(shape.name, shape.entries_max);
    }
    let mut program = loader.load(OBJECT).map_err(refused)?;
    verified(xdp(&mut program)?).map_err(|error| refused(error.into()))?;
    Ok((start, program))
}

/// Has the kernel take the program. Any signal in the meantime, or a freezer, breaks its check off
/// (EAGAIN): then it begins anew, as often as libbpf has it.
fn verified(program: &mut Xdp) -> Result<(), ProgramError> {
    for _ in 1..LOAD_TRIES {
        match program.load() {
            Err(ProgramError::LoadError { io_error, .. })
                if io_error.kind() == std::io::ErrorKind::WouldBlock => {}
            done => return done,
        }
    }
    program.load()
}

const LOAD_TRIES: usize = 5;

/// Puts the program on all of these interfaces, or on none where it was not before.
fn attach_all(program: &mut Ebpf, pins: &Pins, interfaces: &[Interface]) -> Result<(), XdpError> {
    let mut added = Vec::new();
    for interface in interfaces {
        if let Err(error) = attach(program, pins, interface, &mut added) {
            for pin in added {
                // What can't be removed is found and removed by the next start.
                let _ = pins::remove_link(&pin);
            }
            return Err(error);
        }
    }
    Ok(())
}

fn release_others(pins: &Pins, interfaces: &[Interface]) -> Result<(), XdpError> {
    for name in pins.linked()? {
        if !interfaces.iter().any(|interface| interface.name() == name) {
            pins::remove_link(&pins.link(&name))?;
        }
    }
    Ok(())
}

/// Puts the program on an interface: in the place of an earlier one of ours, or as the first. A
/// link that is made is added to `added`.
fn attach(
    program: &mut Ebpf,
    pins: &Pins,
    interface: &Interface,
    added: &mut Vec<PathBuf>,
) -> Result<(), XdpError> {
    let program = xdp(program)?;
    let pin = pins.link(interface.name());
    if let Ok(link) = PinnedLink::from_pin(&pin) {
        let link = XdpLink::try_from(FdLink::from(link));
        if link.is_ok_and(|link| program.attach_to_link(link).is_ok()) {
            return Ok(());
        }
        // Its interface has gone, and one of the same name has come.
        pins::remove_link(&pin)?;
    }
    let refused = |error| not_attached(interface.name(), error);
    let link = program.attach_to_if_index(interface.index(), XdpMode::Driver).map_err(refused)?;
    let link = program.take_link(link).map_err(refused)?;
    let link = FdLink::try_from(link).map_err(|error| XdpError::Program(error.to_string()))?;
    link.pin(&pin).map_err(|error| XdpError::Program(error.to_string()))?;
    added.push(pin);
    Ok(())
}

/// Leaves things as they were before a start that failed. What can't be removed is found and
/// removed by the next start.
fn undo(pins: &Pins) {
    let _ = pins::remove_all(&pins.new_maps());
    pins.remove_if_empty();
}

fn xdp(program: &mut Ebpf) -> Result<&mut Xdp, XdpError> {
    let program = program.program_mut(PROGRAM).ok_or("it is not in the object".to_owned());
    let program = program.and_then(|one| one.try_into().map_err(|e: ProgramError| e.to_string()));
    program.map_err(XdpError::Program)
}

/// Why the program or a map was refused, in one line: the verifier's last words.
fn refused(error: EbpfError) -> XdpError {
    let reason = match &error {
        EbpfError::ProgramError(ProgramError::LoadError { io_error, verifier_log }) => {
            let log = verifier_log.to_string();
            let last = log.lines().rev().filter(|line| !line.is_empty()).take(12);
            let last: Vec<&str> = last.collect();
            format!("{io_error}: {}", last.into_iter().rev().collect::<Vec<_>>().join(" | "))
        }
        EbpfError::MapError(error) => sources(error),
        error => sources(error),
    };
    XdpError::Program(reason)
}

/// An error with those that caused it.
fn sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text = format!("{text}: {error}");
        next = error.source();
    }
    text
}

/// Why an interface takes no program (bpf_xdp_link_attach and dev_xdp_attach in the kernel).
fn not_attached(interface: &str, error: ProgramError) -> XdpError {
    let number = match &error {
        ProgramError::SyscallError(error) => error.io_error.raw_os_error(),
        _ => None,
    };
    match number {
        Some(libc::EBUSY | libc::EEXIST) => XdpError::Occupied(interface.to_owned()),
        Some(libc::ENODEV) => XdpError::NoInterface(interface.to_owned()),
        Some(libc::EPERM) => XdpError::Capability(Capability::NetAdmin),
        // EINVAL: the driver's own rules, mostly of MTU and offloads.
        Some(libc::EOPNOTSUPP | libc::EINVAL | libc::ERANGE) => {
            XdpError::NoNativeXdp(interface.to_owned())
        }
        // With EINVAL aya tries netlink, which says the same in its own words.
        _ if matches!(error, ProgramError::XdpError(_)) => {
            XdpError::NoNativeXdp(interface.to_owned())
        }
        _ => XdpError::Program(sources(&error)),
    }
}
