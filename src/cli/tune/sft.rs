//! `ember tune sft`: from a data file to an adapter.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use crate::adapter::{Adapter, BaseFingerprint};
use crate::cli::args::{ContextArgs, DeviceArgs, ModelArgs, PromptArgs, session_options};
use crate::cli::engine;
use crate::cli::error::{CliError, CliResult};
use crate::cli::prompt::Prompter;
use crate::cli::term::{self, Paint, parse_bytes};
use crate::cli::tune::args::TuneShapeArgs;
use crate::cli::tune::{drive, keep, preview};
use crate::model::Model;
use crate::session::Modes;
use crate::train::data::{Dataset, EncodeOptions, Encoder, Overlong, TrainOn};
use crate::train::{Place, Schedule, Settings, Trainer};

/// Optimizer steps that a small data set gets at least, unless --epochs or --max-steps says otherwise.
const FEW_STEPS: u64 = 120;
/// Most epochs taken without being asked for.
const MOST_EPOCHS: u64 = 15;

/// Fine-tune an adapter on examples
///
/// Trains a small LoRA adapter on the frozen, quantized model. DATA is JSONL with `messages`, `prompt`/`completion`,
/// `instruction`/`input`/`output` or `text` in each line, or plain text. Chats go through the model's own template, and
/// what is learnt is the assistant's part. The run can be stopped with Ctrl-C, or killed, and resumed.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  ember tune sft --data my.jsonl -o my-adapter\n  ember chat --adapter my-adapter\n  \
    ember tune sft --data my.jsonl --preview\n  ember tune sft --data my.jsonl -o my-adapter --val 0.1 --rank 8 --lr 1e-4 --epochs 5\n  \
    ember tune sft --data my.jsonl -o my-adapter --resume"
)]
pub struct SftArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Examples: JSONL, JSON or text files
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    data: Vec<PathBuf>,
    /// The adapter to write, `.gguf` added; metrics and the run's state lie beside it [default: the data's name]
    #[arg(short = 'o', long, value_name = "NAME")]
    output: Option<PathBuf>,
    /// Show the first examples with what is trained on marked, and stop
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "3")]
    preview: Option<usize>,
    /// Go on with a run that was stopped
    #[arg(long)]
    resume: bool,
    /// Throw away the state of a run that was stopped
    #[arg(long, conflicts_with = "resume")]
    restart: bool,
    /// Begin with this adapter instead of a new one
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    #[command(flatten)]
    examples: DataArgs,
    #[command(flatten)]
    shape: TuneShapeArgs,
    #[command(flatten)]
    training: TrainingArgs,
    #[command(flatten)]
    pub(super) run: drive::RunArgs,
    /// Chat template: a built-in name, or the path of a Jinja file [default: the model's own]
    #[arg(long, value_name = "NAME|PATH", help_heading = "Data")]
    chat_template: Option<String>,
    /// Refuse to start if the memory map is larger; layers are run again where that makes it fit
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, help_heading = "Device")]
    budget: Option<u64>,
    #[command(flatten)]
    device: DeviceArgs,
}

/// What becomes of the data.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Data")]
struct DataArgs {
    /// What is learnt: the assistant's turns and completions, or everything
    #[arg(long, value_enum, default_value_t)]
    train_on: On,
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

#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
enum On {
    /// The assistant's turns, completions, and texts
    #[default]
    Completions,
    /// Every token
    All,
}

/// The optimizer and how long it works.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Training")]
struct TrainingArgs {
    /// Learning rate
    #[arg(long, value_name = "X", default_value_t = 5e-4)]
    lr: f32,
    /// Learning rate over time
    #[arg(long, value_enum, default_value_t)]
    schedule: Falls,
    /// Steps over which the learning rate rises at the start
    #[arg(long, value_name = "STEPS", default_value_t = 0)]
    warmup: u64,
    /// Decoupled weight decay
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    weight_decay: f32,
    /// Largest norm of the gradient; 0 for no limit
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    clip: f32,
    /// Micro-batches whose gradients make one step
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    accumulate: u32,
    /// Fill each micro-batch with as many sequences as fit --seq tokens
    #[arg(long)]
    pack: bool,
    /// Keep what the model knew: weight of staying as it is on texts that it writes itself first; 0 for plain fine-tuning
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = weight)]
    keep: f32,
    /// Times to go through the data [default: 3; small data sets more often]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    epochs: Option<u64>,
    /// Stop after so many steps
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_steps: Option<u64>,
    /// Random seed
    #[arg(short = 's', long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Steps between validations [default: once an epoch]
    #[arg(long, value_name = "STEPS", default_value_t = 0)]
    eval_every: u64,
    /// Validations without a better loss after which training ends; 0 for never
    #[arg(long, value_name = "N", default_value_t = 3)]
    patience: u64,
}

#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Falls {
    /// The same to the end
    Constant,
    /// Falls to zero in a straight line
    #[default]
    Linear,
    /// Falls to zero in half a cosine wave
    Cosine,
}

