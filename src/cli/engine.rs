//! What the commands that run a model share: finding it, booting it, saying where it runs.

use std::path::{Path, PathBuf};

use crate::cli::args::ModelArgs;
use crate::cli::error::{CliError, CliResult};
use crate::cli::lora::{self, Loaded};
use crate::cli::progress::Bar;
use crate::cli::show;
use crate::cli::store::{self, Catalog, Choice, Family, Home, HubModel, Source, TINY_NAME};
use crate::cli::term::{self, Paint};
use crate::exec::{DeviceInfo, DeviceKind};
use crate::gguf::GgufFile;
use crate::model::Model;
use crate::session::{Generated, Session, SessionOptions};
use crate::text::{Patience, SamplerParams, Tokenizer};

/// The file that `-m` stands for, fetched if it is a known model that is not here.
pub fn find(args: &ModelArgs) -> CliResult<PathBuf> {
    let catalog = Catalog::load()?;
    let wanted = wanted(&catalog, args);
    let model = match wanted {
        Wanted::Hub(model) => return find_on_hub(&catalog, &model, args.offline),
        Wanted::Named(name) => store::choose(&catalog, name.as_deref())?,
    };
    let model = match model {
        Choice::Path(path) => return not_empty(path),
        Choice::Known(model) => model,
    };
    let home = Home::find()?;
    if let Some(path) = at_hand(&catalog, &home, &model)? {
        return Ok(path);
    }
    if args.offline {
        let missing = CliError::failed(format!("`{}` is not here, and --offline was given", model.name));
        return Err(missing
            .at(home.path_of(&model).display())
            .advise(format!("`ember pull {}`", model.name)));
    }
    super::pull::agree(&home, &model, None)?;
    let size = model.size.map_or(String::new(), |n| format!(" ({})", term::bytes(n)));
    term::say(format!("getting {}{size}, once; {}", model.name, model.licence));
    Ok(store::get(&catalog, &home, &model, false, &mut Bar::new())?.path)
}

/// What is to be opened.
enum Wanted {
    Hub(HubModel),
    /// By name or path; none is the catalogue's default.
    Named(Option<String>),
}

/// What was asked for, else what the user chose, as long as it can be found.
fn wanted(catalog: &Catalog, args: &ModelArgs) -> Wanted {
    if let Some(model) = &args.hf_repo {
        return Wanted::Hub(model.clone());
    }
    if args.model.is_some() {
        return Wanted::Named(args.model.clone());
    }
    let Some(chosen) = Home::find().ok().and_then(|home| home.chosen()) else { return Wanted::Named(None) };
    if let Some(Ok(model)) = chosen.strip_prefix(HUB_PREFIX).map(str::parse) {
        return Wanted::Hub(model);
    }
    match store::choose(catalog, Some(&chosen)) {
        Ok(_) => Wanted::Named(Some(chosen)),
        Err(_) => {
            term::warn(format!(
                "the model that was chosen is not here: {chosen}; `ember models use NAME` takes another"
            ));
            Wanted::Named(None)
        }
    }
}

/// What the name of a hub's model begins with where it is remembered.
pub const HUB_PREFIX: &str = "hf:";

fn find_on_hub(catalog: &Catalog, model: &HubModel, offline: bool) -> CliResult<PathBuf> {
    let home = Home::find()?;
    if let Some(path) = model.present(&home) {
        return Ok(path);
    }
    if offline {
        let missing = CliError::failed(format!("`{model}` is not here, and --offline was given"));
        return Err(missing
            .at(model.home(&home).models.display())
            .advise(format!("`ember pull -hf {model}`")));
    }
    term::say(format!("getting {model} from the hub, once"));
    Ok(model.get(catalog, &home, false, &mut Bar::new())?.path)
}

/// The file of a model that needs no network: it is here, or within the program.
fn at_hand(catalog: &Catalog, home: &Home, model: &store::Model) -> CliResult<Option<PathBuf>> {
    let bundled = || model.sources.iter().any(|source| matches!(source, Source::Bundled { .. }));
    match home.present(model) {
        None if bundled() => Ok(Some(store::get(catalog, home, model, false, &mut Bar::new())?.path)),
        present => Ok(present),
    }
}

/// The file that `-m` stands for, or, where nobody named a model and the default cannot be had, the one that is within the
/// program, which is said.
pub fn find_or_bundled(args: &ModelArgs) -> CliResult<PathBuf> {
    let error = match find(args) {
        Err(error)
            if args.model.is_none()
                && args.hf_repo.is_none()
                && std::env::var_os("EMBER_CATALOG").is_none() =>
        {
            error
        }
        other => return other,
    };
    let catalog = Catalog::built_in()?;
    let tiny = catalog.get(TINY_NAME)?;
    term::warn(format!("the default model cannot be had: {error}"));
    term::say(
        "talking to the tiny model within this program instead. It was made from nothing by `ember pretrain` and `ember tune`, and \
         knows requests to a household assistant: what it answers is an action as JSON. `ember pull` gets the default once \
         there is a network",
    );
    Ok(store::get(&catalog, &Home::find()?, tiny, false, &mut Bar::new())?.path)
}

/// A file with something in it.
pub fn not_empty(path: PathBuf) -> CliResult<PathBuf> {
    if std::fs::metadata(&path).is_ok_and(|file| file.is_file() && file.len() == 0) {
        let empty = CliError::failed("the file is empty").at(path.display());
        return Err(empty.advise("fetch or convert it again: a download may have been cut off"));
    }
    Ok(path)
}

