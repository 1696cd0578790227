//! Interfaces by name.

use std::ffi::{CStr, CString};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::AsRawFd;

use crate::{XdpError, feature, tun};

/// A network interface of this namespace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interface {
    name: String,
    index: u32,
}

impl Interface {
    /// The interface of that name.
    ///
    /// # Errors
    /// There is none.
    pub fn named(name: &str) -> Result<Self, XdpError> {
        let absent = || XdpError::NoInterface(name.to_owned());
        let text = CString::new(name).map_err(|_| absent())?;
        // SAFETY: a string with its end; it is only read.
        match unsafe { libc::if_nametoindex(text.as_ptr()) } {
            0 => Err(absent()),
            index => Ok(Interface { name: name.to_owned(), index }),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The largest IP packet that it sends, and that its neighbours are taken to.
    ///
    /// # Errors
    /// It is gone.
    pub fn mtu(&self) -> Result<u32, XdpError> {
        // sysfs shows the namespace that it was mounted in, which need not be this thread's.
        let mtu = tun::mtu_of(&self.name);
        mtu.map_err(|_| XdpError::NoInterface(self.name.clone()))
    }

    /// Its station's address, where it has one as Ethernet does.
    pub(crate) fn station(&self) -> Option<[u8; 6]> {
        tun::station_of(&self.name).ok()
    }

    /// Its addresses that other machines know, in the kernel's order.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn addresses(&self) -> Result<Vec<IpAddr>, XdpError> {
        let all = addresses()?.into_iter();
        Ok(all.filter(|(name, _)| *name == self.name).map(|(_, address)| address).collect())
    }

    /// Whether it is up.
    ///
    /// # Errors
    /// It is gone.
    pub fn is_up(&self) -> Result<bool, XdpError> {
        tun::is_up(&self.name).map_err(|_| XdpError::NoInterface(self.name.clone()))
    }

    /// Whether its driver runs XDP programs as it is set now; nothing where the kernel does not
    /// say (before Linux 6.3).
    ///
    /// # Errors
    /// The kernel can't be asked.
    pub fn has_native_xdp(&self) -> Result<Option<bool>, XdpError> {
        feature::runs_programs(self.index)
    }

    /// Whether packets can come out of it that were inside of others: a tunnel, or a TUN device.
    pub fn is_tunnel(&self) -> bool {
        tun::hardware_of(&self.name).is_ok_and(|kind| TUNNELS.contains(&kind))
    }

    /// Its index, which packets and links go by.
    pub fn index(&self) -> u32 {
        self.index
    }
}

/// All addresses of this machine that others know, each with its interface.
///
/// # Errors
/// The kernel does not say.
pub fn addresses() -> Result<Vec<(String, IpAddr)>, XdpError> {
    let mut first = std::ptr::null_mut();
    // SAFETY: room for a pointer, which the call fills in.
    if unsafe { libc::getifaddrs(&mut first) } != 0 {
        return Err(XdpError::Addresses(io::Error::last_os_error()));
    }
    let (mut found, mut next) = (Vec::new(), first);
    while !next.is_null() {
        // SAFETY: an item of the list, which lives until it is freed below.
        let item = unsafe { &*next };
        // SAFETY: an item has a name, which is a string with its end.
        let name = unsafe { CStr::from_ptr(item.ifa_name) };
        // SAFETY: null, or an address of the family that it says.
        let address = unsafe { address_of(item.ifa_addr) };
        found.extend(address.map(|one| (name.to_string_lossy().into_owned(), one)));
        next = item.ifa_next;
    }
    // SAFETY: the list from above, once.
    unsafe { libc::freeifaddrs(first) };
    found.retain(|(_, address)| match address {
        IpAddr::V4(address) => !address.is_loopback() && !address.is_link_local(),
        IpAddr::V6(address) => !address.is_loopback() && !address.is_unicast_link_local(),
    });
    Ok(found)
}

/// The way to an address: from which of ours, and the largest packet that it takes.
///
/// # Errors
/// There is none.
pub fn way_to(address: IpAddr) -> io::Result<(IpAddr, u32)> {
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // Nothing is sent: a socket that is connected knows its way.
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect((address, 9))?;
    let (level, option) = match address {
        IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_MTU),
        IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_MTU),
    };
    let (mut mtu, mut bytes): (libc::c_int, _) = (0, size_of::<libc::c_int>() as libc::socklen_t);
    // SAFETY: room for a number, with its size.
    let failed = unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, option, (&raw mut mtu).cast(), &raw mut bytes)
    };
    if failed != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((socket.local_addr()?.ip(), mtu.unsigned_abs()))
}

/// The IP address behind the pointer, if it is one.
///
/// # Safety
/// Null, or a whole address of the family that it begins with.
unsafe fn address_of(address: *const libc::sockaddr) -> Option<IpAddr> {
    if address.is_null() {
        return None;
    }
    // SAFETY: every address begins with its family.
    match i32::from(unsafe { (*address).sa_family }) {
        libc::AF_INET => {
            // SAFETY: of this family they are this.
            let address = unsafe { &*address.cast::<libc::sockaddr_in>() };
            Some(IpAddr::from(address.sin_addr.s_addr.to_ne_bytes()))
        }
        libc::AF_INET6 => {
            // SAFETY: of this family they are this.
            let address = unsafe { &*address.cast::<libc::sockaddr_in6>() };
            Some(IpAddr::from(address.sin6_addr.s6_addr))
        }
        _ => None,
    }
}

/// `linux/if_arp.h`: IP in IP over either family, SIT, GRE over either, and what has no header.
const TUNNELS: [u16; 6] = [768, 769, 776, 778, 823, 0xfffe];
