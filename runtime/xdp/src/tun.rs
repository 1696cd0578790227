//! A TUN device: what is written to it comes out of it in the kernel, as packets that have arrived.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use crate::XdpError;
use crate::decap::Open;

/// A TUN device of this namespace. It is gone when this is dropped.
pub(crate) struct Tun {
    file: File,
    name: String,
}

impl Tun {
    /// Makes a device of that name, up.
    pub(crate) fn open(name: &str) -> Result<Self, XdpError> {
        let failed = |error| XdpError::Tun { name: name.to_owned(), error };
        let file =
            OpenOptions::new().read(true).write(true).open("/dev/net/tun").map_err(failed)?;
        let mut request = request(name).map_err(failed)?;
        request.ifr_ifru.ifru_flags =
            (libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as libc::c_short;
        control(&file, TUNSETIFF, &mut request).map_err(failed)?;
        raise(name).map_err(failed)?;
        Ok(Tun { file, name: name.to_owned() })
    }

    /// Hands a packet to the kernel, with what is open of its checksum.
    pub(crate) fn put(&mut self, packet: &[u8], open: Option<Open>) -> io::Result<()> {
        let mut header = [0; HEADER_BYTES];
        if let Some(open) = open {
            header[0] = NEEDS_CHECKSUM;
            header[6..8].copy_from_slice(&open.start.to_ne_bytes());
            header[8..10].copy_from_slice(&open.offset.to_ne_bytes());
        }
        // Both or none: the device takes one packet a call.
        self.file.write_vectored(&[IoSlice::new(&header), IoSlice::new(packet)]).map(drop)
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

/// The name of a device of an instance: it is no longer than the kernel takes.
pub(crate) fn name_for(prefix: &str, instance: &str) -> String {
    let name: String = instance.chars().filter(char::is_ascii_alphanumeric).collect();
    format!("{prefix}-{}", &name[..name.len().min(NAME_BYTES_MAX - prefix.len() - 1)])
}

/// Makes a device with that many queues, down. It is gone when all of them are closed; a read or
/// a write is one packet, and waits for nothing.
pub(crate) fn queues(name: &str, count: usize) -> Result<Vec<File>, XdpError> {
    let failed = |error| XdpError::Tun { name: name.to_owned(), error };
    let mut queues = Vec::new();
    for number in 0..count {
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(libc::O_NONBLOCK);
        let file = options.open("/dev/net/tun").map_err(failed)?;
        let mut request = request(name).map_err(failed)?;
        // The first makes it: a device that is there already is somebody else's.
        let first = if number == 0 { libc::IFF_TUN_EXCL } else { 0 };
        let flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_MULTI_QUEUE | first;
        request.ifr_ifru.ifru_flags = flags as libc::c_short;
        control(&file, TUNSETIFF, &mut request).map_err(failed)?;
        queues.push(file);
    }
    Ok(queues)
}

/// Sets a device of queues up, for packets of up to `mtu` bytes and with room for a burst.
pub(crate) fn raise_queues(name: &str, mtu: libc::c_int) -> Result<(), XdpError> {
    let failed = |error| XdpError::Tun { name: name.to_owned(), error };
    let socket = socket().map_err(failed)?;
    let mut sized = request(name).map_err(failed)?;
    sized.ifr_ifru.ifru_mtu = mtu;
    control(&socket, libc::SIOCSIFMTU, &mut sized).map_err(failed)?;
    let mut longer = request(name).map_err(failed)?;
    longer.ifr_ifru.ifru_metric = QUEUE_PACKETS;
    control(&socket, libc::SIOCSIFTXQLEN, &mut longer).map_err(failed)?;
    raise(name).map_err(failed)
}

/// Like `ip link set up`.
fn raise(name: &str) -> io::Result<()> {
    let socket = socket()?;
    let mut request = request(name)?;
    control(&socket, libc::SIOCGIFFLAGS, &mut request)?;
    // SAFETY: the call has filled in flags.
    unsafe { request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short };
    control(&socket, libc::SIOCSIFFLAGS, &mut request)
}

/// The MTU of the interface of that name.
pub(crate) fn mtu_of(name: &str) -> io::Result<u32> {
    let mut request = request(name)?;
    control(&socket()?, libc::SIOCGIFMTU, &mut request)?;
    // SAFETY: the call has filled in the MTU.
    Ok(unsafe { request.ifr_ifru.ifru_mtu }.unsigned_abs())
}

/// The address of the station that the interface of that name is on an Ethernet.
pub(crate) fn station_of(name: &str) -> io::Result<[u8; 6]> {
    let mut request = request(name)?;
    control(&socket()?, libc::SIOCGIFHWADDR, &mut request)?;
    // SAFETY: the call has filled in an address of the family that it says.
    let address = unsafe { request.ifr_ifru.ifru_hwaddr };
    match address.sa_family {
        libc::ARPHRD_ETHER => Ok(std::array::from_fn(|at| address.sa_data[at] as u8)),
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// Whether the interface of that name is up.
pub(crate) fn is_up(name: &str) -> io::Result<bool> {
    let mut request = request(name)?;
    control(&socket()?, libc::SIOCGIFFLAGS, &mut request)?;
    // SAFETY: the call has filled in flags.
    Ok(unsafe { request.ifr_ifru.ifru_flags } & libc::IFF_UP as libc::c_short != 0)
}

/// What kind of hardware an interface says that it is (`linux/if_arp.h`).
pub(crate) fn hardware_of(name: &str) -> io::Result<u16> {
    let mut request = request(name)?;
    control(&socket()?, libc::SIOCGIFHWADDR, &mut request)?;
    // SAFETY: the call has filled in an address of that kind.
    Ok(unsafe { request.ifr_ifru.ifru_hwaddr }.sa_family)
}

/// Any socket: requests about devices are made on one.
fn socket() -> io::Result<OwnedFd> {
    // SAFETY: a call on numbers.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given it to us, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(socket) })
}

/// A request about the device of that name (netdevice(7)).
fn request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: numbers and unions of them; zeros are one of their values.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // One byte has to be left for the end.
    if name.is_empty() || name.len() >= request.ifr_name.len() || name.contains(['\0', '/']) {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *place = byte as libc::c_char;
    }
    Ok(request)
}

fn control(
    file: &impl AsRawFd,
    command: libc::c_ulong,
    request: &mut libc::ifreq,
) -> io::Result<()> {
    // SAFETY: each command that is used reads and writes one `ifreq`.
    match unsafe { libc::ioctl(file.as_raw_fd(), command as _, request as *mut libc::ifreq) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// `linux/if_tun.h`: `_IOW('T', 202, int)`.
const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
/// `struct virtio_net_hdr` of `linux/virtio_net.h`: flags, kind and sizes of segments, then where a
/// checksum begins and where it stands.
const HEADER_BYTES: usize = 10;
const NEEDS_CHECKSUM: u8 = 1;
/// `IFNAMSIZ` of `linux/if.h`, less the end.
const NAME_BYTES_MAX: usize = 15;
/// What an interface has taken must fit: the longest IP packet.
pub(crate) const MTU_MAX: libc::c_int = 65_535;
/// Packets that wait in each queue; the kernel's own number is 500.
const QUEUE_PACKETS: libc::c_int = 1_024;
