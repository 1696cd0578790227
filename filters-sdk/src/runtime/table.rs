//! A table from context ids to what is open under them.
//!
//! Ids are given out by the host, one after the other, so there is nothing to defend against and no
//! hash to compute: the low bits are the place. Open addressing with backward-shift deletion.

/// Entries by id.
pub(crate) struct Table<T> {
    places: Vec<Option<(u32, T)>>,
    count: usize,
}

impl<T> Table<T> {
    pub(crate) const fn new() -> Self {
        Self { places: Vec::new(), count: 0 }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// The entry of `id`.
    pub(crate) fn find(&mut self, id: u32) -> Option<&mut T> {
        let place = self.place_of(id)?;
        self.places[place].as_mut().map(|(_, entry)| entry)
    }

    /// Puts `entry` under `id`, over what was there.
    pub(crate) fn insert(&mut self, id: u32, entry: T) -> &mut T {
        // At most 3/4 full: probes stay short and a free place always ends them.
        if (self.count + 1) * 4 > self.places.len() * 3 {
            self.grow();
        }
        let mask = self.places.len() - 1;
        let mut place = id as usize & mask;
        while self.places[place].as_ref().is_some_and(|(other, _)| *other != id) {
            place = (place + 1) & mask;
        }
        self.count += usize::from(self.places[place].is_none());
        &mut self.places[place].insert((id, entry)).1
    }

    /// Takes the entry of `id` out.
    pub(crate) fn remove(&mut self, id: u32) -> Option<T> {
        let mut hole = self.place_of(id)?;
        let (_, entry) = self.places[hole].take()?;
        self.count -= 1;
        // Close the gap: whoever was pushed past the hole by a collision moves back into it.
        let mask = self.places.len() - 1;
        let mut place = (hole + 1) & mask;
        while let Some((other, _)) = &self.places[place] {
            let home = *other as usize & mask;
            let from_home = place.wrapping_sub(home) & mask;
            let from_hole = place.wrapping_sub(hole) & mask;
            if from_home >= from_hole {
                self.places.swap(hole, place);
                hole = place;
            }
            place = (place + 1) & mask;
        }
        Some(entry)
    }

    /// Whether `is` says so of some entry.
    pub(crate) fn any(&self, mut is: impl FnMut(&T) -> bool) -> bool {
        self.places.iter().flatten().any(|(_, entry)| is(entry))
    }

    /// Drops every entry that `keep` refuses.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        let doomed: Vec<u32> = self
            .places
            .iter()
            .flatten()
            .filter(|(_, entry)| !keep(entry))
            .map(|(id, _)| *id)
            .collect();
        for id in doomed {
            self.remove(id);
        }
    }

    fn place_of(&self, id: u32) -> Option<usize> {
        let mask = self.places.len().checked_sub(1)?;
        let mut place = id as usize & mask;
        while let Some((other, _)) = &self.places[place] {
            if *other == id {
                return Some(place);
            }
            place = (place + 1) & mask;
        }
        None
    }

    fn grow(&mut self) {
        let places = (self.places.len() * 2).max(16);
        let old = core::mem::replace(&mut self.places, (0..places).map(|_| None).collect());
        self.count = 0;
        for (id, entry) in old.into_iter().flatten() {
            self.insert(id, entry);
        }
    }
}
