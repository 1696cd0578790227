//! A datapath at work, whichever it is; the seam to who decides what tables say.
//!
//! The register of datapaths: a variant each, and nobody outside has to know which.

use penstock_l4::value::{Address, Backend, Counters, Flow, FlowKey, Vip, VipKey};
use penstock_l4::{Subject, Tenure};

use crate::{Fill, Interface, Kernel, Options, Start, XdpError};

/// Which datapath is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Choice {
    /// The best that works here.
    Auto,
    /// The program in the kernel, or none.
    Xdp,
}

/// What forwards packets of VIPs.
pub enum Datapath {
    /// The XDP program.
    Kernel(Kernel),
}

/// What tables say, as an earlier process left them.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// Services and addresses of ours, each with the number of its VIP.
    pub services: Vec<(VipKey, u16)>,
    /// VIPs by number: all that have ever been one.
    pub vips: Vec<(u16, Vip)>,
    /// Backends by index: all that have ever been one.
    pub backends: Vec<(u32, Backend)>,
    /// Prefixes of sources that have a rule, in bits of IPv6.
    pub sources: Vec<(Address, u8)>,
}

impl Datapath {
    /// Starts a datapath on these interfaces, adopting what an earlier process left. It is filled
    /// by `fill` before the first packet meets it: once for each that is tried.
    ///
    /// # Errors
    /// A missing capability, interface or native XDP, or what `fill` says; then everything is as
    /// it was, but what `fill` has written into adopted tables.
    pub fn start(
        choice: Choice,
        options: &Options,
        interfaces: &[Interface],
        fill: &mut dyn FnMut(&mut Datapath) -> Result<(), XdpError>,
    ) -> Result<Self, XdpError> {
        let mut datapath = match choice {
            Choice::Auto | Choice::Xdp => Datapath::Kernel(Kernel::load(options)?),
        };
        fill(&mut datapath)?;
        datapath.attach(interfaces)?;
        datapath.release_others(interfaces)?;
        Ok(datapath)
    }

    /// Its name, as in the config.
    pub fn name(&self) -> &'static str {
        match self {
            Datapath::Kernel(_) => "xdp",
        }
    }

    /// What the start found.
    pub fn found(&self) -> Start {
        match self {
            Datapath::Kernel(kernel) => kernel.found(),
        }
    }

    /// How many lanes packets are handled in.
    pub fn lanes(&self) -> u32 {
        match self {
            Datapath::Kernel(kernel) => kernel.lanes(),
        }
    }

    /// The tables, to be written.
    pub fn fill(&mut self) -> &mut dyn Fill {
        match self {
            Datapath::Kernel(kernel) => kernel.tables(),
        }
    }

    /// What the tables say.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn kept(&self) -> Result<Kept, XdpError> {
        match self {
            Datapath::Kernel(kernel) => kernel.read().kept(),
        }
    }

    /// The counts so far, over all lanes; nothing when there is no such VIP or backend.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn counters(&self, subject: Subject) -> Result<Option<Counters>, XdpError> {
        match self {
            Datapath::Kernel(kernel) => kernel.read().counters(subject),
        }
    }

    /// The flows of a table, each direction on its own. An entry that goes while the others are
    /// read is left out.
    pub fn flows(&self, tenure: Tenure) -> Box<dyn Iterator<Item = (FlowKey, Flow)> + '_> {
        match self {
            Datapath::Kernel(kernel) => Box::new(kernel.read().flows(tenure)),
        }
    }

    /// Takes packets of these interfaces too.
    ///
    /// # Errors
    /// As at the start; then it takes packets of those of before.
    pub fn attach(&mut self, interfaces: &[Interface]) -> Result<(), XdpError> {
        match self {
            Datapath::Kernel(kernel) => kernel.attach(interfaces),
        }
    }

    /// Takes no more packets of any interface but these.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn release_others(&mut self, interfaces: &[Interface]) -> Result<(), XdpError> {
        match self {
            Datapath::Kernel(kernel) => kernel.release_others(interfaces),
        }
    }

    /// Ends it, with all flows: nothing is left.
    ///
    /// # Errors
    /// Something could not be removed.
    pub fn end(self) -> Result<(), XdpError> {
        match self {
            Datapath::Kernel(kernel) => kernel.end(),
        }
    }
}
