//! The proxy as a shard's service: accepted streams and messages find their way to a `Worker`.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use penstock_env::{Ends, Env, Time, Timer, TimerExt};
use penstock_proxy::{Entrance, LogSink, Secure, Snapshot, Worker};
use penstock_shard::{
    Control, Listener, RecordSender, Service, ShardEnv, ShardReplies, ShardStream,
};
use penstock_telemetry::access::AccessRecord;

/// One socket of a shard, over all changes of config: never given to another socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SocketKey(pub(crate) u64);

/// For whom in the snapshot a socket accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Duty {
    pub(crate) socket: SocketKey,
    pub(crate) entrance: Entrance,
}

/// What the control side tells a shard.
pub(crate) enum Mail {
    Apply(Box<Change>),
    /// Stop accepting, end what is idle, wait this long for the rest, then end.
    Drain(Duration),
}

/// A new snapshot with all that comes with it, so that a shard takes it whole.
pub(crate) struct Change {
    pub(crate) snapshot: Arc<Snapshot>,
    /// Sockets to accept from from now on.
    pub(crate) added: Vec<(SocketKey, Listener)>,
    /// Every socket to accept from; those not in it are closed.
    pub(crate) duties: Vec<Duty>,
    /// Some listener is gone: its idle connections are to end.
    pub(crate) removed: bool,
    pub(crate) log: LogChange,
}

/// What becomes of a shard's access log.
pub(crate) enum LogChange {
    Keep,
    Off,
    To(RecordSender<AccessRecord>),
}

/// The sink that has records filled in where they lie in a ring.
pub(crate) fn sink(mut sender: RecordSender<AccessRecord>) -> LogSink {
    Box::new(move |fill| sender.push(fill))
}

/// A `Worker` on a shard.
pub(crate) struct ProxyService {
    env: ShardEnv,
    worker: Worker<Secure<ShardEnv>>,
    /// By the shard's own number of the socket; `None` where it was closed.
    sockets: RefCell<Vec<Option<Duty>>>,
    ends_at: Cell<Option<Time>>,
}

impl ProxyService {
    /// The service of `worker`, whose first sockets are these.
    pub(crate) fn new(
        env: ShardEnv,
        worker: Worker<Secure<ShardEnv>>,
        duties: Vec<Duty>,
    ) -> ProxyService {
        let sockets = duties.into_iter().map(Some).collect();
        ProxyService { env, worker, sockets: RefCell::new(sockets), ends_at: Cell::new(None) }
    }

    fn apply(&self, change: Change, control: &dyn Control) {
        let Change { snapshot, added, duties, removed, log } = change;
        self.worker.apply(snapshot);
        match log {
            LogChange::Keep => {}
            LogChange::Off => self.worker.set_log(None),
            LogChange::To(sender) => self.worker.set_log(Some(sink(sender))),
        }
        let mut sockets = self.sockets.borrow_mut();
        for (socket, listener) in added {
            // Whose it is follows from the duties below.
            let nobody = Entrance::Listener(usize::MAX);
            sockets.push(Some(Duty { socket, entrance: nobody }));
            control.listen(listener);
        }
        for (number, place) in sockets.iter_mut().enumerate() {
            let Some(known) = place else { continue };
            *place = duties.iter().copied().find(|new| new.socket == known.socket);
            if place.is_none() {
                control.unlisten(number);
            }
        }
        drop(sockets);
        if removed {
            control.review_parked();
        }
    }

    fn drain(&self, longest: Duration, control: &dyn Control) {
        // First the worker: streams that come back now must not park again.
        self.worker.drain();
        control.stop_listening();
        control.wake_parked();
        let until = self.env.now() + longest;
        self.ends_at.set(Some(until));
        // Something has to wake the shard at the end of the time.
        let timer = self.env.timer();
        self.env.spawn(async move {
            timer.set(until);
            timer.expired().await;
        });
    }
}

impl Service for ProxyService {
    type Mail = Mail;

    fn accept(&self, socket: usize, stream: ShardStream) {
        // A completion can be behind the closing of its socket: the stream is dropped.
        let duty = self.sockets.borrow().get(socket).copied().flatten();
        if let Some(Duty { entrance, .. }) = duty {
            self.worker.accept(entrance, stream);
        }
    }

    fn datagrams(&self, socket: usize, replies: &ShardReplies, ends: Ends, datagrams: &[&[u8]]) {
        let duty = self.sockets.borrow().get(socket).copied().flatten();
        if let Some(Duty { entrance, .. }) = duty {
            self.worker.datagrams(entrance, replies, ends, datagrams);
        }
    }

    fn mail(&self, mail: Mail, control: &dyn Control) {
        match mail {
            Mail::Apply(change) => self.apply(*change, control),
            Mail::Drain(longest) => self.drain(longest, control),
        }
    }

    fn nudged(&self) {
        self.worker.nudged();
    }

    fn exhausted(&self) {
        self.worker.let_unused_go();
    }

    fn is_finished(&self) -> bool {
        let Some(until) = self.ends_at.get() else { return false };
        if self.worker.connection_count() == 0 {
            return true;
        }
        let over = self.env.now() >= until;
        if over {
            let (connections, requests) =
                (self.worker.connection_count(), self.worker.request_count());
            self.worker.count_cut();
            tracing::warn!(connections, requests, "the time to drain is over: cutting");
        }
        over
    }
}
