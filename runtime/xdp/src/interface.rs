//! Interfaces by name.

use std::ffi::{CStr, CString};
use std::io;
use std::net::IpAddr;

use crate::{XdpError, tun};

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
            if name.to_bytes() == self.name.as_bytes() {
                // SAFETY: null, or an address of the family that it says.
                found.extend(unsafe { address_of(item.ifa_addr) });
            }
            next = item.ifa_next;
        }
        // SAFETY: the list from above, once.
        unsafe { libc::freeifaddrs(first) };
        found.retain(|address| match address {
            IpAddr::V4(address) => !address.is_loopback() && !address.is_link_local(),
            IpAddr::V6(address) => !address.is_loopback() && !address.is_unicast_link_local(),
        });
        Ok(found)
    }

    /// Its index, which packets and links go by.
    pub fn index(&self) -> u32 {
        self.index
    }
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
