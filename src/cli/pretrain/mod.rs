//! `ember pretrain`: from raw text to a model.

mod config;
mod tokens;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use crate::adapter::BaseFingerprint;
use crate::cli::args::{ContextArgs, DeviceArgs, or, session_options};
use crate::cli::engine;
use crate::cli::error::{CliError, CliResult};
use crate::cli::output::{ReplaceArgs, say_kept, write_text};
use crate::cli::show;
use crate::cli::term::{self, parse_bytes};
use crate::cli::tune::args::MemoryArgs;
use crate::cli::tune::differences::Identity;
use crate::cli::tune::drive::{self, RunArgs};
use crate::cli::tune::files::{Begin, Files, Found, Outputs};
use crate::cli::tune::steps;
use crate::model::{Blueprint, Model};
use crate::session::Modes;
use crate::text::Tokenizer;
use crate::train::corpus::{Corpus, Pieces, Sampler, Split};
use crate::train::pretrain::{CorpusWindows, OUTPUTS, Recipe, Samples, write_random};
use crate::train::{Settings, Trainer};

use config::Config;

/// Tokens of a beginning that is sampled from, and of what the model adds.
const BEGINNING: usize = 8;
const SAMPLED: usize = 48;
/// Temperature of samples.
const WARMTH: f32 = 0.8;

/// Make a model from nothing: raw text in, a GGUF model out
///
/// A decoder-only transformer starts from random weights and learns to predict the next token of the text, at every
/// position. A tokenizer is made of the same text first. One dial, --size, sets shape, batch, rate and steps; each can be
/// set by itself, or in a TOML file. The run can be stopped with Ctrl-C, or killed, and resumed to the same bits. The result is
/// an ordinary GGUF file; with --from, all weights of a model that exists go on learning.
#[derive(Args, Clone, Debug)]
#[command(
    mut_arg("chunk", |a| a.help(or("Positions whose logits are held together; fewer need less memory", OUTPUTS))),
    after_help = "Examples:\n  ember pretrain --text books/ --size 3m -o mine\n  ember run -m mine.gguf --raw -p \"Once upon\"\n  \
    ember pretrain --text books/ --size 1m --steps 500 --lr 2e-3 --prompt \"Once\" -o mine\n  \
    ember pretrain --text notes/ --from model.gguf -o model-of-my-notes\n  ember pretrain --config mine.toml -o again"
)]
pub struct PretrainArgs {
    /// The model to write, `.gguf` added; metrics, samples, settings and the run's state lie beside it
    #[arg(short = 'o', long, value_name = "NAME")]
    output: PathBuf,
    /// Settings, as a run writes them beside its model; the command line decides over them
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    said: Config,
    /// Say what would be trained, and stop
    #[arg(long)]
    dry_run: bool,
    /// Go on with a run that was stopped
    #[arg(long)]
    resume: bool,
    /// Throw away the state of a run that was stopped
    #[arg(long, conflicts_with = "resume")]
    restart: bool,
    #[command(flatten)]
    replace: ReplaceArgs,
    #[command(flatten)]
    memory: MemoryArgs,
    #[command(flatten)]
    run: RunArgs,
    /// Refuse to start if the memory map is larger; layers are run again where that makes it fit
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, help_heading = "Device")]
    budget: Option<u64>,
    #[command(flatten)]
    device: DeviceArgs,
}

/// What a run is made of, before its weights are there.
struct Draft {
    config: Config,
    recipe: Recipe,
    settings: Settings,
    blueprint: Option<Blueprint>,
    corpus: Arc<Corpus>,
    tokenizer: Tokenizer,
}

/// Runs the command.
pub fn run(args: &PretrainArgs) -> CliResult {
    let config = args.said.over(args.config.as_deref())?;
    let format = config.format()?;
    if config.text.files.is_empty() {
        return Err(CliError::usage("there is no text to learn").advise("--text FILE or FOLDER"));
    }
    let outputs = outputs(args, &config)?;
    let files = outputs.files.clone();
    files.make_folders()?;
    let done = begin(args, config, outputs, format);
    // What a run that was stopped goes on from stays.
    if !files.begun() {
        tokens::clean(&files.state);
    }
    done
}

