//! One dial where there are ten: how much work a training puts in.

use clap::ValueEnum;

/// How much work.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Effort {
    /// A quick look: a quarter of the passes through the data, a small adapter
    Light,
    /// As the options are by default
    #[default]
    Normal,
    /// Twice the passes through the data, a larger adapter, a rate that rises and falls smoothly
    Thorough,
}

/// Options and their values.
type Options = &'static [(&'static str, &'static str)];

impl Effort {
    /// As it is written.
    pub fn parse(text: &str) -> Option<Self> {
        <Self as ValueEnum>::from_str(text, true).ok()
    }

    /// The options that it stands for.
    fn options(self) -> Options {
        match self {
            Effort::Light => &[("rank", "8")],
            Effort::Normal => &[],
            Effort::Thorough => &[("rank", "32"), ("schedule", "cosine"), ("warmup", "10")],
        }
    }

    /// Passes through the data instead of so many.
    pub fn passes(self, normal: u64) -> u64 {
        match self {
            Effort::Light => normal.div_ceil(4),
            Effort::Normal => normal,
            Effort::Thorough => normal.saturating_mul(2),
        }
    }

    /// What it chose, for people.
    pub fn in_words(self, chosen: &[String]) -> Option<String> {
        let (name, passes) = match self {
            Effort::Light => ("light", "a quarter of the passes"),
            Effort::Normal => return None,
            Effort::Thorough => ("thorough", "twice the passes"),
        };
        let options: Vec<String> = chosen.iter().map(|option| option.replacen('=', " ", 1)).collect();
        let options =
            [options, vec![format!("{passes} through the data, unless --epochs says how many")]].concat();
        Some(format!("effort {name}: {}", options.join(", ")))
    }
}

/// The options that an effort stands for, where they are `open`: the command has them and nobody said them.
pub fn chosen(effort: Effort, open: &dyn Fn(&str) -> bool, said: &dyn Fn(&str) -> bool) -> Vec<String> {
    let without_effect = |long: &str| match long {
        // All weights have no rank, and an adapter that exists has its own.
        "rank" => said("full") || said("from"),
        // A short run would never get beyond it.
        "warmup" => said("max-steps"),
        _ => false,
    };
    let options = effort.options().iter().filter(|(long, _)| open(long) && !without_effect(long));
    options.map(|(long, value)| format!("--{long}={value}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_effort_is_more_work() {
        let passes = [Effort::Light, Effort::Normal, Effort::Thorough].map(|effort| effort.passes(12));
        assert_eq!(passes, [3, 12, 24]);
        assert_eq!(Effort::Light.passes(1), 1);
        let all = chosen(Effort::Thorough, &|_| true, &|_| false);
        assert_eq!(all, ["--rank=32", "--schedule=cosine", "--warmup=10"]);
        let said = Effort::Thorough.in_words(&all).unwrap();
        assert!(
            said.starts_with("effort thorough: --rank 32, --schedule cosine, --warmup 10, twice"),
            "{said}"
        );
        assert!(
            Effort::Normal.in_words(&[]).is_none()
                && chosen(Effort::Normal, &|_| true, &|_| false).is_empty()
        );
    }

    #[test]
    fn what_would_have_no_effect_is_not_chosen() {
        assert!(chosen(Effort::Light, &|_| true, &|long| long == "from").is_empty());
        assert_eq!(chosen(Effort::Thorough, &|_| true, &|long| long == "max-steps").len(), 2);
    }
}
