//! Which device is to do what, by how fast each was measured to be. Nothing here runs anything.

use std::collections::BTreeMap;

/// What a device is asked to do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Phase {
    /// To read a prompt.
    Prompt,
    /// To write a token after another.
    Generation,
    /// To learn: a step's forward and backward pass.
    Training,
}

impl Phase {
    /// All of them.
    pub const ALL: [Phase; 3] = [Phase::Prompt, Phase::Generation, Phase::Training];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Prompt => "prompt",
            Phase::Generation => "generation",
            Phase::Training => "training",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.name() == name)
    }
}

/// Tokens a second of each phase that was measured.
pub type Rates = Vec<(Phase, f64)>;

/// How fast a device is with a model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Speed {
    /// The device's name.
    pub device: String,
    /// Its driver.
    pub driver: String,
    /// Tokens a second, as far as they were measured.
    pub rates: BTreeMap<Phase, f64>,
    /// Why it cannot run the model, if it cannot.
    pub failure: Option<String>,
}

impl Speed {
    /// Seconds for so many tokens of each phase; `None` if that is not known.
    pub fn seconds(&self, work: &[(Phase, u64)]) -> Option<f64> {
        let one = |(phase, tokens): &(Phase, u64)| {
            let rate = self.rates.get(phase).copied().filter(|rate| rate.is_finite() && *rate > 0.0)?;
            Some(*tokens as f64 / rate)
        };
        if self.failure.is_some() {
            return None;
        }
        work.iter().map(one).sum()
    }
}

/// The fastest of several devices, and why it is taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Fastest {
    /// Which.
    pub index: usize,
    /// For people: its time, and that of the others.
    pub why: String,
}

/// The device that does `work` in the least time; of equals the first. `None` if none is known to be able to.
pub fn fastest(speeds: &[Speed], work: &[(Phase, u64)]) -> Option<Fastest> {
    let known = speeds.iter().enumerate().filter_map(|(at, speed)| Some((at, speed.seconds(work)?)));
    let (index, best) = known.min_by(|a, b| a.1.total_cmp(&b.1))?;
    let what: Vec<String> =
        work.iter().map(|(phase, tokens)| format!("{tokens} tokens of {}", phase.name())).collect();
    let mut why = format!("{} took {best:.2} s here", what.join(" and "));
    for (_, other) in speeds.iter().enumerate().filter(|(at, _)| *at != index) {
        why += &match (other.seconds(work), &other.failure) {
            (Some(seconds), _) => format!(", on {} {seconds:.2} s", other.device),
            (None, Some(failure)) => format!("; {} cannot: {failure}", other.device),
            (None, None) => format!("; {} was not measured", other.device),
        };
    }
    Some(Fastest { index, why })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn speed(device: &str, rates: [f64; 3]) -> Speed {
        let rates = Phase::ALL.into_iter().zip(rates).collect();
        Speed { device: device.into(), rates, ..Speed::default() }
    }

    fn chosen<'a>(speeds: &'a [Speed], work: &[(Phase, u64)]) -> &'a str {
        &speeds[fastest(speeds, work).unwrap().index].device
    }

    /// A board whose GPU reads prompts faster than its CPU, and writes and learns more slowly.
    #[test]
    fn a_slower_gpu_is_not_taken_in_any_phase() {
        let speeds = [speed("cpu", [30.0, 9.0, 12.0]), speed("gpu", [90.0, 3.0, 4.0])];
        assert_eq!(chosen(&speeds, &[(Phase::Prompt, 1)]), "gpu");
        assert_eq!(chosen(&speeds, &[(Phase::Generation, 1)]), "cpu");
        assert_eq!(chosen(&speeds, &[(Phase::Training, 1)]), "cpu");
        // A session has both of the first two.
        assert_eq!(chosen(&speeds, &[(Phase::Prompt, 512), (Phase::Generation, 128)]), "cpu");
        assert_eq!(chosen(&speeds, &[(Phase::Prompt, 5120), (Phase::Generation, 12)]), "gpu");
        let why = fastest(&speeds, &[(Phase::Generation, 90)]).unwrap().why;
        assert_eq!(why, "90 tokens of generation took 10.00 s here, on gpu 30.00 s");
    }

    /// Whatever was measured, nothing else would have been faster.
    #[test]
    fn no_choice_is_slower_than_another() {
        let mut random = 88_172_645_463_325_252_u64;
        let mut next = move |n: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % n
        };
        for _ in 0..20_000 {
            let mut speeds = vec![];
            for device in 0..1 + next(4) {
                let rates =
                    [(); 3].map(|()| [next(1000) as f64 / 7.0, 0.0, f64::NAN][usize::from(next(9) > 7)]);
                let failure = (next(6) == 0).then(|| "broken".to_owned());
                speeds.push(Speed { failure, ..speed(&device.to_string(), rates) });
            }
            for phase in Phase::ALL {
                let work = [(phase, 1 + next(1000)), (Phase::Generation, next(3))];
                let able: Vec<f64> = speeds.iter().filter_map(|speed| speed.seconds(&work)).collect();
                match fastest(&speeds, &work) {
                    None => assert!(able.is_empty(), "{speeds:?}"),
                    Some(Fastest { index, .. }) => {
                        let own = speeds[index].seconds(&work).unwrap();
                        assert!(able.iter().all(|other| own <= *other), "{speeds:?}: {index}");
                        assert!(speeds[..index].iter().all(|s| s.seconds(&work) != Some(own)), "the first");
                    }
                }
            }
        }
    }

    #[test]
    fn what_cannot_or_is_not_known_is_said() {
        let broken = Speed { failure: Some("out of memory".into()), ..speed("gpu", [9e9, 9e9, 9e9]) };
        let unknown = Speed { device: "other".into(), ..Speed::default() };
        let speeds = [speed("cpu", [1.0, 1.0, 1.0]), broken, unknown];
        let found = fastest(&speeds, &[(Phase::Prompt, 2)]).unwrap();
        assert_eq!(found.index, 0);
        assert!(found.why.ends_with("; gpu cannot: out of memory; other was not measured"), "{}", found.why);
        assert_eq!(fastest(&speeds[1..], &[(Phase::Prompt, 2)]), None);
        assert_eq!(Phase::ALL.map(|phase| Phase::named(phase.name())), Phase::ALL.map(Some));
    }
}
