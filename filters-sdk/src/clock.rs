//! Time, and the timer.

use core::time::Duration;

use crate::sys;

/// The time of day, as time since 1970 began in UTC. For what other people's clocks wrote: tokens,
/// dates. It can jump.
pub fn unix() -> Duration {
    Duration::from_nanos(sys::unix_nanoseconds())
}

/// Time since some moment in the past, the same moment for all shards. It never goes back.
pub fn monotonic() -> Duration {
    Duration::from_nanos(sys::monotonic_nanoseconds())
}

/// Has [`Filter::on_tick`] called every `period`, on each shard for itself. Zero stops it; parts of
/// a millisecond are dropped. Call it from [`Filter::new`] or `on_tick`.
///
/// [`Filter::new`]: crate::Filter::new
/// [`Filter::on_tick`]: crate::Filter::on_tick
pub fn every(period: Duration) {
    sys::tick_period(u32::try_from(period.as_millis()).unwrap_or(u32::MAX));
}
