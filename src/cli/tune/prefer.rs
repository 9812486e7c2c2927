//! `ember tune dpo`, `ipo`, `orpo`, `simpo` and `kto`: from preferences to an adapter; `ember tune reward`: to a judge.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::cli::advice;
use crate::cli::args::ModelArgs;
use crate::cli::engine;
use crate::cli::error::{CliError, CliResult};
use crate::cli::prompt::Prompter;
use crate::cli::term::{self, Paint};
use crate::cli::tune::args::TuneShapeArgs;
use crate::cli::tune::files::Outputs;
use crate::cli::tune::shared::{
    self, Epochs, HeldOutArgs, LengthArgs, OptimizerArgs, OutputArgs, PlaceArgs, ValidationArgs,
};
use crate::cli::tune::{drive, identity, keep, preview};
use crate::model::Model;
use crate::train::data::{Example, Item, Items, Pair, Thumb, TrainOn};
use crate::train::objective::{Dpo, Ipo, Kto, Orpo, PairObjective, RewardLoss, SimPo};
use crate::train::{Against, Feedback, FeedbackOptions, LoraOptions, RankedPair, Settings, Trainer};

/// Going through preferences again and again drives both answers' probabilities down.
const EPOCHS: Epochs = Epochs { least: 1, few_steps: 100, most: 10 };

/// What all of them take.
#[derive(Args, Clone, Debug)]
#[command(
    mut_arg("epochs", |a| a.help("Times to go through the data [default: 1; small data sets more often]")),
    mut_arg("batch", |a| a.help("Pairs or rated answers of a micro-batch; they run through the model one by one")),
    mut_arg("seq", |a| a.help("Most tokens of a prompt with an answer; longer rows are skipped, or cut with --truncate"))
)]
pub struct PreferArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Pairs: JSONL or JSON files of `prompt`, `chosen` and `rejected`
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    data: Vec<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    held_out: HeldOutArgs,
    #[command(flatten)]
    shape: TuneShapeArgs,
    #[command(flatten)]
    training: TrainingArgs,
    #[command(flatten)]
    run: drive::RunArgs,
    #[command(flatten)]
    place: PlaceArgs,
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
    #[command(flatten)]
    length: LengthArgs,
    #[command(flatten)]
    validation: ValidationArgs,
}

/// Keeping what the model knew.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Training")]
struct KeepArgs {
    /// Keep what the model knew: weight of staying as it is on texts that it writes itself first; 0 for none
    #[arg(long, value_name = "X", default_value_t = Settings::default().keep, value_parser = shared::weight)]
    keep: f32,
}

/// What a policy is compared with.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Objective")]
pub struct ReferenceArgs {
    /// What the model is compared with [default: start]
    #[arg(long, value_enum)]
    reference: Option<Reference>,
}

#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Reference {
    /// The model as training finds it: with the adapter of --from, frozen
    #[default]
    Start,
    /// The model without any adapter
    Base,
}

impl ReferenceArgs {
    /// As the trainers take it.
    pub fn against(&self) -> Against {
        match self.reference.unwrap_or_default() {
            Reference::Start => Against::Start,
            Reference::Base => Against::Base,
        }
    }

    /// Whether it was chosen.
    pub fn given(&self) -> bool {
        self.reference.is_some()
    }
}

/// Weights of an objective of pairs.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Objective")]
struct PairArgs {
    /// How much a departure from the reference counts
    #[arg(long, value_name = "X", default_value_t = Dpo::default().beta)]
    beta: f64,
    /// Weight of learning the better answer as it is, beside preferring it
    #[arg(long, value_name = "X", default_value_t = 0.0, value_parser = shared::weight)]
    sft: f32,
}

/// `dpo` and `ipo`.
#[derive(Args, Clone, Debug)]
pub struct ReferredArgs {
    #[command(flatten)]
    prefer: PreferArgs,
    #[command(flatten)]
    pairs: PairArgs,
    #[command(flatten)]
    reference: ReferenceArgs,
    #[command(flatten)]
    keep: KeepArgs,
}

/// `orpo`.
#[derive(Args, Clone, Debug)]
pub struct OrpoArgs {
    #[command(flatten)]
    prefer: PreferArgs,
    #[command(flatten)]
    pairs: PairArgs,
    #[command(flatten)]
    keep: KeepArgs,
}

/// `simpo`.
#[derive(Args, Clone, Debug)]
pub struct SimpoArgs {
    #[command(flatten)]
    orpo: OrpoArgs,
    /// By how much the better answer's reward is to be ahead
    #[arg(long, value_name = "X", default_value_t = SimPo::default().gamma, help_heading = "Objective")]
    gamma: f64,
}

