//! The control thread itself: signals, questions, shards that ended, and the time.

use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime::{self, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::Receiver;

use crate::control::Control;
use crate::handle::{Handle, Question};
use crate::{Gone, Outcome};
use crate::{acme, bgp};

/// Between two lives of the loop, where one ended in a panic.
const PANIC_PAUSE: Duration = Duration::from_millis(100);
/// What of the control thread's work may still be under way when it has ended.
const LEFTOVERS_MAX: Duration = Duration::from_secs(5);

/// What else runs on the control thread: the admin API.
pub type Companion = Box<dyn FnOnce(Handle) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// The running control thread.
pub struct ControlThread {
    handle: Handle,
    join: JoinHandle<Outcome>,
}

impl ControlThread {
    /// Starts it. SIGHUP reloads, SIGTERM and SIGINT drain, a second one of them stops at once,
    /// SIGUSR1 opens the access log anew.
    ///
    /// # Errors
    /// No thread, no runtime, or no signal handler is to be had.
    pub fn start(control: Control, companions: Vec<Companion>) -> io::Result<ControlThread> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let signals = {
            let _inside = runtime.enter();
            Signals::listen()?
        };
        let (handle, inbox) = Handle::new();
        for companion in companions {
            runtime.spawn(companion(handle.clone()));
        }
        runtime.spawn(acme::run(handle.clone()));
        runtime.spawn(bgp::run(handle.clone()));
        let thread = thread::Builder::new().name("control".to_owned());
        let join = thread.spawn(move || {
            let outcome = run(&runtime, control, inbox, signals);
            // Nothing that somebody else keeps waiting shall keep the process.
            runtime.shutdown_timeout(LEFTOVERS_MAX);
            outcome
        })?;
        Ok(ControlThread { handle, join })
    }

    /// To talk to it.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Waits for the end of the process' work.
    ///
    /// # Errors
    /// The thread panicked beyond repair.
    pub fn join(self) -> Result<Outcome, Gone> {
        self.join.join().map_err(|_| Gone)
    }
}

/// Runs until the end. A panic costs the event that made it: the loop begins again with what
/// the control side owns, for without it nobody would hear a signal.
fn run(
    runtime: &Runtime,
    mut control: Control,
    mut inbox: Receiver<Question>,
    mut signals: Signals,
) -> Outcome {
    loop {
        let life =
            AssertUnwindSafe(|| runtime.block_on(live(&mut control, &mut inbox, &mut signals)));
        match catch_unwind(life) {
            Ok(outcome) => return outcome,
            Err(_) => {
                tracing::error!("the control loop panicked; it begins again");
                thread::sleep(PANIC_PAUSE);
            }
        }
    }
}

async fn live(
    control: &mut Control,
    inbox: &mut Receiver<Question>,
    signals: &mut Signals,
) -> Outcome {
    let alarm = control.alarm.clone();
    loop {
        if let Some(outcome) = control.ending.outcome() {
            return outcome;
        }
        control.checks.follow(&control.snapshot, &control.layer4);
        let wait = control.next_time().since(control.clock.now());
        tokio::select! {
            Some(question) = inbox.recv() => question(control),
            wish = signals.next() => control.fulfil(wish),
            () = alarm.rung() => control.tend_shards(),
            () = tokio::time::sleep(wait) => control.on_time(),
        }
    }
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Reload,
    End,
    ReopenLog,
}

struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
    user1: Signal,
}

impl Signals {
    fn listen() -> io::Result<Signals> {
        Ok(Signals {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            user1: signal(SignalKind::user_defined1())?,
        })
    }

    async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.hangup.recv() => Wish::Reload,
            _ = self.terminate.recv() => Wish::End,
            _ = self.interrupt.recv() => Wish::End,
            _ = self.user1.recv() => Wish::ReopenLog,
        }
    }
}

impl Control {
    fn fulfil(&mut self, wish: Wish) {
        match wish {
            // The outcome is logged and counted, and a signal can't be answered.
            Wish::Reload => drop(self.reload()),
            Wish::End if self.ending.is_serving() => self.drain(),
            Wish::End => self.stop(),
            Wish::ReopenLog => self.reopen_log(),
        }
    }
}
