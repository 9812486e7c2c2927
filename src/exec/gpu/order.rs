//! The order in which the ways to run a call are tried: as the shaders' headers have it, and as it was measured.

use super::candidates::Candidate;
use super::id::CandidateId;
use crate::plan::Step;

/// A way takes the place of the one that would run without measuring if it takes so many percent less time.
const LESS: u64 = 5;
/// The time of a way that took the device away.
pub const LOST: u64 = u64::MAX;

/// When a variant may run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct When {
    /// With at most so many active rows; `None`: with any number.
    pub most: Option<usize>,
    /// If all token rows are of one slot.
    pub one_slot: bool,
}

impl When {
    /// In every step.
    pub const ALWAYS: Self = Self { most: None, one_slot: false };

    /// When a candidate may, in a plan with so many active rows at most.
    pub fn of(candidate: &Candidate, capacity: usize) -> Self {
        let most = candidate.rows.map(|rows| rows as usize).filter(|rows| *rows < capacity);
        Self { most, one_slot: candidate.one_slot }
    }

    /// Whether it may run in a step with so many active rows.
    pub fn holds(self, active: usize, step: &Step) -> bool {
        self.reaches(active) && (!self.one_slot || step.rows.windows(2).all(|w| w[0].slot == w[1].slot))
    }

    /// Whether it may run with so many active rows, if they are of one slot.
    pub fn reaches(self, rows: usize) -> bool {
        self.most.is_none_or(|most| rows <= most)
    }
}

/// A candidate, and when it may run.
pub type Way = (CandidateId, When);

/// How long the ways to run a kind of call take with one number of active rows.
#[derive(Clone, PartialEq, Debug)]
pub struct Timing {
    /// Active rows.
    pub rows: usize,
    /// Nanoseconds of each way: first the one that runs without measuring.
    pub ways: Vec<(CandidateId, u64)>,
}

impl Timing {
    /// The ways, best first: one stands before those that take longer by more than noise.
    pub fn order(&self) -> Vec<(CandidateId, u64)> {
        let mut order: Vec<(CandidateId, u64)> = Vec::new();
        for (id, time) in &self.ways {
            let faster = |other: &(CandidateId, u64)| {
                u128::from(*time) * 100 < u128::from(other.1) * u128::from(100 - LESS)
            };
            let at = order.iter().position(faster).unwrap_or(order.len());
            order.insert(at, (*id, *time));
        }
        order
    }
}

