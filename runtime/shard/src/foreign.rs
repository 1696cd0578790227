//! Addresses that are not ours: to be asked at, and to ask from (IP_TRANSPARENT, ip(7), ipv6(7)).
//!
//! Needs CAP_NET_ADMIN. That packets to such addresses come to us is for the operator to see to, by
//! rules of routing.

use std::io::{self, ErrorKind::PermissionDenied};
use std::net::IpAddr;

use penstock_env::Address;

use crate::address::RawAddress;
use crate::socket::{set_option, try_option};

/// Lets a socket be bound to any address, take what is led to it for any, and answer from there.
///
/// # Errors
/// CAP_NET_ADMIN is missing.
pub(crate) fn allow(fd: i32, is_v6: bool) -> io::Result<()> {
    let (level, name) = match is_v6 {
        true => (libc::IPPROTO_IPV6, libc::IPV6_TRANSPARENT),
        false => (libc::IPPROTO_IP, libc::IP_TRANSPARENT),
    };
    try_option(fd, level, name, &1_i32).map_err(|error| match error.kind() {
        PermissionDenied => {
            let told = "CAP_NET_ADMIN is missing, which addresses that are not ours need";
            io::Error::new(PermissionDenied, told)
        }
        _ => error,
    })
}

/// Binds a socket to a foreign address, from which it is to connect to `to`, or send there.
///
/// # Errors
/// As [`allow`]; also where the two are not of one family.
pub(crate) fn bind(fd: i32, from: IpAddr, to: &Address) -> io::Result<()> {
    let is_v6 = to.ip().is_some_and(|to| to.is_ipv6());
    if to.ip().is_none() || from.is_ipv6() != is_v6 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    allow(fd, is_v6)?;
    // The port is chosen when it is known where to: each is good for many destinations then.
    set_option(fd, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, &1_i32);
    let from = RawAddress::new(&Address::Ip((from, 0).into()))?;
    // SAFETY: the address is valid for the call.
    match unsafe { libc::bind(fd, from.as_ptr(), from.len()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::bind;

    #[test]
    fn two_families_make_no_connection() {
        for (from, to) in [("::1", "127.0.0.1:9"), ("127.0.0.1", "[::1]:9"), ("::1", "unix:/x")] {
            let (from, to) = (from.parse().expect("an address"), to.parse().expect("an address"));
            let error = bind(-1, from, &to).expect_err("refused");
            assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        }
    }
}
