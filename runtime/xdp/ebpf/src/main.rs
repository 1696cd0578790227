//! The XDP program: the packet logic of `penstock-l4` over the driver's page and the kernel's maps.
//!
//! Nothing is decided here. What a packet is and where it goes is `penstock_l4::handle`, the same
//! code that runs in userland; this binds its two seams and turns its verdict into XDP's.

#![no_std]
#![no_main]
// For `launder` alone; the object is built by a compiler that is told to allow it (README.md).
#![feature(asm_experimental_arch)]

mod frame;
mod maps;

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS};
use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::generated::{bpf_ktime_get_coarse_ns, bpf_redirect};
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use penstock_l4::{Tick, Verdict, handle};

use crate::frame::Frame;
use crate::maps::Maps;

/// Runs for every frame that the interface receives.
#[xdp]
#[inline(always)]
pub fn penstock_l4(context: XdpContext) -> u32 {
    // Nothing is served before there are settings.
    let Some(maps) = Maps::new() else { return XDP_PASS };
    let mut frame = Frame::new(context.ctx);
    // A tick is a millisecond, so the clock of the last timer interrupt will do: it costs a load.
    // SAFETY: a helper without arguments.
    let now = Tick::from_nanos(unsafe { bpf_ktime_get_coarse_ns() });
    match handle(&mut frame, &maps, now) {
        Verdict::Pass(_) => XDP_PASS,
        Verdict::Drop(_) => XDP_DROP,
        Verdict::Send { interface } => send(context.ctx, interface),
        Verdict::Answer(_) => send(context.ctx, 0),
    }
}

/// Sends the frame by `interface`, or for 0 back by the one that it came in on. Not by XDP_TX:
/// over veth that leaves the frame in the peer's ring until the next one comes, unless the
/// peer has an XDP program too.
#[inline(always)]
fn send(context: *mut xdp_md, interface: u32) -> u32 {
    // SAFETY: the kernel's context, alive while the program runs.
    let ingress = unsafe { (*context).ingress_ifindex };
    let interface = if interface == 0 { ingress } else { interface };
    // SAFETY: a helper on numbers. What it returns is the action.
    unsafe { bpf_redirect(interface, 0) as u32 }
}

/// A number that the compiler knows nothing about, so that it leaves the comparison that the
/// verifier wants to see.
#[inline(always)]
fn launder(number: usize) -> usize {
    let mut number = number;
    // SAFETY: no instruction at all.
    unsafe { core::arch::asm!("/* {0} */", inout(reg) number, options(nomem, nostack)) };
    number
}

/// Not GPL: no helper that is used asks for it.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 11] = *b"Apache-2.0\0";

/// No path leads here: the object holds no call to it, or the verifier would refuse its loop.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
