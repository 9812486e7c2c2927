//! What a training step is made of, at the command line: shared by `tune`, `plan --tune` and `bench --tune`.

use clap::{Args, ValueEnum};

use crate::adapter::Adapter;
use crate::cli::args::{number, or, positive};
use crate::cli::error::{CliError, CliResult};
use crate::model::{AdapterShape, Model, Train};
use crate::session::SessionOptions;
use crate::train::{EngineOptions, LoraOptions, Place, Recompute, Settings, TARGETS};

/// The adapters and the sizes of a step.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Adapter and step")]
pub struct TuneShapeArgs {
    #[command(flatten)]
    adapters: LoraShapeArgs,
    /// Most tokens of a sequence; longer rows are skipped, or cut with --truncate; of a packed step, most rows
    #[arg(long, value_name = "N", default_value_t = Settings::default().seq as u32, value_parser = clap::value_parser!(u32).range(2..=1 << 20))]
    pub seq: u32,
    #[arg(help = or("Sequences run through the model together", Settings::default().batch), long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    batch: Option<u32>,
    /// What saves memory.
    #[command(flatten)]
    pub memory: MemoryArgs,
}

/// The adapters.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Adapter and step")]
pub struct LoraShapeArgs {
    #[arg(help = or("Rank of the LoRA factors: more can learn more, and takes more memory", LoraOptions::default().rank), long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    rank: Option<u32>,
    /// Scale of the adapters: their product counts alpha / rank times [default: twice the rank]
    #[arg(long, value_name = "X", value_parser = positive)]
    alpha: Option<f32>,
    /// Scale by alpha / sqrt(rank) instead (rsLoRA), for ranks above 32 or so
    #[arg(long)]
    rslora: bool,
    /// Rate of dropout on the adapters' input, from 0 to below 1
    #[arg(long, value_name = "P", default_value_t = LoraOptions::default().dropout, value_parser = rate)]
    dropout: f32,
    /// Matrices of every layer that get an adapter, separated by commas [default: all]
    #[arg(long, value_name = "LIST", value_enum, value_delimiter = ',')]
    targets: Vec<Target>,
}

/// What a step saves memory with; it changes nothing of what is learnt.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Adapter and step")]
pub struct MemoryArgs {
    /// Layers that the gradient runs again instead of keeping their activations: auto (as few as fit), none (fastest),
    /// all (smallest), or the number of the first so many
    #[arg(long, value_name = "WHICH", default_value = "auto", value_parser = recompute)]
    recompute: Recompute,
    /// Trained positions whose logits are held together; fewer need less memory [default: 64, or what fits]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65536))]
    chunk: Option<u32>,
}

/// A kind of matrix that can be adapted, or several.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Queries
    #[value(aliases = ["q_proj", "attn_q"])]
    Q,
    /// Keys
    #[value(aliases = ["k_proj", "attn_k"])]
    K,
    /// Values
    #[value(aliases = ["v_proj", "attn_v"])]
    V,
    /// Output of the attention
    #[value(aliases = ["o_proj", "attn_output"])]
    O,
    /// Gate of the feed-forward part
    #[value(aliases = ["gate_proj", "ffn_gate"])]
    Gate,
    /// Its way up
    #[value(aliases = ["up_proj", "ffn_up"])]
    Up,
    /// Its way down
    #[value(aliases = ["down_proj", "ffn_down"])]
    Down,
    /// q, k, v, o
    #[value(alias = "attn")]
    Attention,
    /// gate, up, down
    #[value(alias = "ffn")]
    Mlp,
    /// All seven
    All,
}

impl Target {
    /// The short names that it stands for.
    fn names(self) -> &'static [&'static str] {
        match self {
            Target::Q => &["q"],
            Target::K => &["k"],
            Target::V => &["v"],
            Target::O => &["o"],
            Target::Gate => &["gate"],
            Target::Up => &["up"],
            Target::Down => &["down"],
            Target::Attention => &["q", "k", "v", "o"],
            Target::Mlp => &["gate", "up", "down"],
            Target::All => &["q", "k", "v", "o", "gate", "up", "down"],
        }
    }
}

impl LoraShapeArgs {
    /// LoRA's settings; targets in the order of [`TARGETS`], each once.
    pub fn lora(&self) -> LoraOptions {
        let lora = self.rank.map_or_else(LoraOptions::default, |rank| LoraOptions::of_rank(rank as usize));
        LoraOptions {
            alpha: self.alpha.unwrap_or(lora.alpha),
            rslora: self.rslora,
            dropout: self.dropout,
            targets: self.target_names(),
            ..lora
        }
    }

    fn target_names(&self) -> Vec<String> {
        let all = self.targets.is_empty();
        let asked = |short: &str| all || self.targets.iter().any(|t| t.names().contains(&short));
        let names = TARGETS.iter().filter(|(_, short)| asked(short)).map(|(file, _)| (*file).to_owned());
        names.collect()
    }

    /// LoRA's settings of a run that goes on from `adapter`, which has its rank, scale and matrices.
    ///
    /// # Errors
    /// An option that says otherwise, as it would have no effect.
    pub fn lora_from(&self, adapter: Option<&Adapter>) -> CliResult<LoraOptions> {
        let Some(adapter) = adapter else { return Ok(self.lora()) };
        let has = LoraOptions::of(adapter, self.dropout);
        let (rank, alpha) = (has.rank, has.alpha);
        let other = |asked: &u32| adapter.pairs.iter().any(|pair| pair.rank != *asked as usize);
        let no_effect = |flag: String, has: String| {
            let what = format!("{flag} has no effect with --from, whose adapter has {has}");
            Err(CliError::usage(what).advise("leave it out, or begin with a new adapter, without --from"))
        };
        if let Some(asked) = self.rank.filter(other) {
            return no_effect(format!("--rank {asked}"), format!("rank {rank}"));
        }
        if let Some(asked) = self.alpha.filter(|asked| (asked - alpha).abs() > alpha.abs() * 1e-6) {
            return no_effect(format!("--alpha {asked}"), format!("an alpha of {alpha}"));
        }
        if self.rslora {
            return no_effect("--rslora".into(), format!("an alpha of {alpha}"));
        }
        if !self.targets.is_empty() && self.target_names() != has.targets {
            return no_effect("--targets".into(), format!("{} of its own", has.targets.join(",")));
        }
        Ok(has)
    }
}

