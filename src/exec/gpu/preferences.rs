//! What was measured on a device: how long the ways to run each kind of call take there.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::id::Named;
use super::kind::Kind;
use super::order::{LOST, Timing};

/// Timings by kind of call, each with the numbers of rows from the fewest on.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Preferences(pub BTreeMap<Kind, Vec<Timing>>);

impl Preferences {
    /// Those of a kind of call; none if it was not measured.
    pub fn of(&self, kind: &Kind) -> &[Timing] {
        self.0.get(kind).map_or(&[], Vec::as_slice)
    }

    /// One kind a line, fields separated by tabs: the kind, then for each number of rows the nanoseconds of each way,
    /// `8 linear.base.q4_1#3=12345 linear.base.q4_1#7=9876`, where that of one that took the device away is `lost`.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (kind, timings) in &self.0 {
            text += kind.text();
            for timing in timings {
                let _ = write!(text, "\t{}", timing.rows);
                for (id, time) in &timing.ways {
                    let time = if *time == LOST { "lost".to_owned() } else { time.to_string() };
                    let _ = write!(text, " {}={time}", id.word());
                }
            }
            text.push('\n');
        }
        text
    }

    /// Reads its text; `None` if a line is none.
    pub fn parse(text: &str) -> Option<Self> {
        let named = Named::all();
        text.lines().map(|text| line(&named, text)).collect::<Option<_>>().map(Self)
    }
}

fn line(named: &Named, text: &str) -> Option<(Kind, Vec<Timing>)> {
    let (kind, timings) = text.split_once('\t')?;
    let timings: Vec<Timing> = timings.split('\t').map(|text| timing(named, text)).collect::<Option<_>>()?;
    let rising = timings.windows(2).all(|pair| pair[0].rows < pair[1].rows);
    rising.then_some((Kind::parse(kind)?, timings))
}

fn timing(named: &Named, text: &str) -> Option<Timing> {
    let mut words = text.split(' ');
    let rows = words.next()?.parse().ok().filter(|rows| *rows > 0)?;
    let way = |word: &str| {
        let (id, time) = word.rsplit_once('=')?;
        let time = if time == "lost" { LOST } else { time.parse().ok()? };
        Some((named.find(id)?, time))
    };
    let ways: Vec<_> = words.map(way).collect::<Option<_>>()?;
    (!ways.is_empty()).then_some(Timing { rows, ways })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::gpu::id::CandidateId;

    #[test]
    fn preferences_are_read_as_they_are_written() {
        let kind = Kind::parse("linear q4_1 - 8 1536x576 0,1,residual").unwrap();
        let ways = |times: [u64; 2]| {
            times.iter().enumerate().map(|(n, t)| (CandidateId { kernel: n, candidate: 0 }, *t)).collect()
        };
        let timings =
            vec![Timing { rows: 1, ways: ways([5, LOST]) }, Timing { rows: 8, ways: ways([0, 12345]) }];
        let known = Preferences(BTreeMap::from([(kind.clone(), timings.clone())]));
        assert_eq!(Preferences::parse(&known.text()), Some(known.clone()));
        assert_eq!((known.of(&kind), known.text().lines().count()), (&timings[..], 1));
        assert_eq!((kind.op().as_str(), kind.shape()), ("linear q4_1", "1536x576"));
        assert_eq!(Preferences::parse(""), Some(Preferences::default()));
        let text = known.text();
        let word = CandidateId { kernel: 0, candidate: 0 }.word();
        for (was, is) in [
            ("\t1 ", "\t9 "),
            ("\t1 ", "\t0 "),
            ("\t1 ", "\tx "),
            ("=5", "=five"),
            ("=5", ""),
            (" 8 1536x576", " many 1536x576"),
            ("linear ", ""),
            (word.as_str(), "nothing#1"),
            ("\t8", "\n8"),
        ] {
            let damaged = text.replacen(was, is, 1);
            assert!(damaged != text && Preferences::parse(&damaged).is_none(), "{damaged}");
        }
    }
}
