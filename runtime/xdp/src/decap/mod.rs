//! The backend's side of `dsr`: takes off the header that an appliance has put on, and hands the
//! packet to the backend's own kernel, which has the VIP on its loopback.
//!
//! In place of a tunnel device, for kernels that have none. Answers don't come this way: the
//! backend sends them to the client directly.

mod counts;
mod inlet;
mod inner;
mod partial;

use std::convert::Infallible;
use std::fs;
use std::net::IpAddr;
use std::time::Duration;

pub use counts::DecapCounts;
pub(crate) use partial::Open;

use crate::decap::inlet::Inlet;
use crate::tun::Tun;
use crate::{Capability, XdpError, now};

/// Takes packets of appliances out of their encapsulation: GRE, IP in IP and GUE, over IPv4 and
/// IPv6.
pub struct Decap {
    tun: Tun,
    inlets: Vec<Inlet>,
    from: Vec<IpAddr>,
    counts: DecapCounts,
}

impl Decap {
    /// Makes the TUN device and listens; packets that come from no address of `from` are dropped.
    /// Or anybody could reach this machine with any address on the packet inside.
    ///
    /// # Errors
    /// CAP_NET_ADMIN or CAP_NET_RAW is missing, the device is there already, or the kernel drops
    /// what comes by a way that it would not answer by (`rp_filter`).
    pub fn open(device: &str, from: &[IpAddr]) -> Result<Self, XdpError> {
        let needed = [Capability::NetAdmin, Capability::NetRaw];
        if let Some(missing) = Capability::missing(&needed) {
            return Err(XdpError::DecapCapability(missing));
        }
        if fs::read_to_string(RP_FILTER_ALL).is_ok_and(|value| value.trim() == "1") {
            return Err(XdpError::ReversePathFilter);
        }
        let tun = Tun::open(device)?;
        // Ours alone, so that nobody else's rule changes. It is there, or IPv4 is not.
        let _ = fs::write(RP_FILTER_ALL.replace("/all/", &format!("/{}/", tun.name())), "0");
        let (inlets, counts) = (inlet::all()?, DecapCounts::default());
        Ok(Decap { tun, inlets, from: from.to_owned(), counts })
    }

    /// Goes on until the kernel refuses to be asked. Every so often, counts of all packets so far
    /// are told.
    ///
    /// # Errors
    /// The sockets can't be waited for.
    pub fn run(
        &mut self,
        every: Duration,
        tell: &mut dyn FnMut(&DecapCounts),
    ) -> Result<Infallible, XdpError> {
        let mut memory = vec![0; PACKET_BYTES_MAX];
        let (every, mut told) = (ticks(every).max(EVERY_MIN), now());
        tell(&self.counts);
        loop {
            let passed = now().0.wrapping_sub(told.0);
            if passed >= every {
                tell(&self.counts);
                told = now();
            }
            inlet::wait(&self.inlets, every.saturating_sub(passed).max(1))?;
            for place in 0..self.inlets.len() {
                // Not so many that nobody is told.
                for _ in 0..PACKETS_AT_ONCE {
                    if !self.take(place, &mut memory) {
                        break;
                    }
                }
            }
        }
    }

    /// Hands on the next packet of an inlet; false where there is none.
    fn take(&mut self, place: usize, memory: &mut [u8]) -> bool {
        let inlet = &self.inlets[place];
        let Some((bytes, source)) = inlet.next(memory) else { return false };
        let counts = &mut self.counts;
        match inlet.kind.inner(bytes) {
            _ if !self.from.contains(&source) => counts.strangers += 1,
            None => counts.malformed += 1,
            // What the kernel takes for no packet, or has no memory for, is lost like on any
            // other way.
            Some(packet) => match self.tun.put(packet, partial::open(packet)) {
                Ok(()) => counts.taken(inlet.kind, packet.len()),
                Err(_) => counts.lost += 1,
            },
        }
        true
    }
}

/// In ticks of 2^20 ns.
fn ticks(time: Duration) -> u32 {
    u32::try_from(time.as_nanos() >> 20).unwrap_or(u32::MAX)
}

/// A tenth of a second, in ticks.
const EVERY_MIN: u32 = 96;
/// Packets of an inlet between two looks at the others.
const PACKETS_AT_ONCE: usize = 256;
/// The largest packet that an interface hands up.
const PACKET_BYTES_MAX: usize = 65_536;
const RP_FILTER_ALL: &str = "/proc/sys/net/ipv4/conf/all/rp_filter";
