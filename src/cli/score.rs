//! `ember score`: what a reward model makes of texts.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use crate::adapter::Adapter;
use crate::cli::advice;
use crate::cli::args::{ContextArgs, DeviceArgs, ModelArgs, PromptArgs, session_options};
use crate::cli::error::{CliError, CliResult};
use crate::cli::interrupt::Listen;
use crate::cli::progress::Bar;
use crate::cli::prompt::Prompter;
use crate::cli::show;
use crate::cli::term::{self, Paint};
use crate::cli::{engine, lora};
use crate::model::{BranchHead, Model};
use crate::session::{Modes, SessionOptions};
use crate::train::data::{
    DataError, DataFile, Dataset, EncodeOptions, Example, Overlong, Pairs, Report, Source, TrainOn,
};
use crate::train::{Engine, EngineOptions, Recompute, load_branch, rewards, shape_of};

/// Judge texts with a reward model
///
/// Prints the number that an adapter of `ember tune reward` makes of a prompt with its answer; only differences between
/// answers to one prompt mean something. Of pairs, also how often the chosen answer gets more.
#[derive(Args, Clone, Debug)]
#[command(
    mut_arg("system", |a| a.help("System prompt of conversations that have none")),
    after_help = "Examples:\n  ember score --adapter judge.gguf \"Why is the sky blue?\" \"Because it is.\"\n  \
    ember score --adapter judge.gguf --data pairs.jsonl\n  \
    ember score --adapter judge.gguf --data answers.jsonl --json"
)]
pub struct ScoreArgs {
    /// What was asked
    #[arg(value_name = "PROMPT", requires = "completion", required_unless_present = "data")]
    prompt: Option<String>,
    /// The answer
    #[arg(value_name = "COMPLETION")]
    completion: Option<String>,
    /// Pairs (`prompt`, `chosen`, `rejected`), or answers in the shapes of `ember tune sft`: JSONL or JSON files
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with = "prompt")]
    data: Vec<PathBuf>,
    /// The reward model: a file, or a name in the folder `adapters`
    #[arg(long, value_name = "NAME|PATH")]
    adapter: String,
    #[command(flatten)]
    model: ModelArgs,
    /// As JSON, a line each
    #[arg(long)]
    json: bool,
    /// Most tokens of a text; longer ones are skipped
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(2..=1 << 20))]
    seq: u32,
    #[command(flatten)]
    prompt_args: PromptArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

/// What is judged.
enum Texts {
    Pairs(Pairs),
    Answers(Dataset),
}

impl Texts {
    fn examples(&self) -> Vec<&Example> {
        match self {
            Texts::Pairs(pairs) => pairs.items.iter().flat_map(|p| [&p.chosen, &p.rejected]).collect(),
            Texts::Answers(answers) => answers.items.iter().collect(),
        }
    }
}

/// Runs the command.
pub fn run(args: &ScoreArgs) -> CliResult {
    let model = engine::open(&args.model)?;
    let adapter = lora::judge(&args.adapter, model.file())?;
    let prompter = Prompter::for_text(&model, &args.prompt_args, false)?;
    let texts = texts(args, &prompter)?;
    let context = ContextArgs::default();
    let device = session_options(&args.device, &context, Modes::GENERATE);
    let scores = scores(&model, &adapter, device, &texts.examples())?;
    let mut out = std::io::BufWriter::new(term::report(args.json));
    match &texts {
        Texts::Pairs(pairs) => print_pairs(&mut out, args, pairs, &scores)?,
        Texts::Answers(answers) => print_answers(&mut out, args, answers, &scores)?,
    }
    Ok(out.flush()?)
}

/// Reads pairs, or else answers.
fn texts(args: &ScoreArgs, prompter: &Prompter) -> CliResult<Texts> {
    let options = EncodeOptions {
        train_on: TrainOn::Completions,
        max_len: args.seq as usize,
        overlong: Overlong::Skip,
        strict: false,
    };
    let encoder = prompter.encoder(options);
    if let (Some(prompt), Some(completion)) = (&args.prompt, &args.completion) {
        let row = json!({ "prompt": prompt, "completion": completion }).to_string();
        let (mut answers, mut report) = (Dataset::default(), Report::default());
        answers.read(Path::new("the command line.json"), row.as_bytes(), &encoder, &mut report)?;
        if answers.items.is_empty() {
            return Err(advice::nothing_in(&report));
        }
        return Ok(Texts::Answers(answers));
    }
    let (texts, report) = match Pairs::load(&args.data, &encoder) {
        Ok((pairs, report)) => (Texts::Pairs(pairs), report),
        Err(DataError::NothingLeft(_)) => {
            let (answers, report) = Dataset::load(&args.data, &encoder)?;
            (Texts::Answers(answers), report)
        }
        Err(error) => return Err(error.into()),
    };
    advice::warn_of(&report);
    Ok(texts)
}

