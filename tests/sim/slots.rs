//! The shard's table of sockets against a kernel that answers in any order, or not at all.
//!
//! Table and life of a socket are the real ones: what is cancelled, when the close follows and
//! when a place is free is theirs to say. The model has the kernel, which holds pointers into a
//! place for as long as an operation on it is under way, and which does not end a receive of a
//! silent peer unless told to. Giving a place away too early, or never, are the mistakes that are
//! planted.

use std::panic::{AssertUnwindSafe, catch_unwind};

use penstock_env::Rng;
use penstock_shard::{AfterSend, Op, SlotKey, Slots};
use penstock_tests::sim::seed_count;

#[test]
fn the_kernel_never_holds_a_place_that_was_given_away() {
    for seed in 0..seed_count() {
        let outcome = catch_unwind(AssertUnwindSafe(|| run(seed, Mistake::None)));
        assert!(outcome.is_ok(), "seed {seed}");
    }
}

#[test]
fn each_place_that_is_given_back_too_early_or_never_is_found() {
    let forgotten = [Op::Recv, Op::Send, Op::Connect, Op::Readable, Op::Writable];
    let early = [Mistake::RecvForgotten, Mistake::SendForgotten, Mistake::CloseIsAll];
    for mistake in forgotten.map(Mistake::CancelForgotten).into_iter().chain(early) {
        let caught = (0..32).filter(|&seed| catch_unwind(|| run(seed, mistake)).is_err()).count();
        assert_eq!(caught, 32, "{mistake:?}");
    }
}

/// What is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mistake {
    None,
    /// Takes a receive as ended when its cancellation has been asked for.
    RecvForgotten,
    /// Takes a send as done when the stream is dropped with a reset.
    SendForgotten,
    /// Frees the place when the close is done, whatever else is under way.
    CloseIsAll,
    /// Leaves this under way when the socket is closed.
    CancelForgotten(Op),
}

/// An operation that the kernel works on: it writes to, or reads from, the memory of `owner`.
#[derive(Clone, Copy)]
struct UnderWay {
    op: Op,
    key: SlotKey,
    owner: u64,
    cancelled: bool,
    /// Nothing ends it but being cancelled: the peer says and takes nothing.
    silent: bool,
}

struct Model {
    slots: Slots<u64>,
    kernel: Vec<UnderWay>,
    /// Sockets that have a stream.
    open: Vec<SlotKey>,
    owners: u64,
    rng: Rng,
    mistake: Mistake,
}

fn run(seed: u64, mistake: Mistake) {
    let rng = Rng::new(seed);
    let mut model =
        Model { slots: Slots::new(), kernel: vec![], open: vec![], owners: 0, rng, mistake };
    for _ in 0..2000 {
        match model.rng.below(16) {
            0 | 1 => model.open(Op::Recv),
            2 => model.open(Op::Connect),
            3 | 4 => model.begin(Op::Send),
            5 | 6 => model.drop_stream(),
            7 => model.linger_ends(),
            8 => model.begin(Op::Readable),
            9 => model.begin(Op::Writable),
            10 => model.begin(Op::Recv),
            11 => model.pause(),
            _ => drop(model.complete()),
        }
    }
    while let Some(key) = model.open.pop() {
        model.close(key, true);
    }
    model.linger_ends();
    while model.complete() {}
    assert!(model.slots.is_empty(), "{} places were never given back", model.slots.len());
}

impl Model {
    fn submit(&mut self, op: Op, key: SlotKey) {
        let owner = *self.slots.find(key).expect("operations begin on live sockets").0;
        let silent = op != Op::Close && self.rng.below(4) == 0;
        self.kernel.push(UnderWay { op, key, owner, cancelled: false, silent });
    }

    fn cancel(&mut self, op: Op, key: SlotKey) {
        let mine = self.kernel.iter_mut().filter(|under| under.op == op && under.key == key);
        mine.for_each(|under| under.cancelled = true);
    }