/// The file that a name or path stands for; nothing is fetched.
pub fn here(wanted: &str) -> CliResult<PathBuf> {
    let catalog = Catalog::load()?;
    match store::choose(&catalog, Some(wanted))? {
        Choice::Path(path) => not_empty(path),
        Choice::Known(model) => {
            let home = Home::find()?;
            at_hand(&catalog, &home, &model)?.ok_or_else(|| {
                let missing = CliError::failed(format!("`{}` is not here", model.name));
                missing.at(home.path_of(&model).display()).advise(format!("`ember pull {}`", model.name))
            })
        }
    }
}

/// Opens the model that `-m` stands for.
pub fn open(args: &ModelArgs) -> CliResult<Model> {
    open_file(&find(args)?)
}

/// What the catalogue says of how a model answers.
#[derive(Clone, Debug)]
pub struct Known {
    /// How its tokens are chosen where nothing else is asked for.
    pub sampler: SamplerParams,
    /// Texts that end its answers, beside its own end.
    pub stop: Vec<String>,
    /// How soon its answers are taken for circles.
    pub patience: Patience,
}

/// What the catalogue says of a model; `thinks`: before it answers.
pub fn known(model: &Model, thinks: bool) -> CliResult<Known> {
    let catalog = Catalog::load()?;
    let file = model.path().file_name().unwrap_or_default().to_string_lossy();
    let family = catalog.family(&file, &model.gguf().metadata);
    Ok(Known {
        sampler: family.map_or_else(SamplerParams::default, |family| family.sampler(thinks)),
        stop: family.map_or_else(Vec::new, |family| family.stop.clone()),
        patience: family.map_or(Patience::Short, Family::patience),
    })
}

/// A model's name for people: the catalogue's where the file is one of its, else the one that the file gives itself.
pub fn name(model: &Model) -> String {
    Catalog::load().map_or_else(|_| model.config().name.clone(), |catalog| name_in(&catalog, model))
}

fn name_in(catalog: &Catalog, model: &Model) -> String {
    let file = model.path().file_name().unwrap_or_default();
    let listed = catalog.models.iter().find(|listed| listed.file.as_str() == file);
    listed.map_or_else(|| model.config().name.clone(), |listed| listed.name.clone())
}

/// Opens a model file and says what of it is not understood.
pub fn open_file(path: &Path) -> CliResult<Model> {
    let model = Model::open(path).map_err(|e| CliError::from(e).at(path.display()))?;
    model.notices().iter().for_each(term::warn);
    Ok(model)
}

/// The tokenizer of a model file; says what had to be guessed.
pub fn tokenizer(file: &GgufFile) -> CliResult<Tokenizer> {
    let made = Tokenizer::from_metadata(&file.header().metadata);
    let tokenizer = made.map_err(|e| CliError::from(e).at(file.path().display()))?;
    tokenizer.notices().iter().for_each(term::warn);
    Ok(tokenizer)
}

/// Boots a session.
pub fn boot(model: &Model, options: &SessionOptions) -> CliResult<Session> {
    Session::new(model, options).map_err(|e| CliError::from(e).at(model.path().display()))
}

/// Boots a session with `adapters` switched on.
pub fn boot_with(model: &Model, options: SessionOptions, adapters: &[Loaded]) -> CliResult<Session> {
    let mut session = boot(model, &lora::with_room(options, adapters))?;
    if !adapters.is_empty() {
        session.set_adapters(&lora::pairs(adapters))?;
    }
    Ok(session)
}

/// A kind of device, for people.
pub fn kind_name(kind: DeviceKind) -> &'static str {
    match kind {
        DeviceKind::Cpu => "CPU",
        DeviceKind::Integrated => "integrated GPU",
        DeviceKind::Discrete => "discrete GPU",
        DeviceKind::Virtual => "virtual GPU",
        DeviceKind::Software => "software rasterizer",
        DeviceKind::Other => "device",
    }
}

/// A device and why it was chosen, in one line.
pub fn describe(device: &DeviceInfo) -> String {
    let why = if device.why.is_empty() { String::new() } else { format!("; {}", device.why) };
    format!("{} {} ({}){why}", kind_name(device.kind), device.name, device.driver)
}

/// Says on stderr what runs where.
pub fn announce(session: &Session) {
    let name = show::line(&name(session.model()));
    let device = describe(session.executor().device());
    let with = match session.adapters() {
        [] => String::new(),
        adapters => format!(" with {}", lora::in_words(adapters)),
    };
    let line = format!("{name}{with}, context {}, on {device}", session.ctx());
    term::say(Paint::stderr().dim(line));
    warn_of_context(session.model(), session.ctx());
}

/// Says that a context is longer than those the model has seen.
pub fn warn_of_context(model: &Model, ctx: usize) {
    let trained = model.config().train_ctx;
    if ctx > trained {
        term::warn(format!(
            "a context of {ctx} tokens is longer than the {trained} that the model was trained with: what comes after them may be bad"
        ));
    }
}

/// Tokens a second of a finished generation, for people.
pub fn stats_line(done: &Generated) -> String {
    let rate = |tokens: usize, seconds: f64| if seconds > 0.0 { tokens as f64 / seconds } else { 0.0 };
    let first = done.first_token.as_secs_f64();
    let reused = if done.reused > 0 { format!(" (+{} reused)", done.reused) } else { String::new() };
    format!(
        "prompt {}{reused} tokens, {:.1} tok/s; answer {} tokens, {:.1} tok/s; first after {:.2} s",
        done.computed,
        rate(done.computed, first),
        done.tokens.len(),
        rate(done.tokens.len().saturating_sub(1), done.decode.as_secs_f64()),
        first,
    )
}
