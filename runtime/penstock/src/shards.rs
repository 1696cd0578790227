//! The shards of this process, as the control thread sees them.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc;
use std::time::Duration;

use penstock_control::{
    Alarm, Ended, Listening, LogCounts, Prepared, ShardCounts, Shards, ShardsError,
};
use penstock_proxy::{Schemas, Snapshot, Worker};
use penstock_shard::{
    Counters, Listener, RecordSender, Sender, ShardHandle, ShardOptions, mailbox, thread_cpu_ns,
};
use penstock_telemetry::access::AccessRecord;

use crate::access_log::{AccessLog, NextLog};
use crate::cpus;
use crate::service::{Change, LogChange, Mail, ProxyService, SocketKey, sink};
use crate::sockets::{Rebinding, Sockets};

/// Messages that a shard may be behind by. One is sent per change of config.
const MAIL_MAX: usize = 64;

/// The shards, their sockets, and the access log that they write.
pub(crate) struct RunningShards {
    shards: Vec<Shard>,
    sockets: Sockets,
    log: AccessLog,
    schemas: Arc<Schemas>,
    alarm: Alarm,
    /// Numbers of shards whose threads are about to end.
    ending: (mpsc::Sender<usize>, mpsc::Receiver<usize>),
    buffers: u16,
    pipes_max: u32,
    /// The CPUs to pin shards to; empty where they are not pinned.
    cpus: Vec<usize>,
}

struct Shard {
    mail: Option<Sender<Mail>>,
    handle: Option<ShardHandle>,
    counters: Arc<Counters>,
}

impl RunningShards {
    /// Binds every listener for every shard, and starts the shards when all are bound.
    ///
    /// # Errors
    /// A listener can't be bound, the access log can't be opened, or a shard can't start.
    pub(crate) fn start(
        snapshot: &Arc<Snapshot>,
        schemas: &Arc<Schemas>,
        alarm: &Alarm,
        count: usize,
    ) -> Result<RunningShards, ShardsError> {
        let runtime = &snapshot.config.runtime;
        let mut sockets = Sockets::default();
        let rebinding = sockets.rebind(snapshot, count)?;
        sockets.commit(rebinding);
        let log = AccessLog::open(snapshot)?;
        let mut running = RunningShards {
            shards: Vec::with_capacity(count),
            sockets,
            log,
            schemas: Arc::clone(schemas),
            alarm: alarm.clone(),
            ending: mpsc::channel(),
            buffers: u16::try_from(runtime.receive_buffers).unwrap_or(u16::MAX / 2 + 1),
            pipes_max: runtime.pipes,
            cpus: if runtime.pin { cpus::allowed() } else { Vec::new() },
        };
        for index in 0..count {
            let counters = Arc::default();
            running.shards.push(Shard { mail: None, handle: None, counters });
            running.start_shard(index, snapshot)?;
        }
        Ok(running)
    }

    fn start_shard(&mut self, index: usize, snapshot: &Arc<Snapshot>) -> Result<(), ShardsError> {
        let failed = |reason: String| ShardsError::Start { index, reason };
        let sockets = self.sockets.of_shard(index).map_err(|error| failed(error.to_string()))?;
        let (duties, listeners) = sockets.into_iter().unzip();
        let (sender, inbox) = mailbox(MAIL_MAX).map_err(|error| failed(error.to_string()))?;
        let (ending, alarm) = (self.ending.0.clone(), self.alarm.clone());
        let options = ShardOptions {
            index,
            // More shards than CPUs share them.
            core: (!self.cpus.is_empty()).then(|| self.cpus[index % self.cpus.len()]),
            buffers: self.buffers,
            pipes_max: self.pipes_max,
            listeners,
            counters: Arc::clone(&self.shards[index].counters),
            ended: Box::new(move || {
                // At the end of the process nobody listens any more.
                let _ = ending.send(index);
                alarm.ring();
            }),
        };
        let (log, nudge) = (self.log.sender(), inbox.nudge());
        let (schemas, snapshot) = (Arc::clone(&self.schemas), Arc::clone(snapshot));
        let handle = penstock_shard::start(options, inbox, move |env| {
            let log = log.map(sink);
            let worker = Worker::new(env.clone(), index, schemas, snapshot, log, thread_cpu_ns);
            worker.set_nudge(Box::new(move || nudge.nudge()));
            ProxyService::new(env, worker, duties)
        })
        .map_err(|error| failed(error.to_string()))?;
        self.shards[index].mail = Some(sender);
        self.shards[index].handle = Some(handle);
        Ok(())
    }

