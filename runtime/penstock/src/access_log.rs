//! The access log: one plain thread that formats and writes the records that shards send it.

use std::io;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::atomic::fence;
use std::sync::{Arc, Weak, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use penstock_config::{AccessLog as Setting, LogTarget};
use penstock_control::{LogCounts, ShardsError};
use penstock_env::Unix;
use penstock_proxy::snapshot::Listener;
use penstock_proxy::{Cause, GrpcCode, Snapshot};
use penstock_shard::{Bell, RecordReader, RecordSender, records};
use penstock_telemetry::access::{AccessRecord, Format, Names, Target, WriteCounts, Writer};
use penstock_tls::Suite;

/// Records that a shard can be ahead of the writer: 2 MiB, 40 ms of 100,000 requests a second.
const RECORDS_MAX: usize = 4096;
/// Lines are written together, up to about this much: what gathers before the thread is woken. The
/// kernel has less to do for each line of a large write (65 to 80 ns per 360 bytes in writes of
/// 256 KiB to ext4, 120 in writes of 16 KiB, 270 in writes of 4 KiB).
const BATCH_BYTES: usize = 256 * 1024;

/// How long a reload waits until the lines of before are in the file of before. A disk that takes
/// longer must not hold up the config.
const SWITCH_MAX: Duration = Duration::from_secs(1);
/// How long the last lines may take to be written.
const END_MAX: Duration = Duration::from_secs(3);

/// The access log of the process, if it has one.
pub(crate) struct AccessLog {
    setting: Setting,
    desk: Option<Desk>,
}

/// The thread that writes, from outside.
pub(crate) struct Desk {
    orders: Option<mpsc::Sender<Order>>,
    bell: Arc<Bell>,
    counts: Arc<WriteCounts>,
    join: Option<JoinHandle<()>>,
    /// Its other end is the thread's, and gone when that is.
    ended: mpsc::Receiver<()>,
}

/// What a new config makes of the log.
pub(crate) enum NextLog {
    /// It goes on.
    Same,
    /// There is none.
    Off,
    /// It goes elsewhere, or is written otherwise.
    Switch(Format, Writer),
    /// There was none.
    Begin(Desk),
}

/// What the writing thread is told.
enum Order {
    /// Read from there, too.
    Read(RecordReader<AccessRecord>),
    /// Records of this snapshot mean these names.
    Know(Generation),
    /// Write there from now on; the sender goes when that has come true.
    Write(Format, Writer, mpsc::Sender<()>),
    /// Open the file anew.
    Reopen,
}

/// The names of one snapshot, for as long as some record may speak of it.
struct Generation {
    number: u32,
    snapshot: Weak<Snapshot>,
    names: Names,
}

impl AccessLog {
    /// Opens the log that `snapshot` asks for.
    ///
    /// # Errors
    /// It can't be opened.
    pub(crate) fn open(snapshot: &Arc<Snapshot>) -> Result<AccessLog, ShardsError> {
        let setting = snapshot.config.observe.access_log.clone();
        let desk = match open(&setting)? {
            Some((format, writer)) => Some(Desk::start(format, writer, snapshot)?),
            None => None,
        };
        Ok(AccessLog { setting, desk })
    }

    /// What a shard sends its records by, if there is a log.
    pub(crate) fn sender(&self) -> Option<RecordSender<AccessRecord>> {
        let desk = self.desk.as_ref()?;
        let empty = AccessRecord::new(Unix { us: 0 });
        let (sender, reader) = records(RECORDS_MAX, empty, &desk.bell);
        desk.tell(Order::Read(reader));
        Some(sender)
    }

    /// Opens what `next` asks for; the log of now goes on.
    ///
    /// # Errors
    /// It can't be opened.
    pub(crate) fn prepare(&self, next: &Arc<Snapshot>) -> Result<NextLog, ShardsError> {
        let setting = &next.config.observe.access_log;
        if *setting == self.setting {
            return Ok(NextLog::Same);
        }
        Ok(match (open(setting)?, &self.desk) {
            (None, _) => NextLog::Off,
            (Some((format, writer)), None) => NextLog::Begin(Desk::start(format, writer, next)?),
            (Some((format, writer)), Some(_)) => NextLog::Switch(format, writer),
        })
    }

    /// Turns to what was opened for `next`. `None` leaves the shards' senders as they are,
    /// `Some(None)` takes them away, `Some(Some(..))` are new ones for `shards` shards.
    pub(crate) fn turn_to(
        &mut self,
        log: NextLog,
        next: &Arc<Snapshot>,
        shards: usize,
    ) -> Option<Option<Vec<RecordSender<AccessRecord>>>> {
        self.setting = next.config.observe.access_log.clone();
        if let Some(desk) = &self.desk {
            desk.tell(Order::Know(Generation::of(next)));
        }
        match (log, &self.desk) {
            (NextLog::Begin(desk), _) => {
                self.desk = Some(desk);
                Some(Some((0..shards).filter_map(|_| self.sender()).collect()))
            }
            (NextLog::Switch(format, writer), Some(desk)) => {
                desk.switch(format, writer);
                None
            }
            (NextLog::Off, Some(_)) => {
                self.desk = None;
                Some(None)
            }
            (NextLog::Same | NextLog::Off | NextLog::Switch(..), _) => None,
        }
    }

    /// Opens the file anew, after it was moved away.
    pub(crate) fn reopen(&self) {
        if let Some(desk) = &self.desk {
            desk.tell(Order::Reopen);
        }
    }

    /// What was written so far.
    pub(crate) fn counts(&self) -> Option<LogCounts> {
        let counts = &self.desk.as_ref()?.counts;
        Some(LogCounts {
            lines: counts.lines.load(Relaxed),
            lines_lost: counts.lines_lost.load(Relaxed),
            errors: counts.errors.load(Relaxed),
        })
    }
}

fn open(setting: &Setting) -> Result<Option<(Format, Writer)>, ShardsError> {
    let (format, target) = match setting {
        Setting::Off => return Ok(None),
        Setting::Json(target) => (Format::Json, target),
        Setting::Text(target) => (Format::Text, target),
    };
    let to = match target {
        LogTarget::Stdout => Target::Stdout,
        LogTarget::File(path) => Target::File(path.clone()),
    };
    match Writer::open(to) {
        Ok(writer) => Ok(Some((format, writer))),
        Err(error) => Err(ShardsError::Log { target: target.to_string(), error }),
    }
}

impl Desk {
    fn start(
        format: Format,
        writer: Writer,
        snapshot: &Arc<Snapshot>,
    ) -> Result<Desk, ShardsError> {
        let ((orders, inbox), counts) = (mpsc::channel(), writer.counts());
        let bell = Arc::new(Bell::default());
        let scribe = Scribe {
            inbox,
            bell: Arc::clone(&bell),
            readers: Vec::new(),
            generations: vec![Generation::of(snapshot)],
            format,
            writer,
            lines: Vec::with_capacity(BATCH_BYTES + 4096),
        };
        let (lives, ended) = mpsc::channel();
        let run = move || {
            let _lives: mpsc::Sender<()> = lives;
            scribe.run();
        };
        let spawned = thread::Builder::new().name("access-log".to_owned()).spawn(run);
        let failed = |error: io::Error| ShardsError::Log { target: "its thread".into(), error };
        let join = spawned.map_err(failed)?;
        Ok(Desk { orders: Some(orders), bell, counts, join: Some(join), ended })
    }

    /// Has all that is recorded from now on written by `writer`.
    fn switch(&self, format: Format, writer: Writer) {
        let (held, gone) = mpsc::channel();
        self.tell(Order::Write(format, writer, held));
        // Nothing is ever sent: this ends when the other end is gone, or out of patience.
        let _ = gone.recv_timeout(SWITCH_MAX);
    }

    fn tell(&self, order: Order) {
        if let Some(orders) = &self.orders {
            // The thread ends only after this end of the channel is gone.
            let _ = orders.send(order);
            self.bell.ring();
        }
    }
}

/// Ends the thread, after it has written what the readers hold; where its target takes no more, it
/// is left behind with what it holds. Nobody waits for a log that nobody reads.
impl Drop for Desk {
    fn drop(&mut self) {
        self.orders = None;
        self.bell.ring();
        // Nothing is ever sent: this ends when the thread does, or out of patience.
        let waited = self.ended.recv_timeout(END_MAX);
        let Some(join) = self.join.take() else { return };
        if waited == Err(mpsc::RecvTimeoutError::Timeout) {
            tracing::error!("the access log takes no more: what it was not given is lost");
        } else if join.join().is_err() {
            tracing::error!("the access log's thread had panicked");
        }
    }
}

impl Generation {
    fn of(snapshot: &Arc<Snapshot>) -> Generation {
        let listeners = snapshot.listeners.iter();
        let routes = |listener: &Listener| -> Vec<String> {
            listener.routes.routes().iter().map(|route| route.name.to_string()).collect()
        };
        let names = Names {
            routes: listeners.clone().map(routes).collect(),
            listeners: listeners.map(|one| one.config.name.to_string()).collect(),
            services: snapshot.services.iter().map(|one| one.config.name.to_string()).collect(),
            clusters: snapshot.clusters.iter().map(|one| one.config.name.to_string()).collect(),
            causes: Cause::NAMES,
            codes: &GrpcCode::NAMES,
            suites: Suite::ALL,
        };
        Generation { number: snapshot.generation, snapshot: Arc::downgrade(snapshot), names }
    }
}

/// The thread that writes, from inside.
struct Scribe {
    inbox: mpsc::Receiver<Order>,
    bell: Arc<Bell>,
    readers: Vec<RecordReader<AccessRecord>>,
    generations: Vec<Generation>,
    format: Format,
    writer: Writer,
    lines: Vec<u8>,
}

impl Scribe {
    fn run(mut self) {
        loop {
            let over = self.take_orders();
            // A snapshot that nobody holds before the readers are emptied has no record in them
            // afterwards: its last exchange has ended, and was pushed before it let go.
            let dead = self.generations.iter().filter(|one| one.snapshot.strong_count() == 0);
            let dead: Vec<u32> = dead.map(|one| one.number).collect();
            // The count is read without order; what was done before the last one let go is seen
            // from here on.
            fence(Acquire);
            let found = self.write_all();
            if !dead.is_empty() {
                self.generations.retain(|one| !dead.contains(&one.number));
            }
            if over {
                return;
            }
            self.bell.wait(found);
        }
    }

    /// Whether nobody gives orders any more.
    fn take_orders(&mut self) -> bool {
        loop {
            match self.inbox.try_recv() {
                Ok(Order::Read(reader)) => self.readers.push(reader),
                Ok(Order::Know(generation)) => self.generations.push(generation),
                Ok(Order::Write(format, writer, held)) => {
                    // What came before belongs into the old file.
                    self.write_all();
                    self.writer.replace(writer);
                    self.format = format;
                    drop(held);
                }
                Ok(Order::Reopen) => self.writer.reopen(),
                Err(mpsc::TryRecvError::Empty) => return false,
                Err(mpsc::TryRecvError::Disconnected) => return true,
            }
        }
    }

    /// Empties the readers; whether anything was in them.
    fn write_all(&mut self) -> bool {
        let Scribe { readers, generations, format, writer, lines, .. } = self;
        let mut found = 0;
        readers.retain_mut(|reader| {
            // Asked before it is emptied: after it, what came in between would be lost.
            let orphaned = reader.is_orphaned();
            found += reader.read(|record| {
                format.write(record, names(generations, record.snapshot), lines);
                if lines.len() >= BATCH_BYTES {
                    flush(writer, lines);
                }
            });
            !orphaned
        });
        flush(writer, lines);
        found > 0
    }
}

/// The names that a record of this snapshot means; none where it was forgotten.
fn names(generations: &[Generation], snapshot: u32) -> &Names {
    static NONE: Names = Names::NONE;
    let known = generations.iter().rev().find(|one| one.number == snapshot);
    known.map_or(&NONE, |one| &one.names)
}

fn flush(writer: &mut Writer, lines: &mut Vec<u8>) {
    if !lines.is_empty() {
        writer.write(lines);
        lines.clear();
    }
}