/// The ways to run a call, best first, as they were measured; the last may always run. `default`: as the headers have them;
/// `all`: those that suit the call at all.
pub fn arranged(default: &[Way], all: &[Way], capacity: usize, timings: &[Timing]) -> Vec<Way> {
    let mut list: Vec<Way> = Vec::new();
    let mut below = 0;
    for timing in timings {
        // What is for fewer rows was not measured here, and stays.
        list.extend(
            default
                .iter()
                .filter(|(_, when)| when.most.is_some_and(|most| (below + 1..timing.rows).contains(&most))),
        );
        for (id, _) in timing.order() {
            let way = all.iter().find(|(own, when)| *own == id && when.reaches(timing.rows));
            let Some((_, when)) = way else { continue };
            // With more rows than were measured another one may be better.
            let most = if timing.rows < capacity { Some(timing.rows) } else { when.most };
            list.push((id, When { most, ..*when }));
            if !when.one_slot {
                break;
            }
        }
        below = below.max(timing.rows);
    }
    list.extend(default.iter().filter(|(_, when)| when.most.is_none_or(|most| most > below)));
    let last = list.iter().position(|(_, when)| *when == When::ALWAYS).map_or(list.len(), |at| at + 1);
    list.truncate(last);
    // One that goes on with more rows is one way.
    let again = |at: &usize| {
        let (id, when) = list[*at];
        let same = |(other, on): &Way| *other == id && on.one_slot == when.one_slot;
        !list.get(at + 1).is_some_and(same)
    };
    (0..list.len()).filter(again).map(|at| list[at]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(candidate: usize) -> CandidateId {
        CandidateId { kernel: 0, candidate }
    }

    fn up_to(most: usize) -> When {
        When { most: Some(most), one_slot: false }
    }

    fn timing(rows: usize, ways: &[(usize, u64)]) -> Timing {
        Timing { rows, ways: ways.iter().map(|(way, time)| (id(*way), *time)).collect() }
    }

    const ONE_SLOT: When = When { most: None, one_slot: true };

    #[test]
    fn what_is_not_clearly_faster_does_not_replace_the_default() {
        let first = |ways: &[(usize, u64)]| timing(1, ways).order()[0].0.candidate;
        assert_eq!(first(&[(0, 1000), (1, 951), (2, 2000)]), 0, "noise");
        assert_eq!(first(&[(0, 1000), (1, 949), (2, 2000)]), 1);
        assert_eq!(first(&[(0, 1000), (1, 940), (2, 700)]), 2);
        assert_eq!(first(&[(0, 1000), (1, LOST)]), 0);
        assert_eq!(first(&[(0, LOST), (1, LOST)]), 0);
    }

    #[test]
    fn each_number_of_rows_has_its_way() {
        let (default, all) = ([(id(0), When::ALWAYS)], [(id(0), When::ALWAYS), (id(1), When::ALWAYS)]);
        let of = |timings: &[Timing]| arranged(&default, &all, 8, timings);
        let (slow, fast) = ([(0, 100), (1, 300)], [(0, 100), (1, 30)]);
        assert_eq!(of(&[]), default);
        assert_eq!(of(&[timing(1, &slow), timing(8, &slow)]), default);
        assert_eq!(of(&[timing(1, &fast), timing(8, &fast)]), [(id(1), When::ALWAYS)]);
        assert_eq!(of(&[timing(1, &fast), timing(8, &slow)]), [(id(1), up_to(1)), (id(0), When::ALWAYS)]);
        assert_eq!(of(&[timing(1, &slow), timing(8, &fast)]), [(id(0), up_to(1)), (id(1), When::ALWAYS)]);
        // Nothing is known of all rows.
        assert_eq!(of(&[timing(1, &fast)]), [(id(1), up_to(1)), (id(0), When::ALWAYS)]);
    }

    #[test]
    fn conditions_still_hold() {
        // As in the header of the linear layer: one row, up to eight, any number; a tile of one slot is measured with all.
        let default = [(id(0), up_to(1)), (id(1), up_to(8)), (id(2), When::ALWAYS)];
        let mut all = default.to_vec();
        all.push((id(3), ONE_SLOT));
        let of = |ways: &[(usize, u64)]| arranged(&default, &all, 256, &[timing(256, ways)]);
        let few = [(id(0), up_to(1)), (id(1), up_to(8))];
        assert_eq!(of(&[(2, 100), (3, 100)]), default);
        let tile_first = [&few[..], &[(id(3), ONE_SLOT), (id(2), When::ALWAYS)]].concat();
        assert_eq!(of(&[(2, 100), (3, 50)]), tile_first, "the last can always run");
        // What cannot run with so many rows, or does not suit at all, is passed over.
        assert_eq!(of(&[(2, 100), (0, 1), (7, 1)]), default);
        let default = [(id(3), ONE_SLOT), (id(2), When::ALWAYS)];
        let all = [(id(2), When::ALWAYS), (id(3), ONE_SLOT), (id(4), When::ALWAYS)];
        let of = |ways: &[(usize, u64)]| arranged(&default, &all, 256, &[timing(256, ways)]);
        assert_eq!(
            of(&[(3, 100), (2, 200), (4, 199)]),
            default,
            "noise behind the first does not count either"
        );
        assert_eq!(of(&[(3, 100), (2, 200), (4, 150)]), [(id(3), ONE_SLOT), (id(4), When::ALWAYS)]);
        assert_eq!(of(&[(3, 100), (2, 200), (4, 50)]), [(id(4), When::ALWAYS)]);
    }
}
