//! The table of sockets, and when a place in it may be used again. Pure: no system call.
//!
//! The kernel answers an operation with the number we gave it. A socket that was dropped may
//! still have operations under way: reusing its place early would hand their completions, and
//! the memory they write to, to a stranger. So a place is freed only when receiving has ended,
//! no send or connect is under way and the close is done; and each use of a place has a
//! generation of its own, which a completion must name.

use crate::ahead::prefetch_value;
use crate::life::Life;

/// A socket's place and the generation that makes the name unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SlotKey {
    /// The place in the table.
    pub index: u32,
    /// Which use of the place; 24 bits count.
    pub generation: u32,
}

/// Generations are this many bits wide in a completion's number.
pub const GENERATION_BITS: u32 = 24;

struct Slot<T> {
    generation: u32,
    life: Life,
    value: Option<T>,
}

/// Sockets by place. `T` is whatever the shard keeps for one.
pub struct Slots<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Slots { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slots<T> {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sockets in the table, those on their way out included.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes a place.
    pub fn insert(&mut self, value: T) -> SlotKey {
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                self.slots.push(Slot { generation: 0, life: Life::default(), value: None });
                self.slots.len() as u32 - 1
            }
        };
        let slot = &mut self.slots[index as usize];
        assert!(slot.value.is_none(), "a free place is empty");
        slot.generation = (slot.generation + 1) & ((1 << GENERATION_BITS) - 1);
        slot.life = Life::default();
        slot.value = Some(value);
        SlotKey { index, generation: slot.generation }
    }

    /// The socket of that name, if it is still the same one.
    #[inline]
    pub fn find(&mut self, key: SlotKey) -> Option<(&mut T, &mut Life)> {
        let slot = self.slots.get_mut(key.index as usize)?;
        if slot.generation != key.generation {
            return None;
        }
        slot.value.as_mut().map(|value| (value, &mut slot.life))
    }

    /// Asks the cache for a place that [`Slots::find`] will look at.
    #[inline]
    pub(crate) fn prefetch(&self, key: SlotKey) {
        if let Some(slot) = self.slots.get(key.index as usize) {
            prefetch_value(slot);
        }
    }

    /// Gives the place back if the kernel is done with it; the value when it was.
    ///
    /// # Panics
    /// When the name is not that of a live socket.
    pub fn free_if_over(&mut self, key: SlotKey) -> Option<T> {
        let slot = &mut self.slots[key.index as usize];
        assert_eq!(slot.generation, key.generation, "only its own name frees a place");
        if !slot.life.is_over() {
            return None;
        }
        let value = slot.value.take();
        assert!(value.is_some(), "a place is freed once");
        self.free.push(key.index);
        value
    }

    /// The names of all sockets.
    pub fn keys(&self) -> Vec<SlotKey> {
        let live = self.slots.iter().enumerate().filter(|(_, slot)| slot.value.is_some());
        live.map(|(index, slot)| SlotKey { index: index as u32, generation: slot.generation })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Slots;
    use crate::op::Op;

    #[test]
    fn a_place_is_free_only_when_the_kernel_holds_nothing_of_it() {
        for &busy in Op::ALL {
            let mut slots = Slots::new();
            let key = slots.insert("socket");
            let (_, life) = slots.find(key).expect("just inserted");
            life.begin(busy);
            life.closed();
            assert_eq!(slots.free_if_over(key), None, "{busy:?}");
            slots.find(key).expect("not freed").1.done(busy);
            assert_eq!(slots.free_if_over(key), Some("socket"), "{busy:?}");
        }
    }

    #[test]
    fn a_late_completion_never_finds_the_next_user_of_the_place() {
        let mut slots = Slots::new();
        let first = slots.insert(1);
        slots.find(first).expect("live").1.closed();
        assert_eq!(slots.free_if_over(first), Some(1));
        let second = slots.insert(2);
        assert_eq!(first.index, second.index);
        assert!(slots.find(first).is_none());
        assert_eq!(slots.find(second).map(|(value, _)| *value), Some(2));
    }
}
