//! What `ember pretrain` can be told, on the command line or in a TOML file; what is said in both, the command line decides.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cli::args::{or, positive};
use crate::cli::error::{CliError, CliResult};
use crate::cli::tune::shared::{Falls, weight};
use crate::model::{ARCHITECTURES, Arch, Blueprint, Model};
use crate::quant::Format;
use crate::train::Settings;
use crate::train::corpus::END_OF_TEXT;
use crate::train::pretrain::{Recipe, parse_size};

/// A model's size where none is asked for.
const SIZE: &str = "3m";
/// Windows of held-out text that are looked at.
const VALIDATED: u64 = 64;

/// What every recipe has.
fn usual() -> Settings {
    Recipe::of(0).settings(1)
}

/// All that can be said; what is not said follows from the size.
#[derive(Args, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The text.
    #[command(flatten)]
    pub text: TextConfig,
    /// The model.
    #[command(flatten)]
    pub model: ShapeConfig,
    /// The training.
    #[command(flatten)]
    pub training: TrainingConfig,
}

/// The text, and what makes tokens of it.
#[derive(Args, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[command(next_help_heading = "Text")]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct TextConfig {
    /// Texts to learn: files (.txt, .md, .jsonl with `text`) or folders of them
    #[arg(long = "text", alias = "data", value_name = "PATH", num_args = 1..)]
    pub files: Vec<PathBuf>,
    /// Line that stands between documents of a file.
    #[arg(help = or("Line that stands between documents of a file", END_OF_TEXT), long, value_name = "TEXT")]
    pub separator: Option<String>,
    /// Held out: a part of the text (0.01), or a file or folder [default: 0.01]
    #[arg(long, value_name = "PART|PATH")]
    pub val: Option<String>,
    /// Take the tokenizer of this GGUF file instead of making one of the text
    #[arg(long, value_name = "FILE")]
    pub tokenizer: Option<PathBuf>,
    /// Vocabulary of the tokenizer that is made [default: by the size]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(257..=1 << 20))]
    pub vocab: Option<u32>,
    /// Chat template of the model that is made: chatml, none, or a Jinja file [default: chatml]
    #[arg(long, value_name = "NAME|FILE")]
    pub chat_template: Option<String>,
}

/// The model.
#[derive(Args, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[command(next_help_heading = "Model")]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct ShapeConfig {
    /// About how many weights: 1m, 3m, 30m, 135m; shape, batch, rate and steps follow from it [default: 3m]
    #[arg(long, value_name = "SIZE")]
    pub size: Option<String>,
    /// Go on from all weights of this model instead of random ones (decoded to 32 bits)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["size", "arch", "layers", "width", "heads", "kv_heads", "head_dim", "ff", "untied", "rope_base", "tokenizer", "vocab", "chat_template"])]
    pub from: Option<PathBuf>,
    /// Architecture: llama, qwen2, qwen3, gemma2 or gemma3 [default: llama]
    #[arg(long, value_name = "NAME")]
    pub arch: Option<String>,
    /// Decoder layers
    #[arg(long, value_name = "N")]
    pub layers: Option<usize>,
    /// Width of the residual stream
    #[arg(long, value_name = "N")]
    pub width: Option<usize>,
    /// Query heads
    #[arg(long, value_name = "N")]
    pub heads: Option<usize>,
    /// Key and value heads
    #[arg(long, value_name = "N")]
    pub kv_heads: Option<usize>,
    /// Width of a head
    #[arg(long, value_name = "N")]
    pub head_dim: Option<usize>,
    /// Width of the feed-forward
    #[arg(long, value_name = "N")]
    pub ff: Option<usize>,
    /// Output matrix of its own, instead of the embedding's
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub untied: Option<bool>,
    /// Base frequency of rope [default: 10000]
    #[arg(long, value_name = "X", value_parser = positive)]
    pub rope_base: Option<f32>,
    /// Name of the model, for people [default: that of the output]
    #[arg(long, value_name = "TEXT")]
    pub name: Option<String>,
}