/// `kto`.
#[derive(Args, Clone, Debug)]
pub struct KtoArgs {
    #[command(flatten)]
    prefer: PreferArgs,
    #[command(flatten)]
    objective: ThumbArgs,
    #[command(flatten)]
    reference: ReferenceArgs,
    #[command(flatten)]
    keep: KeepArgs,
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Objective")]
struct ThumbArgs {
    /// How much a departure from the reference counts
    #[arg(long, value_name = "X", default_value_t = Kto::default().beta)]
    beta: f64,
    /// Weight of the answers that were liked
    #[arg(long, value_name = "X", default_value_t = Kto::default().desirable_weight)]
    desirable_weight: f64,
    /// Weight of the others
    #[arg(long, value_name = "X", default_value_t = Kto::default().undesirable_weight)]
    undesirable_weight: f64,
}

/// `reward`.
#[derive(Args, Clone, Debug)]
pub struct JudgeArgs {
    #[command(flatten)]
    prefer: PreferArgs,
    /// Weight of keeping rewards around zero: of the square of a pair's sum
    #[arg(long, value_name = "X", default_value_t = RewardLoss::default().center, help_heading = "Objective")]
    center: f64,
}

/// Runs `dpo`.
pub fn dpo(args: &ReferredArgs) -> CliResult {
    let objective = PairObjective::Dpo(Dpo { beta: args.pairs.beta });
    pairs(&args.prefer, &args.pairs, objective, args.reference.against(), args.keep.keep)
}

/// Runs `ipo`.
pub fn ipo(args: &ReferredArgs) -> CliResult {
    let objective = PairObjective::Ipo(Ipo { beta: args.pairs.beta });
    pairs(&args.prefer, &args.pairs, objective, args.reference.against(), args.keep.keep)
}

/// Runs `orpo`.
pub fn orpo(args: &OrpoArgs) -> CliResult {
    let objective = PairObjective::Orpo(Orpo { beta: args.pairs.beta });
    pairs(&args.prefer, &args.pairs, objective, Against::Start, args.keep.keep)
}

/// Runs `simpo`.
pub fn simpo(args: &SimpoArgs) -> CliResult {
    let OrpoArgs { prefer, pairs: weights, keep } = &args.orpo;
    let objective = PairObjective::SimPo(SimPo { beta: weights.beta, gamma: args.gamma });
    pairs(prefer, weights, objective, Against::Start, keep.keep)
}

fn pairs(
    args: &PreferArgs,
    weights: &PairArgs,
    pairs: PairObjective,
    against: Against,
    keep: f32,
) -> CliResult {
    let options = FeedbackOptions { pairs, kto: Kto::default(), sft: f64::from(weights.sft), against };
    feedback::<Pair>(args, &options, keep)
}

/// Runs `kto`.
pub fn kto(args: &KtoArgs) -> CliResult {
    let objective = &args.objective;
    let kto = Kto {
        beta: objective.beta,
        desirable_weight: objective.desirable_weight,
        undesirable_weight: objective.undesirable_weight,
    };
    let pairs = PairObjective::Dpo(Dpo::default());
    let options = FeedbackOptions { pairs, kto, sft: 0.0, against: args.reference.against() };
    feedback::<Thumb>(&args.prefer, &options, args.keep.keep)
}

/// A kind of preference.
trait Preference: Item + Clone {
    /// What people call several.
    const NAME: &'static str;
    /// Sequences of one.
    const SEQUENCES: usize;
    /// Its sequences, with what each is.
    fn sequences(&self) -> Vec<(&'static str, &Example)>;
    /// As the trainer takes it.
    fn feedback(self) -> Feedback;
}

impl Preference for Pair {
    const NAME: &'static str = "pairs";
    const SEQUENCES: usize = 2;

    fn sequences(&self) -> Vec<(&'static str, &Example)> {
        vec![("chosen", &self.chosen), ("rejected", &self.rejected)]
    }

    fn feedback(self) -> Feedback {
        Feedback::Pair { chosen: self.chosen, rejected: self.rejected }
    }
}

impl Preference for Thumb {
    const NAME: &'static str = "answers";
    const SEQUENCES: usize = 1;

    fn sequences(&self) -> Vec<(&'static str, &Example)> {
        vec![(if self.desirable { "liked" } else { "not liked" }, &self.example)]
    }

