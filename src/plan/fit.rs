//! What would make a program fit that does not.

use std::fmt;

/// What to change about a program that does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Suggestion {
    /// Settings with which it fits.
    Settings(Box<Fit>),
    /// No setting is small enough.
    SmallerModel,
    /// No setting is small enough for this device.
    OtherDevice,
}

/// Settings that fit; what is not named stays as it was asked for. Those of a training step are named as there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fit {
    /// Tokens of the context.
    pub ctx: Option<usize>,
    /// The KV cache has 16 bits a value.
    pub kv16: bool,
    /// Sequences that go through the model together.
    pub batch: Option<usize>,
    /// Most tokens of a sequence.
    pub seq: Option<usize>,
    /// All layers are run again for the gradient.
    pub recompute: bool,
    /// Trained positions whose logits are made together.
    pub outputs: Option<usize>,
    /// Most rank of an adapter's pair.
    pub rank: Option<usize>,
    /// Bytes, where nothing smaller is left to change.
    pub budget: Option<u64>,
}

impl From<Fit> for Suggestion {
    fn from(fit: Fit) -> Self {
        Self::Settings(Box::new(fit))
    }
}

impl fmt::Display for Suggestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Settings(fit) => fit.fmt(f),
            Self::SmallerModel => f.write_str("a smaller model, or weights in a smaller format"),
            Self::OtherDevice => f.write_str("another device, or a smaller model"),
        }
    }
}

impl fmt::Display for Fit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |name: &str, n: Option<usize>| n.map(|n| format!("{name} {n}"));
        let settings = [
            number("ctx", self.ctx),
            self.kv16.then(|| "a cache of 16 bits a value".into()),
            number("batch", self.batch),
            number("seq", self.seq),
            self.recompute.then(|| "all layers run again".into()),
            number("outputs", self.outputs),
            number("rank", self.rank),
            self.budget.map(|bytes| format!("a budget of {}", human(bytes))),
        ];
        f.write_str(&settings.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

/// Bytes in binary units with one decimal.
pub(crate) fn human(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["B", "KiB", "MiB", "GiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_named_as_the_library_has_them() {
        let fit = Fit { ctx: Some(1024), kv16: true, ..Fit::default() };
        assert_eq!(Suggestion::from(fit).to_string(), "ctx 1024, a cache of 16 bits a value");
        let fit =
            Fit { batch: Some(1), seq: Some(64), recompute: true, budget: Some(3 << 20), ..Fit::default() };
        assert_eq!(fit.to_string(), "batch 1, seq 64, all layers run again, a budget of 3.0 MiB");
    }
}
