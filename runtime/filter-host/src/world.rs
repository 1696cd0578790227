//! What the host needs of the world: time, randomness, a log. Object-safe, unlike `Env`.

use penstock_env::{Env, Time, Unix};

use crate::abi::LogLevel;

/// The world as a shard's filters see it. [`EnvWorld`] makes one of an `Env`.
pub trait World {
    /// Monotonic time.
    fn now(&self) -> Time;

    /// Time of day.
    fn unix(&self) -> Unix;

    /// Random bits.
    fn random(&self) -> u64;

    /// Nanoseconds that this thread has had of a processor (`CLOCK_THREAD_CPUTIME_ID`): for
    /// measuring filters, and for not blaming one whose thread had to wait. `None` where nothing
    /// is measured, as in a simulation; deadlines are wall time then.
    fn cpu_ns(&self) -> Option<u64>;

    /// The least level that is worth writing a line for.
    fn log_level(&self) -> LogLevel;

    /// Writes a line for a filter; `message` is the filter's, and may be any bytes.
    fn log(&self, filter: &str, level: LogLevel, message: &str);
}

/// A [`World`] made of an `Env`, whose log is `tracing`.
#[derive(Clone, Debug)]
pub struct EnvWorld<E> {
    env: E,
    cpu_ns: fn() -> u64,
}

impl<E: Env> EnvWorld<E> {
    /// `cpu_ns` is [`World::cpu_ns`], with 0 for none; it costs a system call, and is read around
    /// one callback in 64 and for one that runs long.
    pub fn new(env: E, cpu_ns: fn() -> u64) -> EnvWorld<E> {
        EnvWorld { env, cpu_ns }
    }
}

impl<E: Env> World for EnvWorld<E> {
    fn now(&self) -> Time {
        self.env.now()
    }

    fn unix(&self) -> Unix {
        self.env.unix()
    }

    fn random(&self) -> u64 {
        self.env.random()
    }

    fn cpu_ns(&self) -> Option<u64> {
        Some((self.cpu_ns)()).filter(|&ns| ns > 0)
    }

    fn log_level(&self) -> LogLevel {
        trace_level()
    }

    fn log(&self, filter: &str, level: LogLevel, message: &str) {
        trace(filter, level, message);
    }
}

/// The least level that any `tracing` subscriber listens to.
pub(crate) fn trace_level() -> LogLevel {
    use tracing::level_filters::LevelFilter;
    let level = LevelFilter::current();
    if level >= LevelFilter::TRACE {
        LogLevel::Trace
    } else if level >= LevelFilter::DEBUG {
        LogLevel::Debug
    } else if level >= LevelFilter::INFO {
        LogLevel::Info
    } else if level >= LevelFilter::WARN {
        LogLevel::Warn
    } else {
        LogLevel::Error
    }
}

/// A filter's line as an event.
pub(crate) fn trace(filter: &str, level: LogLevel, message: &str) {
    match level {
        LogLevel::Trace => tracing::trace!(target: "penstock::filter", filter, "{message}"),
        LogLevel::Debug => tracing::debug!(target: "penstock::filter", filter, "{message}"),
        LogLevel::Info => tracing::info!(target: "penstock::filter", filter, "{message}"),
        LogLevel::Warn => tracing::warn!(target: "penstock::filter", filter, "{message}"),
        LogLevel::Error | LogLevel::Critical => {
            tracing::error!(target: "penstock::filter", filter, "{message}");
        }
    }
}