impl MemoryArgs {
    /// The memory settings of a run on a device; its budget is in `device`.
    pub fn place(&self, device: SessionOptions) -> Place {
        Place { device, recompute: self.recompute, chunk: self.chunk.map(|n| n as usize), slots: None }
    }
}

impl TuneShapeArgs {
    /// LoRA's settings.
    pub fn lora(&self) -> LoraOptions {
        self.adapters.lora()
    }

    /// See [`LoraShapeArgs::lora_from`].
    pub fn lora_from(&self, adapter: Option<&Adapter>) -> CliResult<LoraOptions> {
        self.adapters.lora_from(adapter)
    }

    /// Sequences run through the model together.
    pub fn batch(&self) -> u32 {
        self.batch.unwrap_or(Settings::default().batch as u32)
    }

    /// Answers of rollouts that are learnt from together.
    pub fn answers(&self) -> u32 {
        self.batch.unwrap_or(1)
    }

    /// Refuses a batch where sequences are packed, which is then what fills a step.
    pub fn check_packing(&self, pack: bool) -> CliResult {
        match self.batch {
            Some(batch) if pack => {
                let what = format!("--batch {batch} has no effect with --pack, which fills --seq tokens");
                Err(CliError::usage(what).advise("leave out one of them"))
            }
            _ => Ok(()),
        }
    }

    /// Most token rows of a step.
    pub fn rows(&self) -> usize {
        self.seq as usize * self.batch() as usize
    }

    /// An engine for steps of this size, of adapters or, if `full`, of all weights.
    pub fn engine(&self, model: &Model, device: SessionOptions, full: bool) -> EngineOptions {
        let (train, adapters) = match full {
            true => (Train::All, AdapterShape::default()),
            false => (Train::Adapters, self.lora().shape(model)),
        };
        EngineOptions {
            device,
            rows: self.rows(),
            seq: self.seq as usize,
            outputs: self.memory.chunk.map(|n| n as usize),
            recompute: self.memory.recompute,
            train,
            adapters,
            ..EngineOptions::default()
        }
    }
}

/// `auto`, `none`, `all`, or a number of layers.
fn recompute(text: &str) -> Result<Recompute, String> {
    match text.to_ascii_lowercase().as_str() {
        "auto" => Ok(Recompute::Auto),
        "none" => Ok(Recompute::Nothing),
        "all" => Ok(Recompute::All),
        other => other
            .parse()
            .map(Recompute::Layers)
            .map_err(|_| format!("`{text}` is not one of auto, none, all, or a number of layers")),
    }
}

fn rate(text: &str) -> Result<f32, String> {
    let within =
        |v: f32| if (0.0..1.0).contains(&v) { Ok(v) } else { Err("must be from 0 to below 1".into()) };
    number(text).and_then(within)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        shape: TuneShapeArgs,
    }

    fn parse(words: &[&str]) -> Result<TuneShapeArgs, String> {
        let line = Line::try_parse_from(["test"].iter().chain(words));
        line.map(|l| l.shape).map_err(|e| e.to_string())
    }

    #[test]
    fn the_defaults_are_those_of_the_library() {
        let shape = parse(&[]).unwrap();
        let settings = crate::train::Settings::default();
        assert_eq!(shape.lora(), settings.lora);
        assert_eq!((shape.seq as usize, shape.batch() as usize), (settings.seq, settings.batch));
        assert_eq!((shape.memory.recompute, shape.memory.chunk), (Recompute::Auto, None));
    }

    #[test]
    fn targets_are_named_singly_and_together() {
        let targets = |list: &str| parse(&["--targets", list]).unwrap().lora().targets;
        assert_eq!(targets("v,q"), ["attn_q", "attn_v"], "in the order of a layer");
        assert_eq!(targets("mlp,up"), ["ffn_gate", "ffn_up", "ffn_down"]);
        assert_eq!(targets("attention,down").len(), 5);
        assert_eq!(targets("q_proj"), targets("attn_q"));
        assert_eq!(targets("all").len(), TARGETS.len());
        let refusal = parse(&["--targets", "q,x"]).unwrap_err();
        assert!(refusal.contains("attention"), "{refusal}");
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        for words in [
            ["--rank", "0"],
            ["--alpha", "0"],
            ["--dropout", "1"],
            ["--dropout", "nan"],
            ["--seq", "1"],
            ["--batch", "0"],
            ["--recompute", "some"],
            ["--recompute", "-1"],
            ["--chunk", "0"],
        ] {
            assert!(parse(&words).is_err(), "{words:?}");
        }
        assert_eq!(parse(&["--recompute", "7"]).unwrap().memory.recompute, Recompute::Layers(7));
    }

    #[test]
    fn alpha_follows_the_rank() {
        assert_eq!(parse(&["--rank", "8"]).unwrap().lora().scale(), 2.0);
        assert_eq!(parse(&["--rank", "16", "--alpha", "8", "--rslora"]).unwrap().lora().scale(), 2.0);
    }
}
