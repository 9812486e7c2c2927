//! `ember tune grpo`, `rloo` and `ppo`: the model writes, rewards judge, and what was better becomes likelier.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use sha2::{Digest, Sha256};

use crate::cli::advice;
use crate::cli::args::{ModelArgs, number, positive};
use crate::cli::error::{CliError, CliResult};
use crate::cli::term::{self, Paint};
use crate::cli::tune::args::{LoraShapeArgs, MemoryArgs};
use crate::cli::tune::files::Outputs;
use crate::cli::tune::prefer::ReferenceArgs;
use crate::cli::tune::reward_args::{ParsedRewards, RewardArgs};
use crate::cli::tune::shared::{self, Epochs, LengthArgs, OptimizerArgs, OutputArgs, PlaceArgs};
use crate::cli::tune::{drive, identity, preview, steps};
use crate::cli::{engine, lora};
use crate::model::Model;
use crate::train::data::{EncodeOptions, Overlong, Prompts, TrainOn};
use crate::train::objective::{Grpo, GrpoLoss, Ppo, Rloo};
use crate::train::reward::{Rule, RuleKind, answers_of};
use crate::train::rl::{Judges, Method, RlOptions, RlPrompt, SLOTS};
use crate::train::{LoraOptions, Place, Settings, Trainer};

/// A few prompts are answered again and again: the answers are new each time.
const EPOCHS: Epochs = Epochs { least: 1, few_steps: 100, most: 100 };

/// What is chosen where nothing is said, and no method says otherwise.
fn plain() -> RlOptions {
    RlOptions::of(Method::Grpo(Grpo::default()))
}

/// Help of the upper bound, of which one loss has another.
fn higher() -> String {
    let high = |loss| Grpo::of(loss).epsilon_high;
    let (most, dapo) = (high(GrpoLoss::Grpo), high(GrpoLoss::Dapo));
    format!("And how far it may rise: to 1 + X [default: {most}; of dapo {dapo}]")
}

/// What all of them take.
#[derive(Args, Clone, Debug)]
#[command(
    mut_arg("epochs", |a| a.help("Times to go through the prompts [default: 1; few prompts as often as 100 steps take]")),
    mut_arg("preview", |a| a.help("Show the first prompts and what the rewards may look at, and stop")),
    mut_arg("output", |a| a.help(
        "The adapter to write, `.gguf` added; metrics and the run's state lie beside it [default: the prompts' name]"))
)]
pub struct RlArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Prompts: JSONL or JSON files of `prompt`, `question` or `messages`; rewards may look at the other columns, such as `answer`
    #[arg(long, alias = "data", value_name = "FILE", required = true, num_args = 1..)]
    prompts: Vec<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    reward: RewardArgs,
    #[command(flatten)]
    rollout: RolloutArgs,
    #[command(flatten)]
    reference: ReferenceArgs,
    #[command(flatten)]
    limit: LimitArgs,
    #[command(flatten)]
    adapters: LoraShapeArgs,
    #[command(flatten)]
    memory: MemoryArgs,
    #[command(flatten)]
    training: TrainingArgs,
    #[command(flatten)]
    run: drive::RunArgs,
    #[command(flatten)]
    shown: ShownArgs,
    /// Stop at the first row that cannot be used, instead of skipping it
    #[arg(long, help_heading = "Data")]
    strict: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// What is written.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Answers")]