/// The training.
#[derive(Args, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[command(next_help_heading = "Training")]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct TrainingConfig {
    /// Steps [default: 20 tokens for each weight, or four times the text]
    #[arg(long, alias = "max-steps", value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub steps: Option<u64>,
    /// Tokens of a window, which is also the context the model is made for
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=1 << 20))]
    pub seq: Option<u32>,
    /// Windows run through the model together
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub batch: Option<u32>,
    /// Batches whose gradients make one step
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub accumulate: Option<u32>,
    /// Highest learning rate
    #[arg(long, value_name = "X", value_parser = positive)]
    pub lr: Option<f32>,
    /// Learning rate over time [default: cosine]
    #[arg(long, value_enum)]
    pub schedule: Option<Falls>,
    /// Part of the learning rate that it falls to.
    #[arg(help = or("Part of the learning rate that it falls to", format!("{}; of wsd 0", usual().floor)), long, value_name = "PART", value_parser = weight)]
    pub floor: Option<f32>,
    /// Steps over which the learning rate rises at the start [default: a fiftieth]
    #[arg(long, value_name = "STEPS")]
    pub warmup: Option<u64>,
    /// Decoupled weight decay, of matrices alone.
    #[arg(help = or("Decoupled weight decay, of matrices alone", usual().weight_decay), long, value_name = "X", value_parser = weight)]
    pub weight_decay: Option<f32>,
    /// Largest norm of the gradient; 0 for no limit.
    #[arg(help = or("Largest norm of the gradient; 0 for no limit", usual().clip), long, value_name = "X", value_parser = weight)]
    pub clip: Option<f32>,
    /// Steps between looks at the held-out text; 0 for never [default: a twentieth]
    #[arg(long, value_name = "STEPS")]
    pub eval_every: Option<u64>,
    /// Windows of held-out text that are looked at.
    #[arg(help = or("Windows of held-out text that are looked at", VALIDATED), long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub eval_windows: Option<u64>,
    /// Steps between samples of what the model writes; 0 for none [default: a tenth]
    #[arg(long, alias = "samples-every", value_name = "STEPS")]
    pub sample_every: Option<u64>,
    /// Beginning of a sample; may be given several times [default: of held-out text]
    #[arg(long = "prompt", value_name = "TEXT")]
    pub prompts: Vec<String>,
    /// Random seed.
    #[arg(help = or("Random seed", usual().seed), short = 's', long, value_name = "N")]
    pub seed: Option<u64>,
    /// Format of the matrices that are written: f32, f16 or bf16 [default: f32]
    #[arg(long = "type", value_name = "TYPE")]
    #[serde(rename = "type")]
    pub format: Option<String>,
}

impl Config {
    /// What the command line says, and what the file says beside it.
    ///
    /// # Errors
    /// A file that cannot be read, or says what is not known.
    pub fn over(&self, file: Option<&Path>) -> CliResult<Self> {
        let Some(path) = file else { return Ok(self.clone()) };
        let text = std::fs::read_to_string(path).map_err(|e| CliError::file(path, &e))?;
        let under: Self = toml::from_str(&text).map_err(|e| CliError::failed(e).at(path.display()))?;
        let fail = |e: serde_json::Error| CliError::failed(e).at(path.display());
        let mut all = serde_json::to_value(under).map_err(fail)?;
        put(&mut all, serde_json::to_value(self).map_err(fail)?);
        serde_json::from_value(all).map_err(fail)
    }

    /// As a TOML file that asks for the same.
    pub fn as_toml(&self) -> String {
        let all = serde_json::to_value(self).unwrap_or_default();
        let mut text = String::from("# ember pretrain --config FILE -o NAME\n");
        for (section, values) in all.as_object().into_iter().flatten() {
            text += &format!("\n[{section}]\n");
            let said = values.as_object().into_iter().flatten().filter(|(_, value)| !is_unsaid(value));
            said.for_each(|(key, value)| text += &format!("{key} = {}\n", as_toml(value)));
        }
        text
    }

    /// The size asked for.
    ///
    /// # Errors
    /// Text that is no size.
    pub fn recipe(&self) -> CliResult<Recipe> {
        let size = parse_size(self.model.size.as_deref().unwrap_or(SIZE)).map_err(CliError::usage)?;
        let (mut recipe, t) = (Recipe::of(size), &self.training);
        let set = |to: &mut usize, said: Option<u32>| *to = said.map_or(*to, |n| n as usize);
        set(&mut recipe.vocab, self.text.vocab);
        set(&mut recipe.seq, t.seq);
        set(&mut recipe.batch, t.batch);
        set(&mut recipe.accumulate, t.accumulate);
        recipe.learning_rate = t.lr.unwrap_or(recipe.learning_rate);
        Ok(recipe)
    }