/// Runs the command.
pub fn run(args: &SftArgs) -> CliResult {
    let model = engine::open(&args.model)?;
    let prompt = PromptArgs { system: None, chat_template: args.chat_template.clone() };
    let prompter = Prompter::for_text(&model, &prompt, false)?;
    let (dataset, validation) = load(args, &prompter)?;
    if let Some(count) = args.preview {
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        preview::print(&dataset, prompter.tokenizer(), count, Paint::stdout(), &mut out)?;
        return Ok(std::io::Write::flush(&mut out)?);
    }
    let files = drive::Files::beside(&args.output.clone().unwrap_or_else(|| default_output(&args.data)));
    let from = args.from.as_deref().map(|path| open_adapter(path, &model)).transpose()?;
    let settings = settings(args, &dataset);
    let place = place(args);
    let identity = identity(&model, &dataset, &validation, args)?;
    let mut trainer = Trainer::new(
        &model,
        dataset.examples.clone(),
        validation.examples.clone(),
        &settings,
        &place,
        from.as_ref(),
    )?;
    if settings.keep > 0.0 {
        trainer.keep(keep::texts(&model, &prompter, &place.device, settings.seed as u32)?)?;
    }
    drive::announce(&mut trainer, &drive::examples(&dataset, &validation));
    let info = BTreeMap::from([
        ("data.files".to_owned(), names(&dataset)),
        ("data.sha256".to_owned(), hashes(&dataset)),
        ("data.sequences".to_owned(), dataset.examples.len().to_string()),
    ]);
    let job = drive::Job { files, identity, info, resume: args.resume, restart: args.restart };
    drive::drive(&mut trainer, &job, &args.run)
}

fn weight(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(weight) if weight >= 0.0 && weight.is_finite() => Ok(weight),
        _ => Err(format!("`{text}` is not a number of at least 0")),
    }
}

/// Reads the data and cuts off what is held out.
fn load(args: &SftArgs, prompter: &Prompter) -> CliResult<(Dataset, Dataset)> {
    let options = EncodeOptions {
        train_on: match args.examples.train_on {
            On::Completions => TrainOn::Completions,
            On::All => TrainOn::All,
        },
        max_len: args.shape.seq as usize,
        overlong: if args.examples.truncate { Overlong::Truncate } else { Overlong::Skip },
        strict: args.examples.strict,
    };
    let encoder = Encoder::new(prompter.tokenizer(), prompter.template(), options);
    let read = |paths: &[PathBuf]| -> CliResult<Dataset> {
        let (dataset, report) = Dataset::load(paths, &encoder)?;
        if report.skipped_count() > 0 || report.truncated > 0 || report.without_end > 0 {
            term::warn(&report);
        }
        Ok(dataset)
    };
    let dataset = read(&args.data)?;
    match args.examples.val.as_deref() {
        None => Ok((dataset, Dataset::default())),
        Some(part) => match part.parse::<f64>() {
            Ok(part) if (0.0..1.0).contains(&part) => Ok(dataset.split(part, args.training.seed)),
            Ok(_) => Err(CliError::usage("--val takes a part below 1, such as 0.1, or a file")),
            Err(_) => Ok((dataset, read(&[PathBuf::from(part)])?)),
        },
    }
}

fn settings(args: &SftArgs, dataset: &Dataset) -> Settings {
    let t = &args.training;
    let mut settings = Settings {
        lora: args.shape.lora(),
        learning_rate: t.lr,
        schedule: match t.schedule {
            Falls::Constant => Schedule::Constant,
            Falls::Linear => Schedule::Linear,
            Falls::Cosine => Schedule::Cosine,
        },
        warmup: t.warmup,
        weight_decay: t.weight_decay,
        clip: t.clip,
        batch: args.shape.batch as usize,
        accumulate: t.accumulate as usize,
        keep: t.keep,
        pack: t.pack,
        seq: args.shape.seq as usize,
        max_steps: t.max_steps,
        seed: t.seed,
        eval_every: t.eval_every,
        patience: t.patience,
        ..Settings::default()
    };
    settings.epochs = t.epochs.unwrap_or_else(|| {
        let window = (settings.batch * settings.accumulate).max(1);
        let steps = dataset.examples.len().div_ceil(window).max(1) as u64;
        let enough = t.max_steps.map_or(FEW_STEPS, |max| max.max(FEW_STEPS));
        enough.div_ceil(steps).clamp(3, if t.max_steps.is_some() { u64::MAX } else { MOST_EPOCHS })
    });
    settings
}

fn place(args: &SftArgs) -> Place {
    let context = ContextArgs { budget: args.budget, ..ContextArgs::default() };
    args.shape.place(session_options(&args.device, &context, Modes::GENERATE))
}

/// What a checkpoint must have been begun with: model, data, and how the data is read.
fn identity(model: &Model, dataset: &Dataset, validation: &Dataset, args: &SftArgs) -> CliResult<String> {
    let base = BaseFingerprint::of(model.file())?;
    let held_out = if validation.examples.is_empty() { String::new() } else { hashes(validation) };
    Ok(format!(
        "base {}, data {}, {} sequences, {} held out {held_out}, train-on {:?}, from {}",
        &base.sha256[..base.sha256.len().min(16)],
        hashes(dataset),
        dataset.examples.len(),
        validation.examples.len(),
        args.examples.train_on,
        args.from.as_deref().map_or("nothing".into(), |p| p.display().to_string()),
    ))
}

fn hashes(dataset: &Dataset) -> String {
    dataset.files.iter().map(|f| f.sha256.get(..16).unwrap_or(&f.sha256)).collect::<Vec<_>>().join(" ")
}

fn names(dataset: &Dataset) -> String {
    let name = |p: &Path| p.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    dataset.files.iter().map(|f| name(&f.path)).collect::<Vec<_>>().join(" ")
}

/// `my.jsonl` makes `my-adapter`, in the current folder.
fn default_output(data: &[PathBuf]) -> PathBuf {
    let stem = data.first().and_then(|p| p.file_stem()).unwrap_or_default().to_string_lossy().into_owned();
    PathBuf::from(format!("{stem}-adapter"))
}

fn open_adapter(path: &Path, model: &Model) -> CliResult<Adapter> {
    let adapter = Adapter::open(path).map_err(|e| CliError::from(e).at(path.display()))?;
    adapter.check_base(model.file(), false).map_err(|e| CliError::from(e).at(path.display()))?;
    Ok(adapter)
}
