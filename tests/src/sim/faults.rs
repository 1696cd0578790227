//! How badly the network behaves, drawn from the seed.

use std::time::Duration;

use penstock_env::Rng;

/// What may happen to the connections of a world. All of it is legal for a TCP network.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// A connection's latency is at most this.
    pub latency_max: Duration,
    /// Cut what is sent at any byte, and take only a part of what is given.
    pub cuts: bool,
    /// Socket buffers hold at least and at most so many bytes.
    pub buffer_bytes: (u32, u32),
    /// Of 1,000 connections, so many are reset by the network.
    pub resets_per_mille: u32,
    /// A connection that is reset is so within this many bytes.
    pub reset_bytes_max: u32,
    /// Of 1,000 connects, so many are refused though somebody listens.
    pub refusals_per_mille: u32,
    /// Wake tasks that have nothing to do.
    pub spurious_wakes: bool,
}

impl Faults {
    /// A quick network that loses nothing: for finding out what is wrong without any of it.
    pub const NONE: Faults = Faults {
        latency_max: Duration::from_micros(50),
        cuts: false,
        buffer_bytes: (64 * 1024, 64 * 1024),
        resets_per_mille: 0,
        reset_bytes_max: 1,
        refusals_per_mille: 0,
        spurious_wakes: false,
    };

    /// All that may not change any outcome: cuts, delays, small buffers.
    pub const CALM: Faults = Faults {
        latency_max: Duration::from_millis(5),
        cuts: true,
        buffer_bytes: (512, 64 * 1024),
        spurious_wakes: true,
        ..Faults::NONE
    };

    /// [`Faults::CALM`], and connections break.
    pub const ROUGH: Faults = Faults {
        resets_per_mille: 100,
        reset_bytes_max: 40_000,
        refusals_per_mille: 50,
        ..Faults::CALM
    };
}

/// The traits of one direction of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) latency: Duration,
    pub(super) cut: Cut,
    pub(super) send_bytes_max: usize,
    pub(super) receive_bytes_max: usize,
    /// The network resets the connection when so many bytes went by.
    pub(super) reset_after: Option<u64>,
}

/// How a byte stream is cut into pieces.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cut {
    /// As large as there is room for.
    Whole,
    /// Of any size up to this.
    UpTo(u32),
    /// The first bytes one by one or nearly so, larger pieces later (or a run would take ages).
    Crumbs,
}

/// Bytes of a direction that [`Cut::Crumbs`] crumbles.
const CRUMBLED_BYTES: u64 = 600;

impl Link {
    pub(super) fn draw(faults: &Faults, rng: &mut Rng) -> Link {
        let latency_us = u32::try_from(faults.latency_max.as_micros()).unwrap_or(u32::MAX).max(1);
        // The product of two draws: most connections are quick, some are slow.
        let latency = f64::from(latency_us) * rng.unit() * rng.unit();
        let cut = match rng.below(6) {
            _ if !faults.cuts => Cut::Whole,
            0 | 1 => Cut::Whole,
            2 | 3 => Cut::UpTo(1460),
            4 => Cut::UpTo(200),
            _ => Cut::Crumbs,
        };
        let (least, most) = faults.buffer_bytes;
        let mut buffer = || {
            // Small ones are as likely as large ones.
            let spread = (most - least) >> rng.below(8);
            (least + rng.below(spread + 1)) as usize
        };
        let (send_bytes_max, receive_bytes_max) = (buffer(), buffer());
        let reset = rng.below(1000) < faults.resets_per_mille;
        let reset_after = reset.then(|| u64::from(rng.below(faults.reset_bytes_max)));
        let latency = Duration::from_nanos(1_000 + (latency * 1_000.0) as u64);
        Link { latency, cut, send_bytes_max, receive_bytes_max, reset_after }
    }
}

impl Cut {
    /// How many of `available` (at least 1) bytes go in one piece, `passed` having gone before.
    pub(super) fn size(self, available: usize, passed: u64, rng: &mut Rng) -> usize {
        let most = match self {
            Cut::Whole => return available,
            Cut::UpTo(most) => most,
            Cut::Crumbs if passed < CRUMBLED_BYTES => 3,
            Cut::Crumbs => 1460,
        };
        (1 + rng.below(most) as usize).min(available)
    }
}
