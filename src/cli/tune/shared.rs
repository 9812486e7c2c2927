//! What all trainings take at the command line: where the run's files lie, the optimizer, what is held out, the device.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use sha2::{Digest, Sha256};

use crate::adapter::{Adapter, AdapterError};
use crate::cli::advice;
use crate::cli::args::{ContextArgs, DeviceArgs, ModelArgs, PromptArgs, or, positive, session_options};
use crate::cli::error::{CliError, CliResult};
use crate::cli::output::ReplaceArgs;
use crate::cli::prompt::Prompter;
use crate::cli::term::parse_bytes;
use crate::cli::tune::args::MemoryArgs;
use crate::cli::tune::drive::RunArgs;
use crate::cli::tune::effort::Effort;
use crate::cli::tune::files::{Begin, Files, Found, Outputs};
use crate::io::MappedFile;
use crate::model::Model;
use crate::session::Modes;
use crate::train::data::{EncodeOptions, Item, Items, Overlong, TrainOn};
use crate::train::{LoraOptions, Place, Schedule, Settings};

/// What comes out, and what a run begins with.
#[derive(Args, Clone, Debug)]
pub struct OutputArgs {
    /// The adapter, or with --full the model, to write, `.gguf` added; metrics and the run's state lie beside it [default: the data's name]
    #[arg(short = 'o', long, value_name = "NAME")]
    output: Option<PathBuf>,
    /// Settings, as a run writes them beside its result; the command line decides over them
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Show the first examples with what is trained on marked, and stop
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "3")]
    pub preview: Option<usize>,
    /// Go on with a run that was stopped
    #[arg(long)]
    pub resume: bool,
    /// Throw away the state of a run that was stopped
    #[arg(long, conflicts_with = "resume")]
    pub restart: bool,
    #[command(flatten)]
    replace: ReplaceArgs,
    /// Begin with this adapter instead of a new one
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Train all of the model's own weights instead of an adapter: for small models; makes a model
    #[arg(long, conflicts_with_all = ["from", "rank", "alpha", "rslora", "dropout", "targets"])]
    pub full: bool,
}

impl OutputArgs {
    /// The run's files, if they can be written; `inputs` are read beside `data`. Nothing is looked at for a preview.
    ///
    /// # Errors
    /// What is in the way.
    pub fn files(&self, data: &[PathBuf], inputs: &[Option<&Path>], run: &RunArgs) -> CliResult<Outputs> {
        let output = self.output.clone().unwrap_or_else(|| default_output(data));
        let files = Files::beside(&output, run.plot())?;
        let begin = Begin { resume: self.resume, restart: self.restart, replace: self.replace };
        if self.preview.is_some() {
            return Ok(Outputs { files, begin, found: Found::Nothing });
        }
        let read =
            data.iter().map(PathBuf::as_path).chain(self.from.as_deref()).chain(self.config.as_deref());
        let read: Vec<&Path> = read.chain(inputs.iter().flatten().copied()).collect();
        files.look(begin, &read)
    }

    /// The adapter to begin with. One with a head is a reward model: only those that train `heads` go on from it.
    pub fn begin(&self, model: &Model, heads: bool) -> CliResult<Option<Adapter>> {
        let Some(path) = &self.from else { return Ok(None) };
        let failed = |e| CliError::from(e).at(path.display());
        let adapter = Adapter::open(path).map_err(failed)?;
        adapter.check_base(model.file(), false).map_err(|e| match e {
            // Here it cannot be applied all the same.
            AdapterError::OtherBase { .. } => {
                CliError::failed(e).at(path.display()).advise("that model, with -m")
            }
            e => failed(e),
        })?;
        if adapter.head.is_some() && !heads {
            let what = "it is a reward model, which judges texts and does not write them";
            return Err(CliError::failed(what).at(path.display()).advise("an adapter of another training"));
        }
        Ok(Some(adapter))
    }

    /// The adapter that a run begins with, for its identity, and what is in it.
    pub fn begun_with(&self) -> CliResult<(Option<String>, String)> {
        let Some(path) = &self.from else { return Ok((None, String::new())) };
        let bytes = MappedFile::open(path)?;
        Ok((Some(path.display().to_string()), short_hash(Sha256::digest(bytes.bytes()))))
    }
}

