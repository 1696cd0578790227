//! The handshakes of one shard that are under way: so many at a time, and who stands still in one
//! keeps nobody out.
//!
//! Where there is no place left, the source with the most gives up its oldest for one that has
//! fewer; where no source has more than others, the oldest that waits for its peer goes. Never one
//! that waits for us: where a shard has more to do than it can, that would end the handshakes that
//! are next to succeed.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use penstock_env::Time;

use crate::bell::Bell;
use crate::capacity::who_has;

/// A peer that has not answered for so long stands still: most round trips, one of them lost.
const STANDS_STILL: Duration = Duration::from_secs(1);
/// Of the oldest, how many are asked whether they stand still.
const ASKED_MAX: usize = 32;

/// Whose handshake it is; nobody's that comes from this machine by a socket's path.
type Source = Option<IpAddr>;

/// Those of one shard.
#[derive(Default)]
pub(crate) struct Handshakes(RefCell<Places>);

/// Three views of one set: all in order of age, each source's, and sources by how many they have.
#[derive(Default)]
struct Places {
    all: BTreeMap<u64, Rc<Token>>,
    by_source: BTreeMap<Source, BTreeSet<u64>>,
    by_count: BTreeSet<(usize, Source)>,
    next_id: u64,
}

/// What a handshake hears by that it has lost its place.
struct Token {
    source: Source,
    lost: Cell<bool>,
    /// Since when it waits for its peer, if it does.
    waits_since: Cell<Time>,
    bell: Bell,
}

impl Handshakes {
    /// A place for a handshake with `peer`, of which there are `max`: a free one, or that of one
    /// which has to give way.
    pub(crate) fn begin(
        self: &Rc<Self>,
        peer: Option<IpAddr>,
        max: u32,
        now: Time,
    ) -> Option<Place> {
        let (source, mut places) = (peer.map(who_has), self.0.borrow_mut());
        if places.all.len() >= max as usize {
            let id = places.who_has_most(source).or_else(|| places.who_stands_still(now))?;
            let token = places.remove(id).expect("it is there");
            token.lost.set(true);
            token.bell.ring();
        }
        let token = Rc::new(Token {
            source,
            lost: Cell::new(false),
            waits_since: Cell::new(Time::NEVER),
            bell: Bell::default(),
        });
        let id = places.add(&token);
        Some(Place { all: Rc::clone(self), id, token })
    }
}

impl Places {
    /// The oldest of the source that has the most, if that leaves it no fewer than `source` has
    /// then.
    fn who_has_most(&self, source: Source) -> Option<u64> {
        let own = self.by_source.get(&source).map_or(0, BTreeSet::len);
        let (count, most) = self.by_count.last()?;
        let oldest = || self.by_source.get(most)?.first().copied();
        if *count >= own + 2 { oldest() } else { None }
    }

    /// The oldest that has waited for its peer for longer than that should take.
    fn who_stands_still(&self, now: Time) -> Option<u64> {
        let is_still =
            |(_, token): &(&u64, &Rc<Token>)| token.waits_since.get() + STANDS_STILL <= now;
        self.all.iter().take(ASKED_MAX).find(is_still).map(|(id, _)| *id)
    }

    fn add(&mut self, token: &Rc<Token>) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.all.insert(id, Rc::clone(token));
        self.change(token.source, |ids| ids.insert(id));
        id
    }

    fn remove(&mut self, id: u64) -> Option<Rc<Token>> {
        let token = self.all.remove(&id)?;
        self.change(token.source, |ids| ids.remove(&id));
        Some(token)
    }

    fn change(&mut self, source: Source, change: impl FnOnce(&mut BTreeSet<u64>) -> bool) {
        let ids = self.by_source.entry(source).or_default();
        let before = ids.len();
        assert!(change(ids), "each place is taken once, and given back once");
        let after = ids.len();
        self.by_count.remove(&(before, source));
        match after {
            0 => drop(self.by_source.remove(&source)),
            _ => drop(self.by_count.insert((after, source))),
        }
    }
}

/// A handshake's place, until it is dropped.
pub(crate) struct Place {
    all: Rc<Handshakes>,
    id: u64,
    token: Rc<Token>,
}

impl Place {
    /// Does `work` as long as it has its place; `None` once it lost that.
    pub(crate) async fn hold<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        poll_fn(|context| {
            if self.token.lost.get() {
                return Poll::Ready(None);
            }
            self.token.bell.listen(context.waker());
            work.as_mut().poll(context).map(Some)
        })
        .await
    }

    /// It waits for its peer from now on.
    pub(crate) fn waits(&self, now: Time) {
        self.token.waits_since.set(now);
    }

    /// It does not, from now on.
    pub(crate) fn goes_on(&self) {
        self.token.waits_since.set(Time::NEVER);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let removed = self.all.0.borrow_mut().remove(self.id);
        assert_eq!(removed.is_none(), self.token.lost.get(), "a place is lost or given back");
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;
    use std::net::IpAddr;
    use std::pin::pin;
    use std::rc::Rc;
    use std::task::{Context, Poll, Waker};

    use penstock_env::Time;

    use super::{Handshakes, Place, STANDS_STILL};

    const NOW: Time = Time::from_ns(7);

    fn of(text: &str) -> Option<IpAddr> {
        Some(text.parse().expect("an address"))
    }

    fn is_lost(place: &Place) -> bool {
        let held = pin!(place.hold(ready(())));
        held.poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(None)
    }

    #[track_caller]
    fn check_is_empty(all: &Handshakes) {
        let places = all.0.borrow();
        assert!(places.all.is_empty() && places.by_source.is_empty() && places.by_count.is_empty());
    }

    #[test]
    fn a_source_that_has_many_makes_room_for_one_that_has_few() {
        let all = Rc::new(Handshakes::default());
        let busy: Vec<_> = (0..4).map_while(|_| all.begin(of("10.0.0.1"), 4, NOW)).collect();
        assert_eq!(busy.len(), 4);
        // Not for itself, nor for one that is no other.
        assert!(all.begin(of("::ffff:10.0.0.1"), 4, NOW).is_none());
        let one = all.begin(of("10.0.0.2"), 4, NOW).expect("a place");
        let two = all.begin(of("10.0.0.2"), 4, NOW).expect("a place");
        assert_eq!(busy.iter().map(is_lost).collect::<Vec<_>>(), [true, true, false, false]);
        // Two and two: nobody has more than it would take.
        assert!(all.begin(of("10.0.0.2"), 4, NOW).is_none());
        let three = all.begin(of("2001:db8::1"), 4, NOW);
        assert!(three.is_some() && all.begin(of("2001:db8::2"), 4, NOW).is_none());
        drop((busy, one, two, three));
        check_is_empty(&all);
    }

    #[test]
    fn where_each_source_has_one_the_oldest_that_stands_still_goes() {
        let all = Rc::new(Handshakes::default());
        let begin = |host: u32, now| all.begin(of(&format!("10.0.0.{host}")), 3, now);
        let places: Vec<_> = (1..=3).map_while(|host| begin(host, NOW)).collect();
        places[1].waits(NOW);
        places[2].waits(NOW);
        assert!(begin(9, NOW).is_none());
        let later = NOW + STANDS_STILL;
        // Who waits for us, or was heard of, stays.
        places[1].goes_on();
        let last = begin(9, later).expect("a place");
        assert_eq!(places.iter().map(is_lost).collect::<Vec<_>>(), [false, false, true]);
        assert!(begin(10, later + STANDS_STILL).is_none());
        drop((places, last));
        check_is_empty(&all);
    }
}
