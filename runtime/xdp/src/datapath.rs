//! A datapath at work, whichever it is; the seam to who decides what tables say.
//!
//! The register of datapaths: a variant each, and nobody outside has to know which.

use std::path::Path;

use aya::util::nr_cpus;
use penstock_l4::value::{Address, Counters, Flow, FlowKey, Link};
use penstock_l4::{Kept, Subject, Tenure};

use crate::pins;
use crate::ways::ways;
use crate::{Fill, Interface, Kernel, Options, Start, Userland, XdpError, detach};

/// Which datapath is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Choice {
    /// The best that works here.
    Auto,
    /// The program in the kernel, or none.
    Xdp,
    /// Lanes over a TUN device, or none.
    Tun,
}

/// What forwards packets of VIPs.
pub enum Datapath {
    /// The XDP program.
    Kernel(Box<Kernel>),
    /// Lanes over a TUN device.
    Tun(Box<Userland>),
}

/// How many lanes packets are handled in at most: one for each processor that there may be.
pub fn lanes() -> u32 {
    nr_cpus().map_or(1, |count| count.try_into().unwrap_or(u32::MAX))
}

/// What of a process is in the way of the XDP program with pins below `root`, as far as that can
/// be told without starting it.
pub fn obstacle(root: &Path) -> Option<XdpError> {
    match Kernel::missing() {
        Some(missing) => Some(XdpError::Capability(missing)),
        None => (!pins::can_pin(root)).then(|| XdpError::NoBpfFilesystem(root.to_owned())),
    }
}

impl Datapath {
    /// Starts a datapath on these interfaces, adopting what an earlier process left. It is filled
    /// by `fill` before the first packet meets it: once for each that is tried.
    ///
    /// # Errors
    /// A missing capability, interface or native XDP, or what `fill` says; then everything is as
    /// it was, but what `fill` has written into adopted tables.
    pub fn start<E: From<XdpError>>(
        choice: Choice,
        options: &Options,
        interfaces: &[Interface],
        fill: &mut dyn FnMut(&mut Datapath) -> Result<(), E>,
    ) -> Result<Self, E> {
        if choice != Choice::Tun {
            match Datapath::start_kernel(options, interfaces, fill)? {
                Ok(datapath) => return Ok(datapath),
                Err(error) if choice == Choice::Xdp => return Err(error.into()),
                Err(XdpError::NoInterface(name)) => return Err(XdpError::NoInterface(name).into()),
                Err(xdp) => {
                    let tun = Datapath::start_userland(options, interfaces, Some(&xdp), fill)?;
                    return tun.map_err(|tun| {
                        let (xdp, tun) = (Box::new(xdp), Box::new(tun));
                        XdpError::Neither { xdp, tun }.into()
                    });
                }
            }
        }
        // A program that is still there would take the packets away.
        detach(&options.root, &options.instance)?;
        Datapath::start_userland(options, interfaces, None, fill)?.map_err(E::from)
    }

    /// What `fill` says, or else what the kernel does.
    fn start_kernel<E>(
        options: &Options,
        interfaces: &[Interface],
        fill: &mut dyn FnMut(&mut Datapath) -> Result<(), E>,
    ) -> Result<Result<Self, XdpError>, E> {
        let mut datapath = match Kernel::load(options) {
            Ok(kernel) => Datapath::Kernel(Box::new(kernel)),
            Err(error) => return Ok(Err(error)),
        };
        fill(&mut datapath)?;
        let attached = datapath.attach(interfaces);
        Ok(attached.and_then(|()| datapath.release_others(interfaces)).map(|()| datapath))
    }

    /// As above, `instead` of the program for that reason.
    fn start_userland<E>(
        options: &Options,
        interfaces: &[Interface],
        instead: Option<&XdpError>,
        fill: &mut dyn FnMut(&mut Datapath) -> Result<(), E>,
    ) -> Result<Result<Self, XdpError>, E> {
        let mut datapath = match Userland::start(options, instead.map(ToString::to_string)) {
            Ok(userland) => Datapath::Tun(Box::new(userland)),
            Err(error) => return Ok(Err(error)),
        };
        if instead.is_some() {
            // On some of the interfaces the program may run, from now or from before. Where that
            // can't be undone, it is for want of a capability, and what was there goes on.
            let _ = detach(&options.root, &options.instance);
        }
        fill(&mut datapath)?;
        Ok(datapath.attach(interfaces).map(|()| datapath))
    }

