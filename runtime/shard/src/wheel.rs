//! A hashed timer wheel with a coarse tick. Pure: it is told the time and says who is due.
//!
//! Moving a deadline later is a store: the entry stays where it is, and when its place comes up
//! it is put where it belongs. Only a deadline that moves *before* its place costs an insertion.
//! A far deadline is put early and on a coarse mark, so that thousands of idle connections share
//! a few wake-ups; the mark only sends the entry on, it never fires early.

use std::task::Waker;
use std::time::Duration;

use penstock_env::Time;

use crate::slots::SlotKey;

/// The resolution: a timer fires at most this long after its deadline.
pub const TICK: Duration = Duration::from_millis(10);

const TICK_NS: u64 = TICK.as_nanos() as u64;
/// 1,024 ticks: a horizon of 10.24 s; what lies beyond is sent on when its mark comes.
const PLACES: usize = 1024;
const NOWHERE: u64 = u64::MAX;

/// A timer's name within its wheel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerIndex(u32);

/// What happens when a timer is due.
#[derive(Debug)]
pub enum Due {
    /// Wake the task that waits on it.
    Task(Waker),
    /// Bring back a parked socket.
    Parked(SlotKey),
}

struct Entry {
    deadline: Time,
    /// The tick it stands at, or `NOWHERE`.
    tick: u64,
    used: Use,
}

/// What a timer is for.
enum Use {
    /// Nothing: its place is free.
    Free,
    /// A task, if one waits on it.
    Task(Option<Waker>),
    /// A parked socket.
    Parked(SlotKey),
}

/// The timers of one shard.
pub struct Wheel {
    entries: Vec<Entry>,
    free: Vec<u32>,
    places: Vec<Vec<u32>>,
    occupied: [u64; PLACES / 64],
    /// The next tick to look at: all before it have been handled.
    cursor: u64,
    live: usize,
}

impl Default for Wheel {
    fn default() -> Self {
        Self::new()
    }
}

impl Wheel {
    /// An empty wheel.
    pub fn new() -> Self {
        Wheel {
            entries: Vec::new(),
            free: Vec::new(),
            places: (0..PLACES).map(|_| Vec::new()).collect(),
            occupied: [0; PLACES / 64],
            cursor: 0,
            live: 0,
        }
    }

    /// Timers in existence, set or not.
    pub fn live(&self) -> usize {
        self.live
    }

    /// A timer that is not set; `parked` names the socket it brings back when it is due.
    pub fn insert(&mut self, parked: Option<SlotKey>) -> TimerIndex {
        let used = parked.map_or(Use::Task(None), Use::Parked);
        let entry = Entry { deadline: Time::NEVER, tick: NOWHERE, used };
        self.live += 1;
        match self.free.pop() {
            Some(index) => {
                self.entries[index as usize] = entry;
                TimerIndex(index)
            }
            None => {
                self.entries.push(entry);
                TimerIndex(self.entries.len() as u32 - 1)
            }
        }
    }

    /// Takes a timer away.
    pub fn remove(&mut self, timer: TimerIndex) {
        let entry = &mut self.entries[timer.0 as usize];
        assert!(!matches!(entry.used, Use::Free), "a timer is removed once");
        entry.used = Use::Free;
        let tick = std::mem::replace(&mut entry.tick, NOWHERE);
        self.live -= 1;
        if tick != NOWHERE {
            self.unplace(timer.0, tick);
        }
        self.free.push(timer.0);
    }

    /// Moves a deadline.
    #[inline]
    pub fn set(&mut self, timer: TimerIndex, at: Time) {
        let entry = &mut self.entries[timer.0 as usize];
        entry.deadline = at;
        if at != Time::NEVER && tick_of(at) < entry.tick {
            let tick = entry.tick;
            if tick != NOWHERE {
                self.unplace(timer.0, tick);
            }
            self.place(timer.0);
        }
    }

    /// Whether the deadline is reached.
    #[inline]
    pub fn is_due(&self, timer: TimerIndex, now: Time) -> bool {
        self.entries[timer.0 as usize].deadline <= now
    }

    /// Who to wake when it is.
    #[inline]
    pub fn wait(&mut self, timer: TimerIndex, waker: &Waker) {
        let entry = &mut self.entries[timer.0 as usize];
        match &entry.used {
            Use::Task(Some(known)) if known.will_wake(waker) => {}
            _ => entry.used = Use::Task(Some(waker.clone())),
        }
    }

    /// Takes whoever waits on a timer, for the end.
    pub fn take_waiting(&mut self) -> Vec<Waker> {
        let waiting = self.entries.iter_mut().filter_map(|entry| match &mut entry.used {
            Use::Task(waker) => waker.take(),
            Use::Free | Use::Parked(_) => None,
        });
        waiting.collect()
    }

    /// When to look again at the latest; `None` while nothing is set.
    pub fn next(&self) -> Option<Time> {
        let start = (self.cursor % PLACES as u64) as usize;
        for step in 0..=PLACES / 64 {
            let word = (start / 64 + step) % (PLACES / 64);
            let mut bits = self.occupied[word];
            if step == 0 {
                bits &= u64::MAX << (start % 64);
            } else if step == PLACES / 64 {
                bits &= !(u64::MAX << (start % 64));
            }
            if bits != 0 {
                let place = word * 64 + bits.trailing_zeros() as usize;
                let ahead = (place + PLACES - start) % PLACES;
                return Some(Time::from_ns((self.cursor + ahead as u64) * TICK_NS));
            }
        }
        None
    }