struct RolloutArgs {
    /// Prompts of a step
    #[arg(long, value_name = "N", default_value_t = plain().prompts as u32, value_parser = clap::value_parser!(u32).range(1..=4096))]
    prompts_per_step: u32,
    /// Answers to each prompt
    #[arg(long, value_name = "N", default_value_t = plain().group as u32, value_parser = clap::value_parser!(u32).range(1..=4096))]
    group: u32,
    /// Most tokens of an answer
    #[arg(short = 'n', long = "n-predict", aliases = ["max-new", "predict"], value_name = "N", default_value_t = plain().max_new as u32, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    max_new: u32,
    /// Most tokens of a prompt with its answer; prompts that leave no room are skipped
    #[arg(long, value_name = "N", default_value_t = Settings::default().seq as u32, value_parser = clap::value_parser!(u32).range(2..=1 << 20))]
    seq: u32,
    /// Temperature at which answers are sampled; what is learnt from are the log-probabilities at it
    #[arg(long = "temp", alias = "temperature", value_name = "T", default_value_t = plain().temperature, value_parser = number)]
    temperature: f32,
    #[arg(help = format!("Answers written at once [default: {SLOTS}]; more are faster, and take more memory"), long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    slots: Option<u32>,
    /// Do not learn from answers that were cut off at -n
    #[arg(long)]
    mask_truncated: bool,
    /// Taken from the reward of an answer that was cut off
    #[arg(long, value_name = "X", default_value_t = plain().missing_end as f32, value_parser = number)]
    missing_end: f32,
}

/// How far the policy may go.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Objective")]
struct LimitArgs {
    /// Take the model back when it is further than this from the reference, in nats of an answer [default: no limit]
    #[arg(long, value_name = "X", value_parser = positive)]
    kl_limit: Option<f32>,
}

/// The optimizer and how long it works.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Training")]
struct TrainingArgs {
    #[command(flatten)]
    optimizer: OptimizerArgs,
    /// Times that a step's answers are gone through
    #[arg(long, value_name = "N", default_value_t = plain().passes as u32, value_parser = clap::value_parser!(u32).range(1..=1000))]
    passes: u32,
    /// Updates of each of these times
    #[arg(long, value_name = "N", default_value_t = plain().minibatches as u32, value_parser = clap::value_parser!(u32).range(1..=4096))]
    minibatches: u32,
    /// Answers that go through the model together where it learns; more may be faster, and take more memory
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    batch: u32,
    #[command(flatten)]
    length: LengthArgs,
}

/// What is shown of the answers.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Run")]
struct ShownArgs {
    /// Show so many of a step's answers with their rewards; 0 for none
    #[arg(long, value_name = "N", default_value_t = 2)]
    samples: u32,
    /// Steps between those of which answers are shown, beside the first [default: 10]
    #[arg(long, alias = "sample-every", value_name = "STEPS", value_parser = clap::value_parser!(u64).range(1..))]
    samples_every: Option<u64>,
}

/// `grpo`.
#[derive(Args, Clone, Debug)]
pub struct GrpoArgs {
    #[command(flatten)]
    rl: RlArgs,
    #[command(flatten)]
    objective: GrpoObjective,
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Objective")]
struct GrpoObjective {
    /// What the loss of an answer's tokens is divided by
    #[arg(long, value_enum, default_value_t)]
    loss: Loss,
    /// Weight of the divergence from the reference; 0 for none
    #[arg(long, value_name = "X", default_value_t = Grpo::default().beta)]
    beta: f64,
    /// How far a token's probability may fall in a step before it is left alone: to 1 - X of what it was
    #[arg(long, value_name = "X", default_value_t = Grpo::default().epsilon)]
    epsilon: f64,
    #[arg(help = higher(), long, value_name = "X")]
    epsilon_high: Option<f64>,
}

#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Loss {
    /// Each answer's length, so that all answers count the same
    #[default]
    Grpo,
    /// All tokens of the step, so that all tokens count the same
    Dapo,
    /// -n, and rewards by their difference alone, whatever their spread
    DrGrpo,
}