    /// Why it is not the better one, if that was tried.
    pub fn fallback_reason(&self) -> Option<&str> {
        match self {
            Datapath::Kernel(_) => None,
            Datapath::Tun(userland) => userland.instead(),
        }
    }

    /// Its name, as in the config.
    pub fn name(&self) -> &'static str {
        match self {
            Datapath::Kernel(_) => "xdp",
            Datapath::Tun(_) => "tun",
        }
    }

    /// Whether it still reads packets. The program does for as long as its interfaces are there.
    pub fn is_running(&self) -> bool {
        match self {
            Datapath::Kernel(_) => true,
            Datapath::Tun(userland) => userland.is_running(),
        }
    }

    /// What the start found.
    pub fn found(&self) -> Start {
        match self {
            Datapath::Kernel(kernel) => kernel.found(),
            Datapath::Tun(_) => Start::Fresh,
        }
    }

    /// The tables, to be written.
    pub fn fill(&mut self) -> &mut dyn Fill {
        match self {
            Datapath::Kernel(kernel) => kernel.tables(),
            Datapath::Tun(userland) => &mut **userland,
        }
    }

    /// What the tables say.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn kept(&self) -> Result<Kept, XdpError> {
        match self {
            Datapath::Kernel(kernel) => kernel.read().kept(),
            // Its tables end with their process.
            Datapath::Tun(_) => Ok(Kept::default()),
        }
    }

    /// The counts so far, over all lanes; nothing when there is no such VIP or backend.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn counters(&self, subject: Subject) -> Result<Option<Counters>, XdpError> {
        match self {
            Datapath::Kernel(kernel) => kernel.read().counters(subject),
            Datapath::Tun(userland) => Ok(userland.counters(subject)),
        }
    }

    /// The flows of a table, each direction on its own. An entry that goes while the others are
    /// read is left out.
    pub fn flows(&self, tenure: Tenure) -> Box<dyn Iterator<Item = (FlowKey, Flow)> + '_> {
        match self {
            Datapath::Kernel(kernel) => Box::new(kernel.read().flows(tenure)),
            Datapath::Tun(userland) => Box::new(userland.flows(tenure)),
        }
    }

    /// The way to each of these addresses, as frames go by it; all zeros where it goes by none of
    /// these interfaces, where its next hop is not known yet, or where the kernel routes.
    pub fn ways(&self, addresses: &[Address], interfaces: &[Interface]) -> Vec<Link> {
        match self {
            Datapath::Kernel(_) => ways(addresses, interfaces),
            Datapath::Tun(_) => vec![Link::default(); addresses.len()],
        }
    }

    /// Takes packets of these interfaces too.
    ///
    /// # Errors
    /// As at the start; then it takes packets of those of before.
    pub fn attach(&mut self, interfaces: &[Interface]) -> Result<(), XdpError> {
        match self {
            Datapath::Kernel(kernel) => kernel.attach(interfaces),
            Datapath::Tun(userland) => userland.attach(interfaces),
        }
    }

    /// Takes no more packets of any interface but these.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn release_others(&mut self, interfaces: &[Interface]) -> Result<(), XdpError> {
        match self {
            Datapath::Kernel(kernel) => kernel.release_others(interfaces),
            Datapath::Tun(userland) => {
                userland.release_others(interfaces);
                Ok(())
            }
        }
    }

    /// Ends it, with all flows: nothing is left.
    ///
    /// # Errors
    /// Something could not be removed.
    pub fn end(self) -> Result<(), XdpError> {
        match self {
            Datapath::Kernel(kernel) => kernel.end(),
            Datapath::Tun(userland) => {
                drop(userland);
                Ok(())
            }
        }
    }
}
