//! Events: to standard error, by the filter of `RUST_LOG`, which can be changed while we run.
//!
//! Shards have events, too, and whoever reads ours may stop reading: so lines go through a bounded
//! queue to a thread that does nothing else. What finds no room is counted and lost.

use std::io::IsTerminal;
use std::panic;
use std::sync::{Arc, OnceLock};

use penstock_admin::LogLevel;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::Handle;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

/// The filter where `RUST_LOG` says nothing.
pub(crate) const DEFAULT: &str = "warn,penstock=info";
/// Lines that may wait to be written: some 2 MiB.
const LINES_MAX: usize = 16 * 1024;

static LOST: OnceLock<ErrorCounter> = OnceLock::new();

/// The log of a process, while it lasts: dropped, what waits is written, for a second at most.
pub(crate) struct Log {
    pub(crate) level: Arc<dyn LogLevel>,
    _writer: WorkerGuard,
}

/// Begins to log, and has panics logged like everything else.
pub(crate) fn start(default: &str) -> Log {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let (filter, handle) = reload::Layer::new(filter);
    let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(LINES_MAX);
    let (writer, guard) = builder.thread_name("event-log").finish(std::io::stderr());
    let _ = LOST.set(writer.error_counter());
    let lines = fmt::layer().with_writer(writer).with_ansi(std::io::stderr().is_terminal());
    // Only a second subscriber would be refused, and there is one.
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
    panic::set_hook(Box::new(|what| {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("a thread").to_owned();
        tracing::error!(thread = name, "{what}");
    }));
    Log { level: Arc::new(Filter { handle }), _writer: guard }
}

/// Lines that found no room so far.
pub(crate) fn lost() -> u64 {
    LOST.get().map_or(0, |lost| lost.dropped_lines() as u64)
}

struct Filter {
    handle: Handle<EnvFilter, Registry>,
}

impl LogLevel for Filter {
    fn show(&self) -> String {
        self.handle.with_current(ToString::to_string).unwrap_or_default()
    }

    fn set(&self, filter: &str) -> Result<(), String> {
        let filter = EnvFilter::try_new(filter).map_err(|error| error.to_string())?;
        self.handle.reload(filter).map_err(|error| error.to_string())
    }
}
