//! Layer 4: the XDP program in the kernel, or the same packet logic over a TUN device where that
//! can't be; loaded, filled, and taken away without a trace. And the backend's side of it.
//!
//! What happens to a packet is `penstock-l4`'s, compiled into the program (`ebpf/`, a workspace
//! of its own; the object is committed). What the maps say is decided by who fills them: this
//! crate writes what it is given. It is the only one that knows aya.
//!
//! To find your way: [`Datapath`] is either of the two; `kernel` is the program's life with its
//! `object`, `pins` and `tables`, and `userland` the lanes over a TUN device. `fill` is how both
//! are written. `detour` leads checks to a VIP on a backend, and `decap` is what runs on backends.

#![warn(missing_docs)]

mod batch;
mod capability;
mod clock;
mod datapath;
mod decap;
mod detour;
mod error;
mod feature;
mod fill;
mod interface;
mod kernel;
mod link;
mod netlink;
mod object;
mod parameter;
mod pins;
mod raw;
mod tables;
mod tun;
mod userland;
mod ways;

pub use capability::Capability;
pub use clock::now;
pub use datapath::{Choice, Datapath, lanes, obstacle};
pub use decap::{Decap, DecapCounts};
pub use detour::{Detour, Guide, Led};
pub use error::XdpError;
pub use fill::Fill;
pub use interface::{Interface, addresses, way_to};
pub use kernel::{Kernel, Options, Start, detach};
pub use object::Sizes;
pub use tables::KernelTables;
pub use userland::Userland;
pub use ways::seek_ways;