    /// That each shard that runs has room for one message.
    fn have_room(&self) -> Result<(), ShardsError> {
        let mut running = self.shards.iter().enumerate();
        let is_full = |shard: &Shard| shard.mail.as_ref().is_some_and(|mail| mail.room() == 0);
        match running.find(|(_, shard)| is_full(shard)) {
            Some((index, _)) => Err(ShardsError::Behind { index }),
            None => Ok(()),
        }
    }
}

/// What each shard is told about the log, in the order of the shards.
type LogChanges = Box<dyn FnMut() -> LogChange>;

fn log_changes(senders: Option<Option<Vec<RecordSender<AccessRecord>>>>) -> LogChanges {
    match senders {
        None => Box::new(|| LogChange::Keep),
        Some(None) => Box::new(|| LogChange::Off),
        Some(Some(mut senders)) => {
            Box::new(move || senders.pop().map_or(LogChange::Off, LogChange::To))
        }
    }
}

/// A change that everything is there for.
struct Turn<'a> {
    running: &'a mut RunningShards,
    next: Arc<Snapshot>,
    rebinding: Rebinding,
    /// What each shard listens on in addition.
    shares: Vec<Vec<(SocketKey, Listener)>>,
    log: NextLog,
}

impl Prepared for Turn<'_> {
    fn commit(self: Box<Self>) {
        let Turn { running, next, rebinding, shares, log } = *self;
        let mut log = log_changes(running.log.turn_to(log, &next, shares.len()));
        let duties = rebinding.duties();
        let removed = next.listeners.iter().any(|listener| listener.removed);
        for (shard, added) in running.shards.iter_mut().zip(shares) {
            let Some(mail) = &mut shard.mail else { continue };
            let change = Change {
                snapshot: Arc::clone(&next),
                added,
                duties: duties.clone(),
                removed,
                log: log(),
            };
            let sent = mail.send(Mail::Apply(Box::new(change)));
            assert!(sent.is_ok(), "only this thread takes room from a mailbox, and there was some");
        }
        running.sockets.commit(rebinding);
    }
}

impl Shards for RunningShards {
    fn count(&self) -> usize {
        self.shards.len()
    }

    fn prepare<'a>(
        &'a mut self,
        next: &Arc<Snapshot>,
    ) -> Result<Box<dyn Prepared + 'a>, ShardsError> {
        // What is bound meanwhile is closed by its drop.
        let count = self.shards.len();
        let rebinding = self.sockets.rebind(next, count)?;
        let mut shares = Vec::with_capacity(count);
        for index in 0..count {
            let each = rebinding.added.iter().map(|bound| Ok((bound.key, bound.share(index)?)));
            let each: std::io::Result<Vec<_>> = each.collect();
            let failed =
                |error: std::io::Error| ShardsError::Start { index, reason: error.to_string() };
            shares.push(each.map_err(failed)?);
        }
        self.have_room()?;
        let log = self.log.prepare(next)?;
        Ok(Box::new(Turn { running: self, next: Arc::clone(next), rebinding, shares, log }))
    }

    fn drain(&mut self, longest: Duration) {
        // A connection that no shard will accept is refused now rather than reset later.
        self.sockets.close();
        for (index, shard) in self.shards.iter_mut().enumerate() {
            let sent = shard.mail.as_mut().map(|mail| mail.send(Mail::Drain(longest)).is_ok());
            if sent == Some(false) {
                tracing::error!(shard = index, "takes no messages; it will be cut");
            }
        }
    }

    fn ended(&mut self) -> Vec<Ended> {
        let mut all = Vec::new();
        while let Ok(index) = self.ending.1.try_recv() {
            let shard = &mut self.shards[index];
            shard.mail = None;
            // Its thread is in its last steps: this waits for microseconds.
            let error = shard.handle.take().and_then(|handle| handle.join().err());
            all.push(Ended { index, error: error.map(|error| error.to_string()) });
        }
        all
    }

    fn restart(&mut self, index: usize, current: &Arc<Snapshot>) -> Result<(), ShardsError> {
        self.start_shard(index, current)
    }

    fn counts(&self, index: usize) -> ShardCounts {
        let counters = &self.shards[index].counters;
        ShardCounts {
            accepted: counters.accepted.load(Relaxed),
            accept_errors: counters.accept_errors.load(Relaxed),
            starved: counters.starved.load(Relaxed),
            pipes_short: counters.pipes_short.load(Relaxed),
            panics: counters.panics.load(Relaxed),
            passes: counters.passes.load(Relaxed),
        }
    }

    fn listening(&self) -> Vec<Listening> {
        self.sockets.listening()
    }

    fn reopen_log(&mut self) {
        self.log.reopen();
    }

    fn give_memory_back(&mut self) {
        penstock_shard::give_memory_back();
    }

    fn log_counts(&self) -> Option<LogCounts> {
        self.log.counts()
    }

    fn events_lost(&self) -> u64 {
        crate::log::lost()
    }
}
