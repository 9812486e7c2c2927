//! `ember tune sft`: from a data file to an adapter.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::cli::args::ModelArgs;
use crate::cli::engine;
use crate::cli::error::CliResult;
use crate::cli::term::{self, Paint};
use crate::cli::tune::args::TuneShapeArgs;
use crate::cli::tune::shared::{
    self, Epochs, HeldOutArgs, LengthArgs, OptimizerArgs, OutputArgs, PlaceArgs, ValidationArgs,
};
use crate::cli::tune::{drive, identity, keep, preview};
use crate::train::data::{Dataset, TrainOn};
use crate::train::{LoraOptions, Settings, Trainer};

/// Small data sets get at least so many steps of the optimizer.
const EPOCHS: Epochs = Epochs { least: 3, few_steps: 120, most: 15 };

/// Fine-tune an adapter on examples
///
/// Trains a small LoRA adapter on the frozen, quantized model. DATA is JSONL with `messages` (or ShareGPT's
/// `conversations`), `prompt`/`completion`, `instruction`/`input`/`output`, `question`/`answer`, `query`/`response` or
/// `text` in each line, or plain text. Chats go through the model's own template, and what is learnt is the assistant's
/// part, but for replies with `weight` 0 or `train` false. What is skipped is said, and --preview shows what is learnt.
/// The run can be stopped with Ctrl-C, or killed, and resumed.
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
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    examples: DataArgs,
    #[command(flatten)]
    shape: TuneShapeArgs,
    #[command(flatten)]
    training: TrainingArgs,
    #[command(flatten)]
    run: drive::RunArgs,
    #[command(flatten)]
    place: PlaceArgs,
}

/// What becomes of the data.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Data")]
struct DataArgs {
    /// What is learnt: the assistant's turns and completions, or everything
    #[arg(long, value_enum, default_value_t)]
    train_on: On,
    #[command(flatten)]
    held_out: HeldOutArgs,
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
    #[command(flatten)]
    optimizer: OptimizerArgs,
    /// Micro-batches whose gradients make one step
    #[arg(long, value_name = "N", default_value_t = Settings::default().accumulate as u32, value_parser = clap::value_parser!(u32).range(1..))]
    accumulate: u32,
    /// Fill each micro-batch with as many sequences as fit --seq tokens
    #[arg(long)]
    pack: bool,
    /// Keep what the model knew: weight of staying as it is on texts that it writes itself first; 0 for plain fine-tuning
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = shared::weight)]
    keep: f32,
    #[command(flatten)]
    length: LengthArgs,
    #[command(flatten)]
    validation: ValidationArgs,
}

/// Runs the command.
pub fn run(args: &SftArgs) -> CliResult {
    args.shape.check_packing(args.training.pack)?;
    let read = shared::inputs(&args.model, &args.place, Some(&args.examples.held_out));
    let outputs = args.output.files(&args.data, &read, &args.run)?;
    let model = engine::open(&args.model)?;
    let prompter = args.place.prompter(&model)?;
    let train_on = match args.examples.train_on {
        On::Completions => TrainOn::Completions,
        On::All => TrainOn::All,
    };
    let sizes = (train_on, args.shape.seq as usize, args.training.length.seed);
    let (dataset, validation): (Dataset, Dataset) =
        args.examples.held_out.load(&args.data, &prompter, sizes)?;
    if let Some(count) = args.output.preview {
        let mut out = std::io::BufWriter::new(term::listing());
        preview::print(&dataset, prompter.tokenizer(), count, Paint::stdout(), &mut out)?;
        return Ok(std::io::Write::flush(&mut out)?);
    }
    args.training.validation.check(validation.items.len())?;
    let from = args.output.begin(&model, false)?;
    let settings = settings(args, &dataset, args.shape.lora_from(from.as_ref())?);
    let place = args.place.place(&args.shape.memory);
    let how = format!("--train-on {}", format!("{:?}", args.examples.train_on).to_lowercase());
    let identity = identity::identity(&model, &dataset, &validation, &args.output, ("sequences", &how))?;
    let info = identity::info(&dataset);
    let mut trainer = Trainer::new(
        &model,
        dataset.items.clone(),
        validation.items.clone(),
        &settings,
        &place,
        from.as_ref(),
    )?;
    if outputs.finished(&trainer, &info)? {
        return Ok(());
    }
    if settings.keep > 0.0 {
        trainer.anchor(keep::texts(&model, &prompter, &place.device, settings.seed as u32)?)?;
    }
    drive::announce(&mut trainer, &drive::data_in_words("sequences", &dataset, &validation));
    let job = drive::Job::new(outputs, identity, info);
    drive::drive(&mut trainer, &job, &args.run)
}

fn settings(args: &SftArgs, dataset: &Dataset, lora: LoraOptions) -> Settings {
    let t = &args.training;
    let mut settings = Settings {
        batch: args.shape.batch() as usize,
        accumulate: t.accumulate as usize,
        full: args.output.full,
        keep: t.keep,
        pack: t.pack,
        seq: args.shape.seq as usize,
        ..t.optimizer.settings(lora)
    };
    t.validation.put(&mut settings);
    let window = (settings.batch * settings.accumulate).max(1);
    t.length.put(&mut settings, dataset.items.len().div_ceil(window) as u64, EPOCHS);
    settings
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        sft: SftArgs,
    }

    #[test]
    fn what_is_not_said_is_as_the_library_has_it() {
        let args = Line::try_parse_from(["sft", "--data", "a.jsonl"]).unwrap().sft;
        let made = settings(&args, &Dataset::default(), args.shape.lora());
        // What the command keeps of the model, and how often it goes through the data, is its own.
        let own = Settings { keep: made.keep, epochs: made.epochs, ..Settings::default() };
        assert_eq!(made, own);
    }
}