    /// Sizes of going on from a model: its own context, and a rate that does not undo what it knows.
    pub fn recipe_from(&self, model: &Model) -> CliResult<Recipe> {
        let mut recipe = Recipe::of(model.parameters());
        recipe.seq = recipe.seq.min(model.config().train_ctx);
        recipe.learning_rate /= 10.0;
        let said = self.recipe()?;
        let t = &self.training;
        recipe.seq = t.seq.map_or(recipe.seq, |n| n as usize);
        recipe.batch = t.batch.map_or(recipe.batch, |_| said.batch);
        recipe.accumulate = t.accumulate.map_or(recipe.accumulate, |_| said.accumulate);
        recipe.learning_rate = t.lr.unwrap_or(recipe.learning_rate);
        Ok(recipe)
    }

    /// The shape of a model from nothing.
    ///
    /// # Errors
    /// An architecture that is not known, or a shape that no model can have.
    pub fn blueprint(&self, recipe: &Recipe, name: &str, vocab: usize) -> CliResult<Blueprint> {
        let s = &self.model;
        let arch = s.arch.as_deref().unwrap_or("llama");
        let known = || ARCHITECTURES.iter().map(|a| a.name).collect::<Vec<_>>().join(", ");
        let arch = Arch::by_name(arch)
            .ok_or_else(|| CliError::usage(format!("--arch {arch} is not known; known: {}", known())))?;
        let mut b = recipe.blueprint(s.name.as_deref().unwrap_or(name), arch, vocab);
        b.layers = s.layers.unwrap_or(b.layers);
        if let Some(width) = s.width {
            // Heads are of the same width, and the feed-forward in proportion.
            b.heads = (width / b.head_dim).max(1);
            b.kv_heads = if b.heads.is_multiple_of(b.kv_heads) { b.kv_heads } else { b.heads };
            b.ff = b.ff * width / b.width / 4 * 4;
            b.width = width;
        }
        if let Some(heads) = s.heads {
            b.kv_heads = if heads.is_multiple_of(b.kv_heads) { b.kv_heads } else { heads };
            b.head_dim = (b.width / heads.max(1) / 4 * 4).max(4);
            b.heads = heads;
        }
        b.kv_heads = s.kv_heads.unwrap_or(b.kv_heads);
        b.head_dim = s.head_dim.unwrap_or(b.head_dim);
        b.ff = s.ff.unwrap_or(b.ff);
        b.tied = !s.untied.unwrap_or(false);
        b.rope_base = s.rope_base.unwrap_or(b.rope_base);
        b.check()?;
        Ok(b)
    }

    /// Settings of a run of a model of so many weights on so many tokens.
    pub fn settings(&self, recipe: &Recipe, weights: u64, tokens: u64) -> Settings {
        let t = &self.training;
        let steps = t.steps.unwrap_or_else(|| recipe.steps(weights, tokens));
        let mut s = recipe.settings(steps);
        if let Some(schedule) = t.schedule {
            s.schedule = schedule.schedule();
            // The others end at the highest rate, or fall to nothing.
            s.floor = if schedule == Falls::Cosine { s.floor } else { 0.0 };
        }
        s.floor = t.floor.unwrap_or(s.floor);
        s.warmup = t.warmup.unwrap_or(s.warmup);
        s.weight_decay = t.weight_decay.unwrap_or(s.weight_decay);
        s.clip = t.clip.unwrap_or(s.clip);
        s.eval_every = t.eval_every.unwrap_or(s.eval_every);
        s.seed = t.seed.unwrap_or(s.seed);
        s
    }

    /// Windows of held-out text that are looked at.
    pub fn validated(&self) -> u64 {
        self.training.eval_windows.unwrap_or(VALIDATED)
    }

    /// Format of the matrices that are written.
    ///
    /// # Errors
    /// One that training does not go on from.
    pub fn format(&self) -> CliResult<Format> {
        let asked = self.training.format.as_deref().unwrap_or("f32");
        let known =
            Format::from_name(asked).filter(|f| matches!(f, Format::F32 | Format::F16 | Format::BF16));
        known.ok_or_else(|| {
            CliError::usage(format!("--type {asked} is not f32, f16 or bf16"))
                .advise("f32, and `ember quantize` afterwards")
        })
    }

