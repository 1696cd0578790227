//! What can go wrong between us and the kernel, each as one sentence with what to do.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::Capability;

/// Why the datapath does not run, or a map was not written.
#[derive(Debug, thiserror::Error)]
pub enum XdpError {
    /// A capability is missing.
    #[error("{0} is missing: the XDP datapath needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN")]
    Capability(Capability),
    /// A capability is missing for taking packets out of their encapsulation.
    #[error("{0} is missing: decapsulation needs CAP_NET_ADMIN and CAP_NET_RAW")]
    DecapCapability(Capability),
    /// A capability is missing for the datapath in userland.
    #[error("{0} is missing: the TUN datapath needs CAP_NET_ADMIN")]
    TunCapability(Capability),
    /// A capability is missing for checks of `dsr` that go the way of clients' packets.
    #[error(
        "{0} is missing: health checks of `dsr` go to the VIP through the encapsulation, which \
         needs CAP_NET_ADMIN and CAP_NET_RAW; `at = \"endpoint\"` of `health` does without"
    )]
    DetourCapability(Capability),
    /// Neither datapath could be started.
    #[error("{xdp}; and in its place: {tun}")]
    Neither {
        /// Why not in the kernel.
        xdp: Box<XdpError>,
        /// Why not in userland.
        tun: Box<XdpError>,
    },
    /// A system parameter does not let packets through, and can't be set.
    #[error(
        "{name} has to be {value} for the TUN datapath, and could not be set ({error}): set it \
         before the start, for a device that does not exist yet as `default`"
    )]
    Parameter {
        /// As sysctl(8) has it.
        name: String,
        /// What it has to be.
        value: &'static str,
        /// What the system says.
        error: io::Error,
    },
    /// A route or rule into the TUN device was not made or not removed.
    #[error("the way of {address} into the TUN device: {error}")]
    Route {
        /// To what.
        address: IpAddr,
        /// What the system says.
        error: io::Error,
    },
    /// What comes out of the TUN device would be dropped.
    #[error(
        "net.ipv4.conf.all.rp_filter is 1: the kernel drops packets that come by another way than \
         their answers go; set it to 0 or 2"
    )]
    ReversePathFilter,
    /// A TUN device could not be made.
    #[error("TUN device {name}: {error}")]
    Tun {
        /// Its name.
        name: String,
        /// What the system says.
        error: io::Error,
    },
    /// A socket that encapsulated packets arrive at failed.
    #[error("a socket for encapsulated packets: {0}")]
    Socket(io::Error),
    /// There is no such interface.
    #[error("there is no interface {0}")]
    NoInterface(String),
    /// The addresses of interfaces can't be read.
    #[error("the addresses of interfaces: {0}")]
    Addresses(io::Error),
    /// The driver can't run XDP programs.
    #[error("the driver of {0} has no native XDP, or not with its present MTU and offloads")]
    NoNativeXdp(String),
    /// Somebody else's program is there.
    #[error("another XDP program is attached to {0}")]
    Occupied(String),
    /// The folder for pins is not on a BPF file system.
    #[error("{0} is on no BPF file system: `mount -t bpf bpf /sys/fs/bpf`")]
    NoBpfFilesystem(PathBuf),
    /// A file or folder of pins could not be made, read or removed.
    #[error("{path}: {error}")]
    Pin {
        /// Which.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The kernel refused the program.
    #[error("the kernel refuses the XDP program: {0}")]
    Program(String),
    /// The kernel refused a map, or a change to it.
    #[error("map {map}: {reason}")]
    Map {
        /// The map's name.
        map: &'static str,
        /// What the kernel says.
        reason: String,
    },
    /// A number that the maps have no room for.
    #[error("{what} {number}: the maps hold {max}")]
    OutOfBounds {
        /// Of what.
        what: &'static str,
        /// Which was asked for.
        number: u64,
        /// The limit.
        max: u64,
    },
}
