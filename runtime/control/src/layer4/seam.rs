//! The seam to datapaths: who runs some implements [`Datapaths`], and control sees no more.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use penstock_config::{Config, DatapathChoice};
use penstock_l4::value::{
    Address, Backend, Counters, Flow, FlowKey, Link, Settings, SourceRule, Vip, VipKey,
};
use penstock_l4::{CheckWay, Kept, Subject, Tenure, Tick};

/// Why a datapath does not do what it was asked: a sentence that says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DatapathError(pub String);

/// What is fixed when a datapath starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatapathOptions {
    /// Which one.
    pub choice: DatapathChoice,
    /// The folder that what outlives the process is pinned in.
    pub pins: std::path::PathBuf,
    /// Tells apart the appliances of one machine.
    pub instance: String,
    /// Flows that are remembered.
    pub flows_max: u32,
}

impl DatapathOptions {
    pub(crate) fn of(config: &Config) -> DatapathOptions {
        let layer4 = &config.runtime.layer4;
        DatapathOptions {
            choice: config.runtime.datapath,
            pins: layer4.pins.clone(),
            instance: layer4.instance.to_string(),
            flows_max: layer4.flows_max,
        }
    }
}

/// What is known of a network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceFacts {
    /// Its name.
    pub name: String,
    /// Its number: one that is made anew by the same name has another.
    pub index: u32,
    /// The largest IP packet that it sends.
    pub mtu: u32,
    /// Its addresses that other machines know, in the kernel's order.
    pub addresses: Vec<IpAddr>,
}

/// Who starts datapaths.
pub trait Datapaths: Send {
    /// What is known of an interface.
    ///
    /// # Errors
    /// There is none.
    fn interface(&self, name: &str) -> Result<InterfaceFacts, DatapathError>;

    /// How many lanes a datapath will have.
    fn lanes(&self) -> u32;

    /// Has the kernel find the next hops on the ways to these addresses by these interfaces: it
    /// knows them a moment later, when the datapath that is to send there has started.
    fn seek(&self, addresses: &[Address], interfaces: &[String]);

    /// Starts one on these interfaces, filled by `fill` before the first packet meets it. `fill`
    /// is called once for each that is tried.
    ///
    /// # Errors
    /// What is missing; then everything is as it was.
    fn start(
        &mut self,
        options: &DatapathOptions,
        interfaces: &[String],
        fill: &mut dyn FnMut(&mut dyn Tables) -> Result<(), DatapathError>,
    ) -> Result<Box<dyn Datapath>, DatapathError>;

    /// Opens a way for checks to VIPs on backends, of this instance.
    ///
    /// # Errors
    /// What is missing.
    fn detour(&mut self, instance: &str) -> Result<Box<dyn Detour>, DatapathError>;
}

/// A way for checks to VIPs on backends, through the encapsulation. It ends when it is dropped.
pub trait Detour: Send {
    /// Answers come by these interfaces.
    fn follow(&mut self, interfaces: &[String]);

    /// Who leads sockets into it.
    fn guide(&self) -> Arc<dyn Guide>;
}

/// Leads sockets into a [`Detour`].
pub trait Guide: Send + Sync {
    /// Has packets of a TCP socket go that way, which is bound to `from` and not connected yet,
    /// for as long as what is given back lives.
    ///
    /// # Errors
    /// The kernel refuses.
    fn lead(
        &self,
        socket: BorrowedFd<'_>,
        from: SocketAddr,
        way: &CheckWay,
    ) -> Result<Box<dyn Send>, DatapathError>;
}

/// The tables of a datapath.
pub trait Tables {
    /// What its tables say: what an earlier process left, when it has just started.
    ///
    /// # Errors
    /// The kernel does not say.
    fn kept(&self) -> Result<Kept, DatapathError>;

    /// Changes a table. The next packet sees it.
    ///
    /// # Errors
    /// There is no room, or the kernel refuses.
    fn write(&mut self, change: &Change) -> Result<(), DatapathError>;

    /// The counts so far; none where there is no such VIP or backend.
    fn counters(&self, subject: Subject) -> Option<Counters>;

    /// The way to each of these addresses by one of these interfaces, as the machine's routes and
    /// neighbours say it now. All zeros is none, or none that matters here: then a packet goes
    /// back to whom it came from, or where the kernel routes it.
    fn ways(&self, addresses: &[Address], interfaces: &[String]) -> Vec<Link>;
}

/// A datapath at work. It goes on when this is dropped; [`Datapath::end`] ends it.
pub trait Datapath: Tables + Send {
    /// Its name, as in the config.
    fn name(&self) -> &'static str;

    /// Whether it still reads packets. One that does not has to be started anew.
    fn is_running(&self) -> bool;

    /// The flows of a table, each direction on its own.
    fn flows(&self, tenure: Tenure) -> Box<dyn Iterator<Item = (FlowKey, Flow)> + '_>;

    /// The time that flows are measured by.
    fn now(&self) -> Tick;

    /// Takes packets of these interfaces too.
    ///
    /// # Errors
    /// One is missing or unfit; then it takes those of before.
    fn attach(&mut self, interfaces: &[String]) -> Result<(), DatapathError>;

    /// Takes packets of no other interfaces.
    ///
    /// # Errors
    /// The kernel refuses.
    fn release_others(&mut self, interfaces: &[String]) -> Result<(), DatapathError>;

    /// Ends it with all flows.
    ///
    /// # Errors
    /// Something could not be removed.
    fn end(self: Box<Self>) -> Result<(), DatapathError>;
}

/// One change of a table.
#[derive(Clone, Debug)]
pub enum Change {
    /// What holds for all packets.
    Settings(Settings),
    /// Which VIP a key belongs to; none takes it away.
    Service(VipKey, Option<u16>),
    /// The VIP of a number.
    Vip(u16, Vip),
    /// A Maglev table, of backends' indices.
    Maglev(u32, Arc<[u32]>),
    /// The backend of an index.
    Backend(u32, Backend),
    /// The rule for a prefix, in bits of IPv6.
    Source(Address, u8, Option<SourceRule>),
}

/// For who runs none: every start is refused.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoDatapaths;

impl Datapaths for NoDatapaths {
    fn interface(&self, name: &str) -> Result<InterfaceFacts, DatapathError> {
        Err(DatapathError(format!("there is no interface {name}")))
    }

    fn lanes(&self) -> u32 {
        1
    }

    fn seek(&self, _addresses: &[Address], _interfaces: &[String]) {}

    fn start(
        &mut self,
        _options: &DatapathOptions,
        _interfaces: &[String],
        _fill: &mut dyn FnMut(&mut dyn Tables) -> Result<(), DatapathError>,
    ) -> Result<Box<dyn Datapath>, DatapathError> {
        Err(DatapathError("there is no datapath here".to_owned()))
    }

    fn detour(&mut self, _instance: &str) -> Result<Box<dyn Detour>, DatapathError> {
        Err(DatapathError("there is no way to VIPs here".to_owned()))
    }
}
