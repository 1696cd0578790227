//! Addresses as the kernel wants them.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use penstock_env::Address;

/// A socket address in the kernel's form.
pub struct RawAddress {
    storage: libc::sockaddr_storage,
    len: libc::socklen_t,
}

impl RawAddress {
    fn empty() -> RawAddress {
        // SAFETY: all zeros is a valid sockaddr_storage (family AF_UNSPEC).
        let storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
        RawAddress { storage, len: size_of::<libc::sockaddr_storage>() as libc::socklen_t }
    }

    /// `address` in the kernel's form.
    ///
    /// # Errors
    /// A unix path longer than the kernel takes (107 bytes).
    pub fn new(address: &Address) -> io::Result<RawAddress> {
        let mut raw = RawAddress::empty();
        let place = (&raw mut raw.storage).cast::<u8>();
        match address {
            Address::Ip(SocketAddr::V4(v4)) => {
                let value = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                    sin_zero: [0; 8],
                };
                // SAFETY: a sockaddr_storage has room and alignment for every address family.
                unsafe { place.cast::<libc::sockaddr_in>().write(value) };
                raw.len = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            }
            Address::Ip(SocketAddr::V6(v6)) => {
                let value = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: v6.flowinfo(),
                    sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                    sin6_scope_id: v6.scope_id(),
                };
                // SAFETY: as above.
                unsafe { place.cast::<libc::sockaddr_in6>().write(value) };
                raw.len = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
            }
            Address::Unix(path) => {
                let path = path.as_os_str().as_bytes();
                if path.len() > 107 {
                    return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
                }
                // SAFETY: as above; all zeros is a valid sockaddr_un.
                let value = unsafe { &mut *place.cast::<libc::sockaddr_un>() };
                value.sun_family = libc::AF_UNIX as libc::sa_family_t;
                for (to, &from) in value.sun_path.iter_mut().zip(path) {
                    *to = from as libc::c_char;
                }
                raw.len = (size_of::<libc::sa_family_t>() + path.len() + 1) as libc::socklen_t;
            }
        }
        Ok(raw)
    }

    /// The address family.
    pub fn family(&self) -> i32 {
        i32::from(self.storage.ss_family)
    }

    /// For system calls that read an address.
    pub fn as_ptr(&self) -> *const libc::sockaddr {
        (&raw const self.storage).cast()
    }

    /// The length that goes with [`RawAddress::as_ptr`].
    pub fn len(&self) -> libc::socklen_t {
        self.len
    }

    /// What the kernel has written there, `len` bytes of it.
    pub(crate) fn of(storage: &libc::sockaddr_storage, len: libc::socklen_t) -> RawAddress {
        RawAddress { storage: *storage, len }
    }

    pub(crate) fn to_address(&self) -> Address {
        match self.family() {
            libc::AF_INET => {
                // SAFETY: the family says that this is what the kernel wrote.
                let v4 = unsafe { &*self.as_ptr().cast::<libc::sockaddr_in>() };
                let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
                Address::Ip(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
            }
            libc::AF_INET6 => {
                // SAFETY: as above.
                let v6 = unsafe { &*self.as_ptr().cast::<libc::sockaddr_in6>() };
                let (ip, port) = (Ipv6Addr::from(v6.sin6_addr.s6_addr), u16::from_be(v6.sin6_port));
                match ip.to_ipv4_mapped() {
                    // A dual-stack listener shows IPv4 peers as mapped addresses.
                    Some(v4) => Address::Ip(SocketAddrV4::new(v4, port).into()),
                    None => Address::Ip(SocketAddrV6::new(ip, port, 0, v6.sin6_scope_id).into()),
                }
            }
            _ => Address::Unix(Arc::new(PathBuf::new())),
        }
    }
}

/// The other side's address; an unnamed unix address where there is none.
pub fn peer(fd: i32) -> Address {
    let mut raw = RawAddress::empty();
    // SAFETY: storage and length are valid for the call.
    unsafe { libc::getpeername(fd, (&raw mut raw.storage).cast(), &raw mut raw.len) };
    raw.to_address()
}

/// Our side's address.
pub fn local(fd: i32) -> Address {
    let mut raw = RawAddress::empty();
    // SAFETY: storage and length are valid for the call.
    unsafe { libc::getsockname(fd, (&raw mut raw.storage).cast(), &raw mut raw.len) };
    raw.to_address()
}

#[cfg(test)]
mod tests {
    use super::RawAddress;

    #[test]
    fn addresses_survive_the_kernels_form() {
        for text in ["127.0.0.1:80", "[::1]:8080", "10.255.0.1:65535"] {
            let address = text.parse().expect("an address");
            assert_eq!(RawAddress::new(&address).expect("fits").to_address(), address);
        }
        let long = format!("unix:/{}", "x".repeat(200)).parse().expect("an address");
        assert!(RawAddress::new(&long).is_err());
    }
}
