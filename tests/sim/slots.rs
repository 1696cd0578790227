//! The shard's table of sockets against a kernel that answers in any order.
//!
//! The table is the real one; around it is a model of what the shard does with completions, and
//! of a kernel that holds pointers into a place for as long as an operation on it is under way.
//! Giving a place away before that is the mistake that is planted, in three forms.

use std::panic::{AssertUnwindSafe, catch_unwind};

use penstock_env::Rng;
use penstock_shard::{End, SlotKey, Slots};
use penstock_tests::sim::seed_count;

#[test]
fn the_kernel_never_holds_a_place_that_was_given_away() {
    for seed in 0..seed_count() {
        let outcome = catch_unwind(AssertUnwindSafe(|| run(seed, Mistake::None)));
        assert!(outcome.is_ok(), "seed {seed}");
    }
}

#[test]
fn each_early_reuse_of_a_place_is_found() {
    for mistake in [Mistake::RecvForgotten, Mistake::SendForgotten, Mistake::CloseIsAll] {
        let caught = (0..32).filter(|&seed| catch_unwind(|| run(seed, mistake)).is_err()).count();
        assert_eq!(caught, 32, "{mistake:?}");
    }
}

/// What the model forgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mistake {
    None,
    /// Takes a receive as ended when its cancellation has been asked for.
    RecvForgotten,
    /// Takes a send as done when the stream is dropped with a reset.
    SendForgotten,
    /// Frees the place when the close is done, whatever else is under way.
    CloseIsAll,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Recv,
    Send,
    Connect,
    Close,
    Readable,
    Writable,
}

/// An operation that the kernel works on: it writes to, or reads from, the memory of `owner`.
struct UnderWay {
    op: Op,
    key: SlotKey,
    owner: u64,
    cancelled: bool,
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
        match model.rng.below(14) {
            0 | 1 => model.open(Op::Recv),
            2 => model.open(Op::Connect),
            3 | 4 => model.send(),
            5 | 6 => model.drop_stream(),
            7 => model.linger_ends(),
            8 | 9 => model.ask(),
            _ => model.complete(),
        }
    }
    while let Some(key) = model.open.pop() {
        model.close(key, true);
    }
    for key in model.slots.keys() {
        model.finish_close(key);
    }
    while !model.kernel.is_empty() {
        model.complete();
    }
    assert!(model.slots.is_empty(), "{} places were never given back", model.slots.len());
}

impl Model {
    fn submit(&mut self, op: Op, key: SlotKey) {
        let owner = *self.slots.find(key).expect("operations begin on live sockets").0;
        self.kernel.push(UnderWay { op, key, owner, cancelled: false });
    }

    fn cancel(&mut self, op: Op, key: SlotKey) {
        let mine = self.kernel.iter_mut().filter(|under| under.op == op && under.key == key);
        mine.for_each(|under| under.cancelled = true);
    }

    /// A socket is accepted (it receives at once) or begins to connect.
    fn open(&mut self, op: Op) {
        if self.open.len() >= 8 {
            return;
        }
        self.owners += 1;
        let key = self.slots.insert(self.owners);
        let (_, life) = self.slots.find(key).expect("just inserted");
        match op {
            Op::Connect => life.connecting = true,
            _ => life.receiving = true,
        }
        self.submit(op, key);
        self.open.push(key);
    }

    fn send(&mut self) {
        let Some(key) = self.any_open() else { return };
        let (_, life) = self.slots.find(key).expect("a stream's socket outlives it");
        if !life.sending && !life.connecting {
            life.sending = true;
            self.submit(Op::Send, key);
        }
    }

    /// A conduit asks when a socket is ready.
    fn ask(&mut self) {
        let Some(key) = self.any_open() else { return };
        let (_, life) = self.slots.find(key).expect("a stream's socket outlives it");
        if !life.readable_asked {
            life.readable_asked = true;
            self.submit(Op::Readable, key);
        } else if !life.writable_asked {
            life.writable_asked = true;
            self.submit(Op::Writable, key);
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

    /// As the shard begins the end of a socket.
    fn close(&mut self, key: SlotKey, reset: bool) {
        let (_, life) = self.slots.find(key).expect("a stream's socket outlives it");
        life.end = End::Wanted;
        if reset && self.mistake == Mistake::SendForgotten {
            life.sending = false;
        }
        if !life.sending || reset {
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
        if life.end != End::Wanted {
            return;
        }
        life.end = End::Closing;
        life.cancelling = life.receiving;
        if self.mistake == Mistake::RecvForgotten {
            life.receiving = false;
        }
        for op in [Op::Recv, Op::Send, Op::Connect, Op::Readable, Op::Writable] {
            self.cancel(op, key);
        }
        self.submit(Op::Close, key);
    }

    /// The kernel completes one of the operations, whichever.
    fn complete(&mut self) {
        let Some(count) = u32::try_from(self.kernel.len()).ok().filter(|&count| count > 0) else {
            return;
        };
        let at = self.rng.below(count) as usize;
        let UnderWay { op, key, owner, cancelled } = self.kernel[at];
        let held = self.slots.find(key).map(|(owner, _)| *owner);
        assert_eq!(held, Some(owner), "{op:?} is under way on a place that was given away");
        // A receive that nobody cancelled goes on more often than not.
        let more = op == Op::Recv && !cancelled && self.rng.below(4) > 0;
        if !more {
            self.kernel.swap_remove(at);
            self.on_completion(op, key, cancelled);
        }
    }

    fn on_completion(&mut self, op: Op, key: SlotKey, cancelled: bool) {
        let again = self.rng.below(2) == 0 && !cancelled;
        let (_, life) = self.slots.find(key).expect("looked at just now");
        match op {
            Op::Recv => {
                (life.receiving, life.cancelling) = (false, false);
                if life.end == End::Open && again {
                    life.receiving = true;
                    self.submit(Op::Recv, key);
                }
            }
            Op::Send => {
                life.sending = again && matches!(life.end, End::Open | End::Wanted);
                if life.sending {
                    return self.submit(Op::Send, key);
                }
            }
            Op::Connect => {
                life.connecting = false;
                if life.end == End::Open && again {
                    life.receiving = true;
                    self.submit(Op::Recv, key);
                }
            }
            Op::Readable => life.readable_asked = false,
            Op::Writable => life.writable_asked = false,
            Op::Close => {
                life.end = End::Closed;
                if self.mistake == Mistake::CloseIsAll {
                    (life.receiving, life.sending, life.connecting) = (false, false, false);
                }
            }
        }
        let wanted = self.slots.find(key).is_some_and(|(_, life)| life.end == End::Wanted);
        self.slots.free_if_over(key);
        if op == Op::Send && wanted {
            self.finish_close(key);
        }
    }
}