    /// Handles everything up to `now`: tells `due` of each timer that fires. A fired timer is
    /// unset in the wheel but keeps its deadline, so that [`Wheel::is_due`] stays true.
    pub fn advance(&mut self, now: Time, mut due: impl FnMut(Due)) {
        let last = now.as_ns() / TICK_NS;
        while self.cursor <= last {
            match self.next() {
                Some(at) if at.as_ns() / TICK_NS <= last => self.cursor = at.as_ns() / TICK_NS,
                _ => {
                    self.cursor = last + 1;
                    return;
                }
            }
            let place = (self.cursor % PLACES as u64) as usize;
            let waiting = std::mem::take(&mut self.places[place]);
            self.occupied[place / 64] &= !(1 << (place % 64));
            self.cursor += 1;
            for index in waiting {
                let entry = &mut self.entries[index as usize];
                entry.tick = NOWHERE;
                if entry.deadline > now {
                    if entry.deadline != Time::NEVER {
                        self.place(index);
                    }
                } else if let Use::Parked(key) = entry.used {
                    due(Due::Parked(key));
                } else if let Use::Task(Some(waker)) =
                    std::mem::replace(&mut entry.used, Use::Task(None))
                {
                    due(Due::Task(waker));
                }
            }
        }
    }

    fn place(&mut self, index: u32) {
        let entry = &mut self.entries[index as usize];
        let exact = tick_of(entry.deadline).max(self.cursor);
        let ahead = exact - self.cursor;
        let tick = if ahead < 32 {
            exact
        } else {
            // A mark within the last sixteenth before the deadline, and within the horizon.
            let reach = ahead.min(PLACES as u64 - 1);
            let grain = 1_u64 << (reach / 16).ilog2();
            (self.cursor + reach) / grain * grain
        };
        entry.tick = tick;
        let place = (tick % PLACES as u64) as usize;
        self.places[place].push(index);
        self.occupied[place / 64] |= 1 << (place % 64);
    }

    fn unplace(&mut self, index: u32, tick: u64) {
        let place = (tick % PLACES as u64) as usize;
        let list = &mut self.places[place];
        if let Some(at) = list.iter().position(|&other| other == index) {
            list.swap_remove(at);
        }
        if list.is_empty() {
            self.occupied[place / 64] &= !(1 << (place % 64));
        }
    }
}

/// The first tick at or after `at`.
#[inline]
fn tick_of(at: Time) -> u64 {
    at.as_ns().div_ceil(TICK_NS)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::{Wake, Waker};

    use penstock_env::{Rng, Time};

    use super::{Due, TICK_NS, Wheel};

    #[derive(Default)]
    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn run(wheel: &mut Wheel, now: Time) {
        wheel.advance(now, |due| match due {
            Due::Task(waker) => waker.wake(),
            Due::Parked(_) => {}
        });
    }

    #[test]
    fn a_timer_fires_once_within_a_tick_of_its_deadline_wherever_it_lies() {
        for ms in [0, 1, 9, 10, 11, 250, 3_000, 10_239, 10_241, 75_000, 3_600_000] {
            let (mut wheel, count) = (Wheel::new(), Arc::new(Count::default()));
            let waker = Waker::from(count.clone());
            run(&mut wheel, Time::from_ns(123_456_789));
            let timer = wheel.insert(None);
            let at = Time::from_ns(123_456_789 + ms * 1_000_000);
            wheel.set(timer, at);
            wheel.wait(timer, &waker);
            let (mut wakeups, mut now) = (0, Time::default());
            while count.0.load(Ordering::Relaxed) == 0 {
                now = wheel.next().expect("a set timer is somewhere");
                wakeups += 1;
                run(&mut wheel, now);
            }
            assert!(now >= at && now.as_ns() - at.as_ns() <= TICK_NS + 10_000_000, "{ms} ms");
            assert!(wheel.is_due(timer, now));
            assert!(wakeups < 400, "{ms} ms took {wakeups} wake-ups");
            assert_eq!(wheel.next(), None);
        }
    }

    #[test]
    fn moving_a_deadline_away_and_back_keeps_one_entry() {
        let (mut wheel, count) = (Wheel::new(), Arc::new(Count::default()));
        let waker = Waker::from(count.clone());
        let timer = wheel.insert(None);
        let mut rng = Rng::new(3);
        let mut last = Time::default();
        for round in 1..20_000_u64 {
            last = Time::from_ns((round + u64::from(rng.below(50_000)) + 1) * 1_000_000);
            wheel.set(timer, last);
            wheel.wait(timer, &waker);
            run(&mut wheel, Time::from_ns(round * 1_000_000));
        }
        let placed: usize = wheel.places.iter().map(Vec::len).sum();
        assert!(placed <= 1, "{placed}");
        wheel.set(timer, last);
        wheel.wait(timer, &waker);
        let before = count.0.load(Ordering::Relaxed);
        run(&mut wheel, Time::from_ns(100_000_000_000));
        assert_eq!(count.0.load(Ordering::Relaxed), before + 1);
        wheel.remove(timer);
        assert_eq!((wheel.live(), wheel.next()), (0, None));
    }
}