/// The reward of each text.
fn scores(
    model: &Model,
    adapter: &Adapter,
    device: SessionOptions,
    texts: &[&Example],
) -> CliResult<Vec<f64>> {
    let longest = texts.iter().map(|e| e.tokens.len()).max().unwrap_or(1);
    let options = EngineOptions {
        device,
        rows: longest,
        seq: longest,
        outputs: Some(1),
        recompute: Recompute::Nothing,
        adapters: shape_of(adapter, 0.0),
        head: BranchHead::Scalar,
        ..EngineOptions::default()
    };
    let mut engine = Engine::boot(model, &options)?;
    load_branch(&mut engine, 0, adapter)?;
    let name = show::line(&engine.model().config().name);
    let about =
        format!("{name} with {}, on {}", show::line(&adapter.name), engine::describe(engine.device()));
    term::say(Paint::stderr().dim(about));
    let (mut bar, mut scores, listen) =
        (Bar::phase("judging", texts.len() as u64), Vec::new(), Listen::new());
    for text in texts {
        if listen.pressed() {
            bar.clear();
            return Err(CliError::interrupted());
        }
        let made = rewards(&mut engine, 0, &[&text.tokens])?;
        if let Some(reward) = made.iter().find(|reward| !reward.is_finite()) {
            bar.clear();
            let what = format!("the reward of text {} is {reward}", scores.len() + 1);
            return Err(
                CliError::failed(what).advise("another model file: this one makes numbers that are none")
            );
        }
        scores.extend(made);
        bar.item(scores.len() as u64, "texts");
    }
    bar.clear();
    Ok(scores)
}

/// `pairs.jsonl:7`
fn place(source: Source, files: &[DataFile]) -> String {
    let path = files.get(source.file).map(|f| f.path.display().to_string()).unwrap_or_default();
    format!("{path}:{}", source.line)
}

fn print_pairs(out: &mut dyn Write, args: &ScoreArgs, pairs: &Pairs, scores: &[f64]) -> CliResult {
    let paint = Paint::stdout();
    if !args.json {
        let heading = format!("{:>10} {:>10} {:>10}  where", "chosen", "rejected", "margin");
        writeln!(out, "{}", paint.dim(heading))?;
    }
    let (mut right, mut margins) = (0usize, 0.0);
    for (pair, scores) in pairs.items.iter().zip(scores.chunks(2)) {
        let &[chosen, rejected] = scores else { continue };
        let (margin, place) = (chosen - rejected, place(pair.source, &pairs.files));
        right += usize::from(chosen > rejected);
        margins += margin;
        if args.json {
            let line = json!({ "chosen": chosen, "rejected": rejected, "margin": margin, "row": place });
            writeln!(out, "{line}")?;
        } else {
            let wrong = if chosen > rejected { String::new() } else { format!("  {}", paint.red("wrong")) };
            writeln!(out, "{chosen:>10.4} {rejected:>10.4} {margin:>10.4}  {place}{wrong}")?;
        }
    }
    let count = pairs.items.len().max(1) as f64;
    let (accuracy, margin) = (right as f64 / count, margins / count);
    if args.json {
        let line = json!({ "pairs": pairs.items.len(), "accuracy": accuracy, "mean_margin": margin });
        return Ok(writeln!(out, "{line}")?);
    }
    let share = paint.bold(format!("{:.1}%", accuracy * 100.0));
    Ok(writeln!(out, "\n{share} of {} pairs in the right order, mean margin {margin:.4}", pairs.items.len())?)
}

fn print_answers(out: &mut dyn Write, args: &ScoreArgs, answers: &Dataset, scores: &[f64]) -> CliResult {
    for (example, reward) in answers.items.iter().zip(scores) {
        let place = place(example.source, &answers.files);
        match (args.json, &args.prompt) {
            (true, Some(_)) => writeln!(out, "{}", json!({ "reward": reward }))?,
            (true, None) => writeln!(out, "{}", json!({ "reward": reward, "row": place }))?,
            (false, Some(_)) => writeln!(out, "{reward:.4}")?,
            (false, None) => writeln!(out, "{reward:>10.4}  {place}")?,
        }
    }
    Ok(())
}
