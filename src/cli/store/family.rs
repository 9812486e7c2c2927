//! How the models of a family want their tokens chosen.

use serde::Deserialize;

use super::Catalog;
use crate::gguf::Metadata;
use crate::text::{Patience, SamplerParams};

/// Models with settings in common, known by their names.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Family {
    /// What names of files and models contain, small letters and digits only.
    pub matches: Vec<String>,
    /// Settings.
    #[serde(default)]
    pub sampling: Sampling,
    /// Settings where the model thinks before it answers; what is missing is as in `sampling`.
    pub thinking: Option<Sampling>,
    /// Texts that end an answer, where the model's own end is not enough.
    #[serde(default)]
    pub stop: Vec<String>,
    /// Whether code that comes for the third time is a circle, as prose is: what small models write of code is the same for
    /// everything.
    #[serde(default)]
    pub code_circles: bool,
}

/// Settings of the sampler; what is missing is as everywhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sampling {
    /// As `--temp`.
    pub temp: Option<f32>,
    /// As `--top-k`.
    pub top_k: Option<u32>,
    /// As `--top-p`.
    pub top_p: Option<f32>,
    /// As `--min-p`.
    pub min_p: Option<f32>,
    /// As `--repeat-penalty`.
    pub repeat_penalty: Option<f32>,
    /// As `--repeat-last-n`.
    pub repeat_last_n: Option<u32>,
    /// As `--dry-multiplier`.
    pub dry_multiplier: Option<f32>,
    /// As `--dry-base`.
    pub dry_base: Option<f32>,
    /// As `--dry-allowed-length`.
    pub dry_allowed_length: Option<u32>,
    /// As `--dry-penalty-last-n`.
    pub dry_penalty_last_n: Option<u32>,
}

impl Sampling {
    /// These settings in the place of `others`.
    pub fn over(&self, others: SamplerParams) -> SamplerParams {
        SamplerParams {
            temperature: self.temp.unwrap_or(others.temperature),
            top_k: self.top_k.unwrap_or(others.top_k),
            top_p: self.top_p.unwrap_or(others.top_p),
            min_p: self.min_p.unwrap_or(others.min_p),
            repeat_penalty: self.repeat_penalty.unwrap_or(others.repeat_penalty),
            repeat_last_n: self.repeat_last_n.unwrap_or(others.repeat_last_n),
            dry_multiplier: self.dry_multiplier.unwrap_or(others.dry_multiplier),
            dry_base: self.dry_base.unwrap_or(others.dry_base),
            dry_allowed_length: self.dry_allowed_length.unwrap_or(others.dry_allowed_length),
            dry_last_n: self.dry_penalty_last_n.unwrap_or(others.dry_last_n),
            seed: others.seed,
        }
    }
}

impl Family {
    /// Settings for a model that thinks, or that does not.
    pub fn sampler(&self, thinks: bool) -> SamplerParams {
        let plain = self.sampling.over(SamplerParams::default());
        self.thinking.filter(|_| thinks).map_or(plain, |thinking| thinking.over(plain))
    }

    /// How soon an answer is taken for a circle.
    pub fn patience(&self) -> Patience {
        if self.code_circles { Patience::Shortest } else { Patience::Short }
    }

    /// What is wrong with it.
    pub(super) fn check(&self) -> Result<(), String> {
        let plain = |text: &String| {
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        if self.matches.is_empty() || !self.matches.iter().all(plain) {
            return Err("`matches` is a list of names in small letters and digits".into());
        }
        for thinks in [false, true] {
            self.sampler(thinks).check().map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

impl Catalog {
    /// The family of a model file: the first whose name its own name has in it, or the one in its metadata.
    pub fn family(&self, file: &str, metadata: &Metadata) -> Option<&Family> {
        let text = |key: &str| metadata.find::<&str>(key).ok().flatten().unwrap_or_default();
        let parts = ["general.basename", "general.size_label", "general.finetune"].map(text).concat();
        let names = [file, text("general.name"), &parts].map(letters);
        let named = |family: &&Family| {
            names.iter().any(|name| family.matches.iter().any(|part| name.contains(part.as_str())))
        };
        self.families.iter().find(named)
    }
}

/// The letters and digits of a name, small.
fn letters(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(file: &str, name: &str, thinks: bool) -> SamplerParams {
        let catalog = Catalog::built_in().unwrap();
        let mut metadata = Metadata::new();
        metadata.set("general.name", name);
        catalog.family(file, &metadata).map_or(SamplerParams::default(), |family| family.sampler(thinks))
    }

    #[test]
    fn a_model_is_known_by_its_file_or_its_own_name() {
        let qwen = sampler("Qwen3-1.7B-Q8_0.gguf", "", false);
        assert_eq!((qwen.temperature, qwen.top_p, qwen.top_k, qwen.min_p), (0.7, 0.8, 20, 0.0));
        let thinking = sampler("model.gguf", "Qwen3 4B", true);
        assert_eq!((thinking.temperature, thinking.top_p, thinking.top_k), (0.6, 0.95, 20));
        assert_eq!(sampler("qwen2.5-0.5b-instruct-q4_k_m.gguf", "", true).repeat_penalty, 1.05);
        let small = sampler("x.gguf", "Smollm2 135M 8k Lc100K Mix1 Ep2", false);
        assert_ne!(small, sampler("smollm2-360m-instruct-q8_0.gguf", "", false), "the small one has its own");
        assert_eq!(sampler("mine.gguf", "mine", false), SamplerParams::default());
    }

    #[test]
    fn only_the_smallest_may_not_repeat_code() {
        let catalog = Catalog::built_in().unwrap();
        let patience = |file: &str| catalog.family(file, &Metadata::new()).map(Family::patience);
        assert_eq!(patience("SmolLM2-135M-Instruct.Q4_1.gguf"), Some(Patience::Shortest));
        assert_eq!(patience("qwen2.5-0.5b-instruct-q4_k_m.gguf"), Some(Patience::Short));
    }

    #[test]
    fn every_model_of_the_catalogue_that_talks_has_a_family() {
        let catalog = Catalog::built_in().unwrap();
        for model in catalog.models.iter().filter(|model| model.name != super::super::TINY_NAME) {
            assert!(catalog.family(&model.file, &Metadata::new()).is_some(), "{}", model.name);
        }
    }

    #[test]
    fn senseless_settings_are_refused() {
        let family = |text: &str| toml::from_str::<Family>(text).map_err(|e| e.to_string())?.check();
        assert_eq!(family("matches = [\"a1\"]\n[sampling]\ntemp = 0.5"), Ok(()));
        assert!(family("matches = [\"A\"]").is_err() && family("matches = []").is_err());
        assert!(
            family("matches = [\"a\"]\n[sampling]\nrepeat_penalty = 0.0")
                .unwrap_err()
                .contains("repeat_penalty")
        );
        assert!(family("matches = [\"a\"]\n[sampling]\ntemperature = 0.5").is_err());
    }
}