/// Makes what training begins with, says what it is, and trains.
fn begin(args: &PretrainArgs, config: Config, outputs: Outputs, format: crate::quant::Format) -> CliResult {
    let (draft, start) = draft(args, config, &outputs.files.state, outputs.files.begun())?;
    say(&draft);
    if args.dry_run {
        return Ok(());
    }
    let model = engine::open_file(&start)?;
    train(args, &draft, &model, outputs, format)
}

/// The run's files, with the state of one that is thrown away gone.
fn outputs(args: &PretrainArgs, config: &Config) -> CliResult<Outputs> {
    let files = Files::beside(&args.output, args.run.plot())?;
    let begin = Begin { resume: args.resume, restart: args.restart, replace: args.replace };
    let read = config.text.files.iter().map(PathBuf::as_path);
    let read = read.chain(config.text.tokenizer.as_deref()).chain(config.model.from.as_deref());
    let read: Vec<&Path> = read.chain(args.config.as_deref()).collect();
    let mut outputs = files.look(begin, &read)?;
    if matches!(outputs.found, Found::Nothing) && outputs.begin.restart {
        outputs.files.forget()?;
        tokens::clean(&outputs.files.state);
        outputs.begin.restart = false;
    }
    Ok(outputs)
}

/// Tokenizer, tokens and weights to begin with, made or found in the folder of the run's state, and the file of the weights.
fn draft(args: &PretrainArgs, config: Config, folder: &Path, begun: bool) -> CliResult<(Draft, PathBuf)> {
    if let Some(from) = &config.model.from {
        let path = engine::here(&from.display().to_string())?;
        let model = engine::open_file(&path)?;
        let tokenizer = engine::tokenizer(model.file())?;
        let corpus = tokens::corpus(&config, &tokenizer, folder)?;
        let recipe = config.recipe_from(&model)?;
        let settings = config.settings(&recipe, model.parameters(), corpus.tokens(Split::Train));
        return Ok((Draft { config, recipe, settings, blueprint: None, corpus, tokenizer }, path));
    }
    let recipe = config.recipe()?;
    let vocabulary = tokens::tokenizer(&config, &recipe, folder, begun)?;
    let tokenizer = engine::tokenizer(&vocabulary)?;
    let corpus = tokens::corpus(&config, &tokenizer, folder)?;
    let name = args.output.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let blueprint = config.blueprint(&recipe, &name, tokenizer.vocab_len())?;
    let settings = config.settings(&recipe, blueprint.parameters(), corpus.tokens(Split::Train));
    let start = folder.join(tokens::START);
    if !args.dry_run {
        write_random(&start, &blueprint, &tokens::metadata(&vocabulary), settings.seed)?;
    }
    Ok((Draft { config, recipe, settings, blueprint: Some(blueprint), corpus, tokenizer }, start))
}

/// Says what the dial stands for.
fn say(draft: &Draft) {
    let (s, tokens) = (&draft.settings, draft.corpus.tokens(Split::Train));
    let steps = s.max_steps.unwrap_or(0);
    let seen = steps * draft.recipe.tokens_a_step();
    if let Some(b) = &draft.blueprint {
        term::say(format!(
            "{}: {} weights; {} layers, {} wide, {} heads of {} ({} for keys and values), feed-forward {}, {} tokens known, \
             context {}",
            b.arch.name,
            term::grouped(b.parameters()),
            b.layers,
            b.width,
            b.heads,
            b.head_dim,
            b.kv_heads,
            b.ff,
            term::grouped(b.vocab as u64),
            b.ctx
        ));
    }
    term::say(format!(
        "{} steps of {} x {} windows of {} tokens: {} tokens, {:.1} times the text; rate {} ({:?}), warm-up {}",
        term::grouped(steps),
        s.accumulate,
        s.batch,
        s.seq,
        term::grouped(seen),
        seen as f64 / tokens.max(1) as f64,
        s.learning_rate,
        s.schedule,
        s.warmup
    ));
}

