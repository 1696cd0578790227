//! `penstock run`: checks everything that can be, binds everything, then serves until the end.

use std::sync::Arc;

use penstock_admin::{LogLevel, Server};
use penstock_control::{Boot, BootError, Companion, ControlThread, Outcome, Source};

use crate::datapath::MachineDatapaths;
use crate::shards::RunningShards;
use crate::{Failed, arguments, capacity, log, notify, sockets};

/// Serves from the config.
pub(crate) fn run(arguments: &arguments::Run) -> Result<(), Failed> {
    let boot = Boot::read(Source::new(&arguments.config)).map_err(explain)?;
    let log = log::start(log::DEFAULT);
    let running = start(boot, Arc::clone(&log.level))?;
    notify::ready(&format!("serves; admin API at {}", running.admin));
    match running.thread.join()? {
        Outcome { failed: true, .. } => {
            Err(Failed::Because("a shard ended otherwise than it should".to_owned()))
        }
        Outcome { cut, .. } => {
            tracing::info!(cut, "ended");
            Ok(())
        }
    }
}

/// A Penstock at work.
pub(crate) struct Running {
    pub(crate) thread: ControlThread,
    /// Where the admin API listens.
    pub(crate) admin: String,
}

/// Starts everything: nothing serves before every address is bound.
pub(crate) fn start(boot: Boot, level: Arc<dyn LogLevel>) -> Result<Running, Failed> {
    let count = boot.shard_count();
    let capacity = capacity::measure(penstock_shard::raise_limits(count)?);
    penstock_shard::probe()?;
    let server = Server::bind(&boot.config().admin, &boot.files())?;
    let admin = server.address().to_owned();
    let control = boot
        .start(capacity, Box::new(MachineDatapaths), |snapshot, schemas, alarm| {
            RunningShards::start(snapshot, schemas, alarm, count)
        })
        .map_err(explain)?;
    for listening in control.listening() {
        let entrance = sockets::name_of(listening.entrance, control.snapshot());
        tracing::info!(%entrance, address = %listening.address, "listening");
    }
    tracing::info!(address = admin, "the admin API listens");
    let companion: Companion = Box::new(|handle| Box::pin(server.serve(handle, level)));
    let thread = ControlThread::start(control, vec![companion])?;
    Ok(Running { thread, admin })
}

/// Findings are shown as they are: they have a place each, and more than one line.
fn explain(error: BootError) -> Failed {
    match error {
        BootError::Findings(findings) => {
            eprint!("{findings}");
            Failed::Findings
        }
        other => Failed::Because(other.to_string()),
    }
}
