//! Events: to standard error, by the filter of `RUST_LOG`, which can be changed while we run.

use std::io::IsTerminal;
use std::panic;
use std::sync::Arc;

use penstock_admin::LogLevel;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::Handle;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

/// The filter where `RUST_LOG` says nothing.
pub(crate) const DEFAULT: &str = "warn,penstock=info";

/// Begins to log, and has panics logged like everything else.
pub(crate) fn start(default: &str) -> Arc<dyn LogLevel> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let (filter, handle) = reload::Layer::new(filter);
    let lines =
        fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    // Only a second subscriber would be refused, and there is one.
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
    panic::set_hook(Box::new(|what| {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("a thread").to_owned();
        tracing::error!(thread = name, "{what}");
    }));
    Arc::new(Filter { handle })
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