/// `rloo`.
#[derive(Args, Clone, Debug)]
pub struct RlooArgs {
    #[command(flatten)]
    rl: RlArgs,
    #[command(flatten)]
    objective: RlooObjective,
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Objective")]
struct RlooObjective {
    /// What a nat of departure from the reference costs; 0 for nothing
    #[arg(long, value_name = "X", default_value_t = Rloo::default().beta)]
    beta: f64,
    /// How far an answer's probability may fall in a step before it is left alone: to 1 - X of what it was
    #[arg(long, value_name = "X", default_value_t = Rloo::default().epsilon)]
    epsilon: f64,
    /// And how far it may rise: to 1 + X
    #[arg(long, value_name = "X", default_value_t = Rloo::default().epsilon_high)]
    epsilon_high: f64,
}

/// `ppo`.
#[derive(Args, Clone, Debug)]
pub struct PpoArgs {
    #[command(flatten)]
    rl: RlArgs,
    #[command(flatten)]
    objective: PpoObjective,
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Objective")]
struct PpoObjective {
    /// What a nat of departure from the reference costs; 0 for nothing
    #[arg(long, value_name = "X", default_value_t = Ppo::default().kl)]
    kl: f64,
    /// How far a token's probability may go in a step before it is left alone: to 1 - X or 1 + X of what it was
    #[arg(long, value_name = "X", default_value_t = Ppo::default().clip)]
    epsilon: f64,
    /// Weight of the value model's loss
    #[arg(long, value_name = "X", default_value_t = Ppo::default().vf_coef)]
    vf_coef: f64,
    /// How far a value may go in a step
    #[arg(long, value_name = "X", default_value_t = Ppo::default().value_clip)]
    value_clip: f64,
    /// Discount of rewards, per token
    #[arg(long, value_name = "X", default_value_t = Ppo::default().gamma)]
    gamma: f64,
    /// Whether advantages trust the values (0) or the rewards (1)
    #[arg(long, value_name = "X", default_value_t = Ppo::default().lambda)]
    lambda: f64,
}

impl GrpoArgs {
    /// As the trainer takes them.
    pub fn options(&self) -> CliResult<RlOptions> {
        let o = &self.objective;
        let defaults = Grpo::of(match o.loss {
            Loss::Grpo => GrpoLoss::Grpo,
            Loss::Dapo => GrpoLoss::Dapo,
            Loss::DrGrpo => GrpoLoss::DrGrpo,
        });
        let epsilon_high = o.epsilon_high.unwrap_or(defaults.epsilon_high);
        let method = Grpo { beta: o.beta, epsilon: o.epsilon, epsilon_high, ..defaults };
        options(&self.rl, Method::Grpo(method))
    }
}

impl RlooArgs {
    /// As the trainer takes them.
    pub fn options(&self) -> CliResult<RlOptions> {
        let RlooObjective { beta, epsilon, epsilon_high } = self.objective;
        options(&self.rl, Method::Rloo(Rloo { epsilon, epsilon_high, beta }))
    }
}

impl PpoArgs {
    /// As the trainer takes them.
    pub fn options(&self) -> CliResult<RlOptions> {
        let PpoObjective { kl, epsilon, vf_coef, value_clip, gamma, lambda } = self.objective;
        let method = Ppo { clip: epsilon, kl, vf_coef, value_clip, gamma, lambda, ..Ppo::default() };
        options(&self.rl, Method::Ppo(method))
    }
}

/// Runs `grpo`.
pub fn grpo(args: &GrpoArgs) -> CliResult {
    run(&args.rl, &args.options()?)
}

/// Runs `rloo`.
pub fn rloo(args: &RlooArgs) -> CliResult {
    run(&args.rl, &args.options()?)
}

/// Runs `ppo`.
pub fn ppo(args: &PpoArgs) -> CliResult {
    run(&args.rl, &args.options()?)
}

fn run(args: &RlArgs, options: &RlOptions) -> CliResult {
    let outputs = outputs(args)?;
    let rewards = args.reward.build()?;
    let model = engine::open(&args.model)?;
    let Some(prompts) = load(args, &model)? else { return Ok(()) };
    has_answers(&args.reward.rewards, &prompts)?;
    let from = args.output.begin(&model, false)?;
    let (judges, names) = judges(rewards, &model)?;
    let how = contents(&args.reward.rewards, &judges, &names)?;
    let settings = settings(args, prompts.items.len(), args.adapters.lora_from(from.as_ref())?);
    let info = identity::info(&prompts);
    let slots = args.rollout.slots.map(|n| n as usize);
    let place = Place { slots, ..args.place.place(&args.memory) };
    let of = |p: &crate::train::data::Prompt| RlPrompt {
        tokens: p.tokens.clone(),
        text: p.text.clone(),
        row: p.row(),
    };
    let questions = prompts.items.iter().map(of).collect();
    let mut trainer = Trainer::rl(&model, questions, judges, options, &settings, &place, from.as_ref())
        .map_err(|e| advice::without_batch(e, args.rollout.seq, 1))?;
    if outputs.finished(&trainer, &info)? {
        return Ok(());
    }
    let identity =
        identity::identity(&model, &prompts, &Prompts::default(), &args.output, ("prompts", &how))?;
    let data = drive::data_in_words("prompts", &prompts, &Prompts::default());
    drive::announce(
        &mut trainer,
        &format!("{data}; {} answers a step, rewarded by {}", options.answers(), names.join(", ")),
    );
    let every = args.shown.samples_every.unwrap_or(10);
    let samples = steps::Samples { count: args.shown.samples as usize, every };
    let job = drive::Job { samples, ..drive::Job::new(outputs, identity, info) };
    drive::drive(&mut trainer, &job, &args.run)
}

fn options(args: &RlArgs, method: Method) -> CliResult<RlOptions> {
    let (rollout, training) = (&args.rollout, &args.training);
    let options = RlOptions {
        method,
        prompts: rollout.prompts_per_step as usize,
        group: rollout.group as usize,
        max_new: rollout.max_new as usize,
        temperature: rollout.temperature,
        passes: training.passes as usize,
        minibatches: training.minibatches as usize,
        mask_truncated: rollout.mask_truncated,
        missing_end: f64::from(rollout.missing_end),
        kl_limit: args.limit.kl_limit.map(f64::from),
        against: args.reference.against(),
    };
    options.check().map_err(CliError::usage)?;
    without_effect(args, &options)?;
    Ok(options)
}

/// Refuses options that would change nothing.
fn without_effect(args: &RlArgs, options: &RlOptions) -> CliResult {
    let refuse = |what: &str, advice: &str| Err(CliError::usage(what).advise(advice));
    let weight = match options.method {
        Method::Grpo(Grpo { beta, .. }) | Method::Rloo(Rloo { beta, .. }) => beta,
        Method::Ppo(Ppo { kl, .. }) => kl,
    };
    if args.reference.given() && weight == 0.0 && options.kl_limit.is_none() {
        let flag = if matches!(options.method, Method::Ppo(_)) { "--kl" } else { "--beta" };
        let advice = format!("{flag} above 0, or --kl-limit");
        return refuse("--reference has no effect: nothing is compared with it", &advice);
    }
    if args.shown.samples == 0 && args.shown.samples_every.is_some() {
        return refuse("--samples-every has no effect with --samples 0", "--samples 2");
    }
    args.reward.check()
}

/// What the run writes, if it can be written.
fn outputs(args: &RlArgs) -> CliResult<Outputs> {
    let mut read = shared::inputs(&args.model, &args.place, None).to_vec();
    // Adapters are found by names too.
    let mut judges = Vec::new();
    for rule in &args.reward.rewards {
        match &rule.kind {
            RuleKind::Schema(_, path) => read.push(Some(path)),
            RuleKind::Model(name) => judges.extend(lora::find(name)),
            _ => {}
        }
    }
    read.extend(judges.iter().map(|path| Some(path.as_path())));
    args.output.files(&args.prompts, &read, &args.run)
}

/// Prompts that leave room for an answer; `None` if they were only to be shown.
fn load(args: &RlArgs, model: &Model) -> CliResult<Option<Prompts>> {
    let (seq, max_new) = (args.rollout.seq, args.rollout.max_new);
    if max_new >= seq {
        let what = format!("answers of {max_new} tokens leave no room for a prompt in --seq {seq}");
        return Err(CliError::usage(what).advise(format!("--seq {}", u64::from(max_new) * 2)));
    }
    let prompter = args.place.prompter(model)?;
    let encode = EncodeOptions {
        train_on: TrainOn::Completions,
        // A prompt has to be shorter than this.
        max_len: (seq - max_new) as usize + 1,
        overlong: Overlong::Skip,
        strict: args.strict,
    };
    let prompts: Prompts = shared::read(&args.prompts, &prompter, encode)?;
    let Some(count) = args.output.preview else { return Ok(Some(prompts)) };
    let mut out = std::io::BufWriter::new(term::listing());
    let shown = prompts.items.iter().take(count);
    preview::prompts(shown, &prompts.files, prompter.tokenizer(), Paint::stdout(), &mut out)?;
    preview::total("prompts", &prompts, &mut out)?;
    std::io::Write::flush(&mut out)?;
    Ok(None)
}

/// Refuses rules that compare with an answer where no prompt has one, and says how many have none.
fn has_answers(rules: &[Rule], prompts: &Prompts) -> CliResult {
    let Some(rule) = rules.iter().find(|rule| rule.kind.compares_with_answer()) else { return Ok(()) };
    let all = prompts.items.len();
    let without = prompts.items.iter().filter(|prompt| answers_of(&prompt.row()).is_empty()).count();
    if without == all {
        let what = format!("`--reward {}` compares with the column `answer`, which no prompt has", rule.name);
        let failure = CliError::failed(what);
        let failure = prompts.files.iter().fold(failure, |e, file| e.at(file.path.display()));
        return Err(failure.advise("rows like {\"prompt\": \"2 + 2?\", \"answer\": \"4\"}").advise(format!(
            "`--reward '{}:TEXT'` for the same answer everywhere, or another rule (`--help-all` lists them)",
            rule.name
        )));
    }
    if without > 0 {
        term::warn(format!(
            "{without} of {all} prompts have no `answer`: `{}` gives them nothing",
            rule.name
        ));
    }
    Ok(())
}

/// Rewards that have been tried and opened, and their names with their weights.
fn judges(rewards: ParsedRewards, model: &Model) -> CliResult<(Judges, Vec<String>)> {
    let ParsedRewards { mut mix, models } = rewards;
    mix.ready()?;
    let mut names: Vec<(String, f64)> = mix.parts().map(|(name, weight)| (name.to_owned(), weight)).collect();
    let mut judges = Judges { mix, models: Vec::new() };
    for (path, weight) in models {
        let adapter = lora::judge(&path, model.file())?;
        names.push((format!("model:{}", adapter.name), f64::from(weight)));
        judges.models.push((adapter, f64::from(weight)));
    }
    let named = |(name, weight): &(String, f64)| match weight {
        1.0 => name.clone(),
        weight => format!("{name}*{weight}"),
    };
    Ok((judges, names.iter().map(named).collect()))
}

/// The rewards, and what is in the files that they come from, for the identity of a run: another judge would make it
/// another run.
fn contents(rules: &[Rule], judges: &Judges, names: &[String]) -> CliResult<String> {
    let mut hash = Sha256::new();
    let mut files = 0;
    for rule in rules {
        if let RuleKind::Schema(_, path) = &rule.kind {
            hash.update(std::fs::read(path).map_err(|e| CliError::from(e).at(path.display()))?);
            files += 1;
        }
    }
    for (adapter, _) in &judges.models {
        hash.update(adapter.write_gguf(Vec::new())?);
        files += 1;
    }
    let digest: String = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let names = names.join(", ");
    Ok(if files > 0 { format!("judged by {names} ({digest})") } else { format!("judged by {names}") })
}

fn settings(args: &RlArgs, prompts: usize, lora: LoraOptions) -> Settings {
    let t = &args.training;
    let seq = args.rollout.seq as usize;
    let batch = t.batch as usize;
    let mut settings = Settings { full: args.output.full, seq, batch, ..t.optimizer.settings(lora) };
    let steps = prompts.div_ceil(args.rollout.prompts_per_step.max(1) as usize);
    t.length.put(&mut settings, steps as u64, EPOCHS);
    settings
}
