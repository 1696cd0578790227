//! A way for connections of this machine to a VIP on one backend of choice, in the encapsulation.
//!
//! So that checks of `dsr` meet what clients' packets meet: the backend's tunnel device, the VIP
//! on its loopback, the server on the VIP. A socket that is led this way has a mark, by which its
//! packets are routed into a TUN device (`rule`); there they are put into what the datapath would
//! put them into, by the same code (`one_way`), and sent to the backend (`carrier`). Answers come
//! from the VIP to this machine's own address, past us, as they come to clients.
//!
//! The device goes with the process, however that ends. A rule that a killed process leaves leads
//! into a table without routes, as if it were not there, until the next start removes it.

mod carrier;
mod one_way;
mod rule;

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use penstock_l4::CheckWay;

use crate::detour::carrier::{Carrier, Order};
use crate::detour::one_way::OneWay;
use crate::detour::rule::MarkRule;
use crate::parameter::{self, Parameters};
use crate::{Capability, Interface, XdpError, raw, tun};

/// The device and its thread. Both end when this is dropped, and what was set of the system is as
/// it was.
pub struct Detour {
    guide: Guide,
    interfaces: Vec<(String, Parameters)>,
    /// Until it is closed the thread goes on.
    running: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
    _rule: MarkRule,
}

/// Leads sockets into a [`Detour`], for as long as there is one.
#[derive(Clone)]
pub struct Guide {
    orders: Sender<Order>,
    mark: u32,
    next: Arc<AtomicU64>,
}

/// A socket is led for as long as this lives, and a little longer: it has its ends to say.
pub struct Led {
    orders: Sender<Order>,
    number: u64,
}

impl Detour {
    /// Makes the device in the network namespace of the thread that calls.
    ///
    /// # Errors
    /// A missing capability; a device of that name; no way into it can be made.
    pub fn open(instance: &str) -> Result<Self, XdpError> {
        if let Some(obstacle) = Detour::obstacle() {
            return Err(obstacle);
        }
        let device = tun::name_for("psc", instance);
        let failed = |error| XdpError::Tun { name: device.clone(), error };
        let mut queues = tun::queues(&device, 1)?;
        let (Some(queue), interface) = (queues.pop(), Interface::named(&device)?) else {
            return Err(XdpError::NoInterface(device));
        };
        parameter::without_address(&device);
        tun::raise_queues(&device, MTU)?;
        let rule = MarkRule::open(&device, interface.index())?;
        let (orders, told) = channel();
        let (running, stopped) = UnixStream::pair().map_err(failed)?;
        let carrier = Carrier::new(queue, interface.index(), told, stopped)?;
        let thread = std::thread::Builder::new().name("checks".to_owned());
        let thread = thread.spawn(move || carrier.run()).map_err(failed)?;
        let guide = Guide { orders, mark: rule.mark(), next: Arc::default() };
        let (running, thread) = (Some(running), Some(thread));
        Ok(Detour { guide, interfaces: Vec::new(), running, thread, _rule: rule })
    }

    /// What is in its way, as far as that can be told without making it.
    pub fn obstacle() -> Option<XdpError> {
        let missing = Capability::missing(&[Capability::NetAdmin, Capability::NetRaw]);
        missing.map(XdpError::DetourCapability)
    }

    /// Lets answers in that come by these interfaces, and sets back what was set of others.
    pub fn follow(&mut self, interfaces: &[String]) {
        self.interfaces.retain(|(name, _)| interfaces.contains(name));
        for name in interfaces {
            if !self.interfaces.iter().any(|(known, _)| known == name) {
                self.interfaces.push((name.clone(), Parameters::of_answers(name)));
            }
        }
    }

    /// Who leads sockets into it.
    pub fn guide(&self) -> Guide {
        self.guide.clone()
    }
}

impl Drop for Detour {
    fn drop(&mut self) {
        drop(self.running.take());
        if let Some(thread) = self.thread.take() {
            // One that has panicked has ended, too.
            let _ = thread.join();
        }
    }
}

impl Guide {
    /// Has packets of a TCP socket go that way, which is bound to `from` and not connected yet.
    ///
    /// # Errors
    /// The kernel does not let us mark it.
    pub fn lead(
        &self,
        socket: &impl AsFd,
        from: SocketAddr,
        way: &CheckWay,
    ) -> Result<Led, XdpError> {
        let mark = self.mark.cast_signed();
        raw::set(socket, libc::SOL_SOCKET, libc::SO_MARK, mark).map_err(XdpError::Socket)?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        // Where the detour has ended nothing is sent on, and whoever waits finds out.
        let _ = self.orders.send(Order::Lead { number, from, way: Box::new(OneWay::new(way)) });
        Ok(Led { orders: self.orders.clone(), number })
    }
}

impl Drop for Led {
    fn drop(&mut self) {
        let _ = self.orders.send(Order::Forget(self.number));
    }
}

/// The least that IPv6 can do with (RFC 8200 §5), with which a check fits in every encapsulation.
const MTU: libc::c_int = 1_280;