/// The run itself.
fn train(
    args: &PretrainArgs,
    draft: &Draft,
    model: &Model,
    outputs: Outputs,
    format: crate::quant::Format,
) -> CliResult {
    let sampler = Sampler::new(Arc::clone(&draft.corpus), draft.settings.seq, draft.settings.seed)?;
    let samples = samples(draft, &sampler)?;
    let windows = CorpusWindows::new(sampler, Some(draft.config.validated()));
    let context = ContextArgs { budget: args.budget, ..ContextArgs::default() };
    let place = args.memory.place(session_options(&args.device, &context, Modes::GENERATE));
    let mut trainer = Trainer::pretrain(model, Box::new(windows), samples, &draft.settings, &place)
        .map_err(|e| CliError::from(e).at(model.path().display()))?;
    let info = info(draft);
    if outputs.finished(&trainer, &info)? {
        return Ok(());
    }
    let corpus = &draft.corpus;
    let tokens = |part| term::grouped(corpus.tokens(part));
    drive::announce(
        &mut trainer,
        &format!("{} tokens, {} held out", tokens(Split::Train), tokens(Split::Validation)),
    );
    let existing =
        if outputs.begin.resume { crate::io::Existing::Replace } else { outputs.begin.replace.existing() };
    let settings = draft.config.resolved(&draft.recipe, draft.blueprint.as_ref(), &draft.settings).as_toml();
    let said = outputs.files.result.with_extension("toml");
    if args.config.as_deref().is_none_or(|config| !crate::io::output::same_file(config, &said)) {
        say_kept(&said, write_text(&said, &settings, existing)?.as_slice());
    }
    let identity = identity(draft, model)?;
    let chats = model.gguf().metadata.value("tokenizer.chat_template").is_some();
    let next = if chats { "ember chat -m {}" } else { "ember run --raw -m {} -p TEXT" };
    let job = drive::Job {
        format,
        next,
        samples: steps::Samples { count: usize::MAX, every: 1 },
        record_samples: true,
        ..drive::Job::new(outputs, identity, info)
    };
    drive::drive(&mut trainer, &job, &args.run)
}

/// What the model is asked to continue: what was asked for, or how held-out text begins.
fn samples(draft: &Draft, sampler: &Sampler) -> CliResult<Samples> {
    let t = &draft.config.training;
    let steps = draft.settings.max_steps.unwrap_or(1);
    let every = t.sample_every.unwrap_or((steps / 10).max(1));
    let mut prompts: Vec<(String, Vec<u32>)> = Vec::new();
    for text in &t.prompts {
        let tokens = draft.tokenizer.encode(text, true, true);
        if tokens.is_empty() {
            return Err(CliError::usage("--prompt has no tokens").advise("a text to go on from"));
        }
        prompts.push((text.clone(), tokens));
    }
    if prompts.is_empty() && every > 0 {
        let mut pieces = Pieces::new();
        if sampler.validation_windows() > 0 {
            sampler.validation_window(0, &mut pieces)?;
        } else {
            sampler.window(0, &mut pieces)?;
        }
        let first = pieces.sequences().next().map(|s| s.tokens.to_vec()).unwrap_or_default();
        let first = first[..first.len().min(BEGINNING)].to_vec();
        prompts.extend((!first.is_empty()).then(|| (draft.tokenizer.decode(&first, true), first)));
    }
    let room = draft.settings.seq.saturating_sub(prompts.iter().map(|p| p.1.len()).max().unwrap_or(0));
    Ok(Samples { every, prompts, max_new: room.clamp(1, SAMPLED), temperature: WARMTH })
}

/// Notes that go into the model.
fn info(draft: &Draft) -> BTreeMap<String, String> {
    let names: Vec<String> =
        draft.config.text.files.iter().map(|p| show::line(&p.display().to_string())).collect();
    BTreeMap::from([
        ("data.files".into(), names.join(" ")),
        ("data.sha256".into(), draft.corpus.content()),
        ("data.sequences".into(), draft.corpus.tokens(Split::Train).to_string()),
    ])
}

/// What a checkpoint must have been begun with.
fn identity(draft: &Draft, model: &Model) -> CliResult<String> {
    let base = BaseFingerprint::of(model.file())?;
    let tokens = |part| format!("{} tokens", draft.corpus.tokens(part));
    let identity = Identity {
        model: match draft.blueprint {
            Some(_) => "of random weights".to_owned(),
            None => model.config().name.clone(),
        },
        base: base.sha256.chars().take(16).collect(),
        data: draft.config.text.files.iter().map(|path| path.display().to_string()).collect(),
        contents: draft.corpus.content(),
        items: tokens(Split::Train),
        sequences: String::new(),
        held_out: tokens(Split::Validation),
        held_out_contents: String::new(),
        how: String::new(),
        from: None,
        from_contents: String::new(),
    };
    serde_json::to_string(&identity).map_err(CliError::failed)
}