    /// A socket is accepted (it receives at once) or begins to connect.
    fn open(&mut self, op: Op) {
        if self.open.len() < 8 {
            self.owners += 1;
            let key = self.slots.insert(self.owners);
            self.open.push(key);
            self.begin_on(op, key);
        }
    }

    /// Its owner sends, receives, or has a conduit ask when it is ready.
    fn begin(&mut self, op: Op) {
        if let Some(key) = self.any_open() {
            self.begin_on(op, key);
        }
    }

    fn begin_on(&mut self, op: Op, key: SlotKey) {
        let (_, life) = self.slots.find(key).expect("a stream's socket outlives it");
        if life.is_open() && !life.has(op) && !life.has(Op::Connect) {
            life.begin(op);
            self.submit(op, key);
        }
    }

    /// As where nobody reads what came.
    fn pause(&mut self) {
        let Some(key) = self.any_open() else { return };
        if self.slots.find(key).is_some_and(|(_, life)| life.pause()) {
            self.cancel(Op::Recv, key);
        }
    }

    fn any_open(&mut self) -> Option<SlotKey> {
        let count = u32::try_from(self.open.len()).ok().filter(|&count| count > 0)?;
        Some(self.open[self.rng.below(count) as usize])
    }

    fn drop_stream(&mut self) {
        let Some(key) = self.any_open() else { return };
        self.open.retain(|&other| other != key);
        let reset = self.rng.below(2) == 0;
        self.close(key, reset);
    }

    fn close(&mut self, key: SlotKey, reset: bool) {
        let (_, life) = self.slots.find(key).expect("a stream's socket outlives it");
        let at_once = life.release(reset);
        if reset && self.mistake == Mistake::SendForgotten {
            life.done(Op::Send);
        }
        if at_once {
            self.finish_close(key);
        }
    }

    /// A send that the peer does not take is cut some time after its stream was dropped.
    fn linger_ends(&mut self) {
        for key in self.slots.keys() {
            self.finish_close(key);
        }
    }

    fn finish_close(&mut self, key: SlotKey) {
        let Some((_, life)) = self.slots.find(key) else { return };
        let Some(to_cancel) = life.close() else { return };
        if self.mistake == Mistake::RecvForgotten {
            life.done(Op::Recv);
        }
        for op in to_cancel {
            if self.mistake != Mistake::CancelForgotten(op) {
                self.cancel(op, key);
            }
        }
        self.submit(Op::Close, key);
    }

    /// The kernel completes one of the operations that can end; whether there was one.
    fn complete(&mut self) -> bool {
        let can_end = |(at, one): (usize, &UnderWay)| (one.cancelled || !one.silent).then_some(at);
        let can_end: Vec<usize> = self.kernel.iter().enumerate().filter_map(can_end).collect();
        let Some(count) = u32::try_from(can_end.len()).ok().filter(|&count| count > 0) else {
            return false;
        };
        let at = can_end[self.rng.below(count) as usize];
        let UnderWay { op, key, owner, cancelled, .. } = self.kernel[at];
        let held = self.slots.find(key).map(|(owner, _)| *owner);
        assert_eq!(held, Some(owner), "{op:?} is under way on a place that was given away");
        // A receive that nobody cancelled goes on more often than not.
        let more = op == Op::Recv && !cancelled && self.rng.below(4) > 0;
        if !more {
            self.kernel.swap_remove(at);
        }
        self.on_completion(op, key, more);
        true
    }

    fn on_completion(&mut self, op: Op, key: SlotKey, more: bool) {
        let rest = self.rng.below(2) == 0;
        let (_, life) = self.slots.find(key).expect("looked at just now");
        match op {
            Op::Recv => life.received(more),
            Op::Send => match life.sent(rest) {
                AfterSend::Rest => return self.submit(Op::Send, key),
                AfterSend::Close => return self.finish_close(key),
                AfterSend::Owner | AfterSend::Nothing => {}
            },
            Op::Close => {
                life.closed();
                if self.mistake == Mistake::CloseIsAll {
                    Op::ALL.iter().for_each(|&op| life.done(op));
                }
            }
            other => life.done(other),
        }
        self.slots.free_if_over(key);
    }
}
