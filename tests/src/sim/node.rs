//! A node: one thread's worth of the world, with its own pools, randomness and fate.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv4Addr};

use penstock_env::Rng;

/// What a node has to get by with.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Receive buffers that may be lent out at once; further receives wait.
    pub lent_max: u32,
    /// Bytes in one lent buffer.
    pub lent_bytes_max: usize,
    /// Chunks that a stream takes in before anybody asks for them.
    pub read_ahead_max: usize,
    /// What is received while less than a quarter of the buffers is free is copied out of its
    /// buffer, which is free again then. A shard does so; where nobody does, receives wait.
    pub copies: bool,
}

impl Limits {
    /// No shortage of anything: what actors get.
    pub const AMPLE: Limits =
        Limits { lent_max: 4096, lent_bytes_max: 4096, read_ahead_max: 0, copies: false };

    /// A shard with few buffers, drawn from `rng`.
    pub fn tight(rng: &mut Rng) -> Limits {
        Limits {
            lent_max: [2, 16, 256][rng.below(3) as usize],
            lent_bytes_max: [512, 4096][rng.below(2) as usize],
            read_ahead_max: rng.below(4) as usize,
            copies: true,
        }
    }
}

/// How a node goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// The process dies: each of its connections is reset, connects are refused.
    Reset,
    /// The machine dies: nothing is heard of it any more, connects get no answer.
    Silent,
}

/// The state of a node; cells, so that a chunk may be dropped at any moment.
pub(super) struct Node {
    pub(super) id: u32,
    pub(super) name: &'static str,
    pub(super) limits: Limits,
    pub(super) rng: RefCell<Rng>,
    pub(super) lent: Cell<u32>,
    /// A receive found no buffer since the last time that buffers were handed round.
    pub(super) starved: Cell<bool>,
    /// A lent buffer came back since then.
    pub(super) returned: Cell<bool>,
    /// Send buffers taken and not given back.
    pub(super) buffers_out: Cell<i64>,
    pub(super) panics: Cell<u32>,
    /// Bytes of the largest task that was spawned.
    pub(super) task_bytes_max: Cell<usize>,
    pub(super) draining: Cell<bool>,
    pub(super) death: Cell<Option<Death>>,
}

impl Node {
    pub(super) fn new(id: u32, name: &'static str, limits: Limits, rng: Rng) -> Node {
        Node {
            id,
            name,
            limits,
            rng: RefCell::new(rng),
            lent: Cell::new(0),
            starved: Cell::new(false),
            returned: Cell::new(false),
            buffers_out: Cell::new(0),
            panics: Cell::new(0),
            task_bytes_max: Cell::new(0),
            draining: Cell::new(false),
            death: Cell::new(None),
        }
    }

    /// Whether what is received into one more buffer is to be copied out of it.
    pub(super) fn is_short(&self) -> bool {
        let free = self.limits.lent_max.saturating_sub(self.lent.get() + 1);
        self.limits.copies && free < self.limits.lent_max.div_ceil(4)
    }

    /// Node 0 is 10.0.0.1, and so on.
    pub(super) fn ip(&self) -> IpAddr {
        let number = self.id + 1;
        IpAddr::V4(Ipv4Addr::new(10, 0, (number >> 8) as u8, number as u8))
    }

    pub(super) fn alive(&self) -> bool {
        self.death.get().is_none()
    }

    pub(super) fn count_buffers(&self, change: i64) {
        self.buffers_out.set(self.buffers_out.get() + change);
    }
}