/// `my.jsonl` makes `my-adapter`, in the current folder.
fn default_output(data: &[PathBuf]) -> PathBuf {
    let stem = data.first().and_then(|p| p.file_stem()).unwrap_or_default().to_string_lossy().into_owned();
    PathBuf::from(format!("{stem}-adapter"))
}

/// The optimizer.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Training")]
pub struct OptimizerArgs {
    /// Learning rate; of all weights (--full) 5e-5 by default
    #[arg(long, value_name = "X", default_value_t = Settings::default().learning_rate, default_value_if("full", "true", "5e-5"), value_parser = positive)]
    lr: f32,
    /// Learning rate over time
    #[arg(long, value_enum, default_value_t = Falls::of(Settings::default().schedule))]
    schedule: Falls,
    /// Steps over which the learning rate rises at the start
    #[arg(long, value_name = "STEPS", default_value_t = Settings::default().warmup)]
    warmup: u64,
    /// Decoupled weight decay
    #[arg(long, value_name = "X", default_value_t = Settings::default().weight_decay, value_parser = weight)]
    weight_decay: f32,
    /// Largest norm of the gradient; 0 for no limit
    #[arg(long, value_name = "X", default_value_t = Settings::default().clip, value_parser = weight)]
    clip: f32,
}

/// Learning rate over time.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Falls {
    /// The same to the end
    Constant,
    /// Falls to zero in a straight line
    Linear,
    /// Falls to zero in half a cosine wave
    Cosine,
    /// Stays, and falls to zero over the last fifth
    Wsd,
}

impl Falls {
    fn of(schedule: Schedule) -> Self {
        match schedule {
            Schedule::Constant => Falls::Constant,
            Schedule::Linear => Falls::Linear,
            Schedule::Cosine => Falls::Cosine,
            Schedule::Wsd => Falls::Wsd,
        }
    }

    /// As training has it.
    pub fn schedule(self) -> Schedule {
        match self {
            Falls::Constant => Schedule::Constant,
            Falls::Linear => Schedule::Linear,
            Falls::Cosine => Schedule::Cosine,
            Falls::Wsd => Schedule::Wsd,
        }
    }
}

impl OptimizerArgs {
    /// Settings with these and `lora`, all others as they are by default.
    pub fn settings(&self, lora: LoraOptions) -> Settings {
        Settings {
            lora,
            learning_rate: self.lr,
            schedule: self.schedule.schedule(),
            warmup: self.warmup,
            weight_decay: self.weight_decay,
            clip: self.clip,
            ..Settings::default()
        }
    }
}

/// How long training takes.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Training")]
pub struct LengthArgs {
    /// How much work to put in, where nothing else says so; what it chooses is shown
    #[arg(long, value_name = "EFFORT", value_enum, default_value_t)]
    effort: Effort,
    /// Times to go through the data [default: 3; small data sets more often]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    epochs: Option<u64>,
    /// Stop after so many steps
    #[arg(long, alias = "steps", value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_steps: Option<u64>,
    /// Random seed
    #[arg(short = 's', long, value_name = "N", default_value_t = Settings::default().seed)]
    pub seed: u64,
}

/// How often data is gone through without being asked for.
#[derive(Clone, Copy, Debug)]
pub struct Epochs {
    /// At least.
    pub least: u64,
    /// More often where that is less than so many steps.
    pub few_steps: u64,
    /// But not more often than this.
    pub most: u64,
}

impl LengthArgs {
    /// Sets the length; an epoch has `steps`.
    pub fn put(&self, settings: &mut Settings, steps: u64, epochs: Epochs) {
        (settings.max_steps, settings.seed) = (self.max_steps, self.seed);
        settings.epochs = self.epochs.unwrap_or_else(|| {
            let enough = self.max_steps.map_or(epochs.few_steps, |max| max.max(epochs.few_steps));
            let most = if self.max_steps.is_some() { u64::MAX } else { epochs.most };
            let normal = enough.div_ceil(steps.max(1)).clamp(epochs.least, most);
            if self.max_steps.is_some() { normal } else { self.effort.passes(normal) }
        });
    }
}

/// When the held-out data is looked at.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Training")]
pub struct ValidationArgs {
    /// Steps between validations [default: once an epoch]
    #[arg(long, value_name = "STEPS", value_parser = clap::value_parser!(u64).range(1..))]
    eval_every: Option<u64>,
    #[arg(help = or("Validations without a better loss after which training ends; 0 for never", Settings::default().patience), long, value_name = "N")]
    patience: Option<u64>,
}