    /// The same with all that followed from the size said.
    pub fn resolved(&self, recipe: &Recipe, blueprint: Option<&Blueprint>, settings: &Settings) -> Self {
        let mut all = self.clone();
        if let Some(b) = blueprint {
            let s = &mut all.model;
            (s.layers, s.width, s.heads, s.kv_heads) =
                (Some(b.layers), Some(b.width), Some(b.heads), Some(b.kv_heads));
            (s.head_dim, s.ff, s.untied) = (Some(b.head_dim), Some(b.ff), Some(!b.tied));
            (s.arch, s.rope_base) = (Some(b.arch.name.into()), Some(b.rope_base));
            all.text.vocab = Some(b.vocab as u32).filter(|_| self.text.tokenizer.is_none());
        }
        let t = &mut all.training;
        (t.steps, t.seq) = (settings.max_steps, Some(recipe.seq as u32));
        (t.batch, t.accumulate) = (Some(recipe.batch as u32), Some(recipe.accumulate as u32));
        (t.lr, t.floor, t.warmup) =
            (Some(settings.learning_rate), Some(settings.floor), Some(settings.warmup));
        (t.weight_decay, t.clip) = (Some(settings.weight_decay), Some(settings.clip));
        (t.eval_every, t.seed) = (Some(settings.eval_every), Some(settings.seed));
        all
    }
}

/// A value of JSON as one of TOML; numbers with as many digits as their 32 bits have.
fn as_toml(value: &Value) -> String {
    match value.as_f64() {
        Some(number) if value.is_f64() => format!("{:?}", number as f32),
        _ => value.to_string(),
    }
}

/// Whether a value stands for nothing said.
fn is_unsaid(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
}

/// Puts what `over` says into `all`.
fn put(all: &mut Value, over: Value) {
    match (all, over) {
        (Value::Object(all), Value::Object(over)) => {
            over.into_iter().for_each(|(key, value)| put(all.entry(key).or_insert(Value::Null), value));
        }
        (all, over) if !is_unsaid(&over) => *all = over,
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_decides_over_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.toml");
        let text = "[text]\nfiles = [\"a\"]\nval = \"0.1\"\n[model]\nsize = \"1m\"\nuntied = true\n[training]\nlr = 0.001\nsteps = 9\n";
        std::fs::write(&path, text).unwrap();
        let mut said = Config::default();
        (said.training.steps, said.text.files) = (Some(5), vec!["b".into()]);
        let all = said.over(Some(&path)).unwrap();
        assert_eq!((all.training.steps, all.training.lr), (Some(5), Some(0.001)));
        assert_eq!((all.text.files, all.text.val), (vec![PathBuf::from("b")], Some("0.1".into())));
        assert_eq!((all.model.size.as_deref(), all.model.untied), (Some("1m"), Some(true)));
        std::fs::write(&path, "[model]\nlayer = 3\n").unwrap();
        let refused = said.over(Some(&path)).unwrap_err().to_string();
        assert!(refused.contains("layer"), "{refused}");
    }

    #[test]
    fn what_is_written_asks_for_the_same() {
        let mut said = Config::default();
        said.text.files = vec!["a b\"c".into()];
        said.training.schedule = Some(Falls::Wsd);
        let recipe = said.recipe().unwrap();
        let blueprint = said.blueprint(&recipe, "x", 4096).unwrap();
        let settings = said.settings(&recipe, blueprint.parameters(), 1_000_000);
        let all = said.resolved(&recipe, Some(&blueprint), &settings);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.toml");
        std::fs::write(&path, all.as_toml()).unwrap();
        let again = Config::default().over(Some(&path)).unwrap();
        assert_eq!(again, all);
        let recipe = again.recipe().unwrap();
        assert_eq!(again.blueprint(&recipe, "x", 4096).unwrap(), blueprint);
        assert_eq!(again.settings(&recipe, blueprint.parameters(), 7), settings);
    }

    #[test]
    fn shapes_can_be_set_by_hand() {
        let mut said = Config::default();
        (said.model.width, said.model.heads) = (Some(96), Some(2));
        let recipe = said.recipe().unwrap();
        let b = said.blueprint(&recipe, "x", 300).unwrap();
        assert_eq!((b.width, b.heads, b.kv_heads, b.head_dim), (96, 2, 2, 48));
        (said.model.kv_heads, said.model.arch) = (Some(3), None);
        assert!(said.blueprint(&recipe, "x", 300).is_err());
        (said.model.kv_heads, said.model.arch) = (None, Some("gpt".into()));
        assert!(said.blueprint(&recipe, "x", 300).is_err());
    }
}
