//! Finding an entry by name in constant time, without a second copy of the names.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

/// A hash table of positions into a list that owns the names (linear probing, at most three quarters full).
/// The standard map would need its own copy of every name, which a hostile file could make dear. The hash is
/// keyed at random, so that a file cannot choose names that collide.
#[derive(Debug, Clone, Default)]
pub(super) struct NameIndex {
    slots: Vec<u32>,
    used: usize,
    hasher: RandomState,
}

const EMPTY: u32 = u32::MAX;

impl NameIndex {
    /// An index with room for `count` names.
    pub fn with_room(count: usize) -> Self {
        // A count that does not fit in memory starts small: the caller runs out of names before room.
        let slots = usize::try_from(slots_for(count)).unwrap_or(0);
        NameIndex { slots: vec![EMPTY; slots], used: 0, hasher: RandomState::new() }
    }

    /// Bytes of memory that [`NameIndex::with_room`] takes.
    pub fn bytes_for(count: usize) -> u64 {
        slots_for(count).saturating_mul(size_of::<u32>() as u64)
    }

    /// The position of `name`; `name_at` gives the name at a position.
    pub fn find<'a>(&self, name: &str, name_at: impl Fn(usize) -> &'a str) -> Option<usize> {
        self.probe(name, &name_at).ok()
    }

    /// Notes that `name` is at `position`. Gives back `false`, and changes nothing, if the name is there already.
    pub fn insert<'a>(&mut self, name: &str, position: u32, name_at: impl Fn(usize) -> &'a str) -> bool {
        if self.used + 1 > self.slots.len() / 4 * 3 {
            self.grow(&name_at);
        }
        match self.probe(name, &name_at) {
            Err(Some(slot)) => {
                self.slots[slot] = position;
                self.used += 1;
                true
            }
            _ => false,
        }
    }

    /// The position of the name, or the empty slot where it belongs (none in a table without slots).
    fn probe<'a>(&self, name: &str, name_at: &impl Fn(usize) -> &'a str) -> Result<usize, Option<usize>> {
        if self.slots.is_empty() {
            return Err(None);
        }
        let mask = self.slots.len() - 1;
        let mut slot = self.hasher.hash_one(name) as usize & mask;
        loop {
            match self.slots[slot] {
                EMPTY => return Err(Some(slot)),
                position if name_at(position as usize) == name => return Ok(position as usize),
                _ => slot = (slot + 1) & mask,
            }
        }
    }

    /// Doubles the table.
    fn grow<'a>(&mut self, name_at: &impl Fn(usize) -> &'a str) {
        let bigger = vec![EMPTY; (self.slots.len() * 2).max(8)];
        for position in std::mem::replace(&mut self.slots, bigger) {
            if position == EMPTY {
                continue;
            }
            if let Err(Some(slot)) = self.probe(name_at(position as usize), name_at) {
                self.slots[slot] = position;
            }
        }
    }
}

/// The power of two of slots that keeps `count` names within three quarters of the table.
fn slots_for(count: usize) -> u64 {
    let count = count as u64;
    if count == 0 {
        0
    } else {
        count.saturating_add(count.div_ceil(3)).max(4).checked_next_power_of_two().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_put_in_with_and_without_room() {
        let names: Vec<String> = (0..1000).map(|i| format!("blk.{i}.weight")).collect();
        for room in [0, 1, 999, 1000, 5000] {
            let mut index = NameIndex::with_room(room);
            assert_eq!(index.slots.len() as u64 * 4, NameIndex::bytes_for(room));
            let before = index.slots.len();
            for (i, name) in names.iter().enumerate() {
                assert!(index.insert(name, i as u32, |j| &names[j]));
                assert!(!index.insert(name, 7, |j| &names[j]));
            }
            assert!(room < names.len() || index.slots.len() == before, "it grew although it had room");
            assert!(index.slots.len() / 4 * 3 >= names.len());
            for (i, name) in names.iter().enumerate() {
                assert_eq!(index.find(name, |j| &names[j]), Some(i));
            }
            assert_eq!(index.find("absent", |j| &names[j]), None);
        }
        assert_eq!(NameIndex::default().find("x", |_| ""), None);
    }
}