    fn feedback(self) -> Feedback {
        Feedback::Thumb { example: self.example, desirable: self.desirable }
    }
}

/// Data, read, with what is held out; `None` if it was only to be shown.
fn load<T: Preference>(args: &PreferArgs, prompter: &Prompter) -> CliResult<Option<(Items<T>, Items<T>)>> {
    let sizes = (TrainOn::Completions, args.shape.seq as usize, args.training.length.seed);
    let (data, validation) = args.held_out.load::<T>(&args.data, prompter, sizes)?;
    let Some(count) = args.output.preview else { return Ok(Some((data, validation))) };
    let mut out = std::io::BufWriter::new(term::listing());
    let shown = data.items.iter().take(count).flat_map(|item| item.sequences());
    preview::sequences(shown, &data.files, prompter.tokenizer(), Paint::stdout(), &mut out)?;
    preview::total(T::NAME, &data, &mut out)?;
    std::io::Write::flush(&mut out)?;
    Ok(None)
}

fn settings(args: &PreferArgs, items: usize, keep: f32, lora: LoraOptions) -> Settings {
    let t = &args.training;
    let mut settings = Settings {
        batch: args.shape.batch() as usize,
        accumulate: t.accumulate as usize,
        full: args.output.full,
        keep,
        seq: args.shape.seq as usize,
        ..t.optimizer.settings(lora)
    };
    t.validation.put(&mut settings);
    let window = (settings.batch * settings.accumulate).max(1);
    t.length.put(&mut settings, items.div_ceil(window) as u64, EPOCHS);
    settings
}

fn feedback<T: Preference>(args: &PreferArgs, options: &FeedbackOptions, keep: f32) -> CliResult {
    options.check().map_err(CliError::usage)?;
    let outputs = outputs(args)?;
    let model = engine::open(&args.model)?;
    let prompter = args.place.prompter(&model)?;
    let Some((data, validation)) = load::<T>(args, &prompter)? else { return Ok(()) };
    args.training.validation.check(validation.items.len())?;
    let from = args.output.begin(&model, false)?;
    let settings = settings(args, data.items.len(), keep, args.shape.lora_from(from.as_ref())?);
    let place = args.place.place(&args.shape.memory);
    let items = |data: &Items<T>| data.items.iter().cloned().map(T::feedback).collect();
    let mut trainer = Trainer::feedback(
        &model,
        items(&data),
        items(&validation),
        options,
        &settings,
        &place,
        from.as_ref(),
    )
    .map_err(|e| advice::without_batch(e, args.shape.seq, T::SEQUENCES))?;
    if outputs.finished(&trainer, &identity::info(&data))? {
        return Ok(());
    }
    if settings.keep > 0.0 {
        trainer.anchor(keep::texts(&model, &prompter, &place.device, settings.seed as u32)?)?;
    }
    drive(args, outputs, &model, &mut trainer, (&data, &validation))
}

/// What the run writes, if it can be written.
fn outputs(args: &PreferArgs) -> CliResult<Outputs> {
    let read = shared::inputs(&args.model, &args.place, Some(&args.held_out));
    args.output.files(&args.data, &read, &args.run)
}

fn drive<T: Preference>(
    args: &PreferArgs,
    outputs: Outputs,
    model: &Model,
    trainer: &mut Trainer,
    (data, validation): (&Items<T>, &Items<T>),
) -> CliResult {
    let identity = identity::identity(model, data, validation, &args.output, (T::NAME, ""))?;
    drive::announce(trainer, &drive::data_in_words(T::NAME, data, validation));
    let job = drive::Job::new(outputs, identity, identity::info(data));
    drive::drive(trainer, &job, &args.run)
}

/// Runs `reward`.
pub fn reward(args: &JudgeArgs) -> CliResult {
    let objective = RewardLoss { center: args.center };
    objective.check().map_err(CliError::usage)?;
    let args = &args.prefer;
    if args.output.full {
        let what = "a reward model is an adapter with a head, so that it judges on the same weights as those that it is used with";
        return Err(CliError::usage(what).advise("leave out --full; --rank 32 makes a larger adapter"));
    }
    let outputs = outputs(args)?;
    let model = engine::open(&args.model)?;
    let prompter = args.place.prompter(&model)?;
    let Some((data, validation)) = load::<Pair>(args, &prompter)? else { return Ok(()) };
    args.training.validation.check(validation.items.len())?;
    let from = args.output.begin(&model, true)?;
    let settings = settings(args, data.items.len(), 0.0, args.shape.lora_from(from.as_ref())?);
    let place = args.place.place(&args.shape.memory);
    let ranked = |data: &Items<Pair>| {
        let one =
            |pair: Pair| RankedPair { chosen: pair.chosen, rejected: pair.rejected, margin: pair.margin };
        data.items.iter().cloned().map(one).collect()
    };
    let mut trainer = Trainer::reward(
        &model,
        ranked(&data),
        ranked(&validation),
        objective,
        &settings,
        &place,
        from.as_ref(),
    )
    .map_err(|e| advice::without_batch(e, args.shape.seq, Pair::SEQUENCES))?;
    if outputs.finished(&trainer, &identity::info(&data))? {
        return Ok(());
    }
    drive(args, outputs, &model, &mut trainer, (&data, &validation))
}