impl ValidationArgs {
    /// Sets when validation is due.
    pub fn put(&self, settings: &mut Settings) {
        settings.eval_every = self.eval_every.unwrap_or(settings.eval_every);
        settings.patience = self.patience.unwrap_or(settings.patience);
    }

    /// Refuses options that would have no effect, as nothing is held out.
    pub fn check(&self, held_out: usize) -> CliResult {
        let given = [("--eval-every", self.eval_every), ("--patience", self.patience)];
        match given.iter().find(|(_, value)| value.is_some()) {
            Some((flag, _)) if held_out == 0 => {
                let what = format!("{flag} has no effect: nothing is held out to validate on");
                Err(CliError::usage(what).advise("--val 0.1, or --val FILE"))
            }
            _ => Ok(()),
        }
    }
}

/// A weight of at least 0.
pub fn weight(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(weight) if weight >= 0.0 && weight.is_finite() => Ok(weight),
        _ => Err(format!("`{text}` is not a number of at least 0")),
    }
}

/// What becomes of rows, and which are held out.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Data")]
pub struct HeldOutArgs {
    /// Held out for validation: a part (0.1) or a file
    #[arg(long, value_name = "PART|FILE")]
    val: Option<String>,
    /// Stop at the first row that cannot be used, instead of skipping it
    #[arg(long)]
    strict: bool,
    /// Cut rows that are longer than --seq instead of skipping them
    #[arg(long)]
    truncate: bool,
}

/// Reads data, and says what of it could not be used.
pub fn read<T: Item>(paths: &[PathBuf], prompter: &Prompter, options: EncodeOptions) -> CliResult<Items<T>> {
    let encoder = prompter.encoder(options);
    let (data, report) = Items::load(paths, &encoder)?;
    advice::warn_of(&report);
    Ok(data)
}

impl HeldOutArgs {
    /// Reads the data and cuts off what is held out.
    pub fn load<T: Item>(
        &self,
        paths: &[PathBuf],
        prompter: &Prompter,
        (train_on, max_len, seed): (TrainOn, usize, u64),
    ) -> CliResult<(Items<T>, Items<T>)> {
        let options = EncodeOptions {
            train_on,
            max_len,
            overlong: if self.truncate { Overlong::Truncate } else { Overlong::Skip },
            strict: self.strict,
        };
        let data = read(paths, prompter, options)?;
        match self.val.as_deref() {
            None => Ok((data, Items::default())),
            Some(part) => match part.parse::<f64>() {
                Ok(part) if (0.0..1.0).contains(&part) => Ok(data.split(part, seed)),
                Ok(_) => Err(CliError::usage("--val takes a part below 1, such as 0.1, or a file")),
                Err(_) => Ok((data, read(&[PathBuf::from(part)], prompter, options)?)),
            },
        }
    }
}

/// Files that a run reads beside its data.
pub fn inputs<'a>(
    model: &'a ModelArgs,
    place: &'a PlaceArgs,
    held_out: Option<&'a HeldOutArgs>,
) -> [Option<&'a Path>; 3] {
    let path = |text: &'a Option<String>| text.as_deref().map(Path::new);
    [path(&model.model), path(&place.prompt.chat_template), held_out.and_then(|held_out| path(&held_out.val))]
}

/// Template and device.
#[derive(Args, Clone, Debug)]
#[command(
    mut_arg("system", |a| a.help("System prompt of conversations that have none").help_heading("Data")),
    mut_arg("chat_template", |a| a.help_heading("Data"))
)]
pub struct PlaceArgs {
    #[command(flatten)]
    prompt: PromptArgs,
    /// Refuse to start if the memory map is larger; layers are run again where that makes it fit
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, help_heading = "Device")]
    budget: Option<u64>,
    #[command(flatten)]
    device: DeviceArgs,
}

impl PlaceArgs {
    /// Tokenizer and template.
    pub fn prompter(&self, model: &Model) -> CliResult<Prompter> {
        Prompter::for_text(model, &self.prompt, false)
    }

    /// Device and memory.
    pub fn place(&self, memory: &MemoryArgs) -> Place {
        let context = ContextArgs { budget: self.budget, ..ContextArgs::default() };
        memory.place(session_options(&self.device, &context, Modes::GENERATE))
    }
}

/// The first digits of a hash.
pub fn short_hash(hash: impl AsRef<[u8]>) -> String {
    hash.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
