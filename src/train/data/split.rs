//! Some of the rows are kept from training, to judge it by.

use std::collections::HashSet;

use super::random::mix;

/// The row's place between 0 and 1.
fn place(key: u64, seed: u64) -> u64 {
    mix(key ^ mix(seed))
}

/// Splits items by the keys of their content; see [`Items::split`](super::Items::split).
pub(super) fn split<T>(items: Vec<T>, key: impl Fn(&T) -> u64, fraction: f64, seed: u64) -> (Vec<T>, Vec<T>) {
    let keys: HashSet<u64> = items.iter().map(&key).collect();
    let bound = (fraction.clamp(0.0, 1.0) * u64::MAX as f64) as u64;
    let mut chosen: HashSet<u64> = HashSet::new();
    if fraction > 0.0 {
        chosen = keys.iter().copied().filter(|&key| place(key, seed) <= bound).collect();
        let by_place = |key: &&u64| (place(**key, seed), **key);
        let (lowest, highest) = (keys.iter().min_by_key(by_place), keys.iter().max_by_key(by_place));
        if let (Some(lowest), Some(highest), true) = (lowest, highest, keys.len() > 1) {
            chosen.insert(*lowest);
            if chosen.len() == keys.len() {
                chosen.remove(highest);
            }
        } else {
            chosen.clear();
        }
    }
    let (held_out, kept) = items.into_iter().partition(|item| chosen.contains(&key(item)));
    (kept, held_out)
}
