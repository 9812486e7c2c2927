//! `--adapter`: finding adapters, checking that they belong to the model, switching a session to them.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::adapter::Adapter;
use crate::chat;
use crate::cli::engine;
use crate::cli::error::{CliError, CliResult};
use crate::cli::live;
use crate::cli::show;
use crate::cli::store::Home;
use crate::gguf::GgufFile;
use crate::model::Model;
use crate::session::{ActiveAdapter, SessionOptions, adapter_room};

/// Which adapters, and how strongly.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Adapters")]
pub struct LoraArgs {
    /// Adapter, and what to multiply its effect with: a file, a name in the folder `adapters`, or `live`; may be repeated
    #[arg(long = "adapter", alias = "lora", value_name = "NAME|PATH[:SCALE]", value_parser = scaled)]
    pub adapters: Vec<Scaled>,
    /// Even if an adapter was trained on another model file
    #[arg(long)]
    pub force: bool,
}

impl LoraArgs {
    /// Opens the adapters and checks that they belong to `model`.
    pub fn load(&self, model: &Model) -> CliResult<Vec<Loaded>> {
        self.adapters.iter().map(|wanted| Loaded::open(wanted, model.file(), self.force)).collect()
    }
}

/// An adapter on the command line: `NAME` or `NAME:SCALE`, where the name may be a path.
#[derive(Clone, Debug, PartialEq)]
pub struct Scaled {
    /// A name or a path.
    pub name: String,
    /// What its effect is multiplied with.
    pub scale: f32,
}

/// A colon and a number at the end is a scale, unless a file has that very name.
pub fn scaled(text: &str) -> Result<Scaled, String> {
    let whole = || Scaled { name: text.into(), scale: 1.0 };
    if Path::new(text).exists() {
        return Ok(whole());
    }
    match text.rsplit_once(':').map(|(name, number)| (name, number.parse::<f32>())) {
        Some((name, Ok(scale))) if scale.is_finite() && !name.is_empty() => {
            Ok(Scaled { name: name.into(), scale })
        }
        Some((_, Ok(scale))) => Err(format!("`{scale}` is not a scale for a file")),
        _ => Ok(whole()),
    }
}

/// The file that an adapter's name or path stands for.
pub fn find(name: &str) -> CliResult<PathBuf> {
    let folder = Home::find().ok().map(|home| home.data.join("adapters"));
    let candidates = candidates(name, folder.as_deref());
    if let Some(path) = candidates.iter().find(|path| path.is_file()) {
        return engine::not_empty(path.clone());
    }
    if Path::new(name).is_dir() {
        let folder = CliError::failed("it is a folder, not an adapter's file").at(name);
        return Err(folder.advise(format!("`ember adapter import {name}` if it is one of PEFT or MLX")));
    }
    let missing = CliError::failed(format!("there is no adapter `{name}`"));
    let missing = candidates.first().into_iter().fold(missing, |e, path| e.at(path.display()));
    let names = folder.map(|folder| (names_in(&folder), folder));
    Err(match names {
        Some((names, _)) if !names.is_empty() => missing.advise(format!("one of: {}", names.join(", "))),
        Some((_, folder)) => {
            missing.advise(format!("the path of a GGUF file, or put it into {}", folder.display()))
        }
        None => missing.advise("the path of a GGUF file"),
    })
}

/// Where an adapter of that name may be, in the order they are tried.
fn candidates(name: &str, folder: Option<&Path>) -> Vec<PathBuf> {
    let with_ending = format!("{name}.gguf");
    let here = [PathBuf::from(name), PathBuf::from(&with_ending)];
    let stored = folder.into_iter().flat_map(|folder| [folder.join(name), folder.join(&with_ending)]);
    here.into_iter().chain(stored).collect()
}

/// Names of the adapters in a folder.
fn names_in(folder: &Path) -> Vec<String> {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let adapters = files.filter(|path| path.extension().is_some_and(|end| end == "gguf"));
    let mut names: Vec<String> =
        adapters.filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned())).collect();
    names.sort();
    names
}

/// An adapter that belongs to the model.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Its name is the file's.
    pub adapter: Adapter,
    /// What its effect is multiplied with.
    pub scale: f32,
}

impl Loaded {
    /// Opens an adapter and checks that it belongs to `base` and is one to write with; `force` accepts another file of the
    /// same shapes, and a reward model without its head. `live` is the model's live adapter.
    pub fn open(wanted: &Scaled, base: &GgufFile, force: bool) -> CliResult<Self> {
        if wanted.name == live::NAME {
            return live::wanted(base, wanted.scale);
        }
        let (adapter, path) = open(&wanted.name, base, force)?;
        if adapter.head.is_some() && !force {
            let what = "it is a reward model, which judges texts and does not write them";
            let failure = CliError::failed(what).at(path.display());
            return Err(failure
                .advise(format!("`ember score --adapter {}`", wanted.name))
                .advise("--force to write with it all the same"));
        }
        Ok(Self { adapter, scale: wanted.scale })
    }
}

/// Opens a reward model and checks that it belongs to `base`.
pub fn judge(name: &str, base: &GgufFile) -> CliResult<Adapter> {
    let (adapter, path) = open(name, base, false)?;
    if adapter.head.is_none() {
        let what = "it is no reward model: it has no head that makes a number of a text";
        return Err(CliError::failed(what).at(path.display()).advise("one that `ember tune reward` made"));
    }
    Ok(adapter)
}

/// An adapter that belongs to `base`, under its file's name, and the file.
fn open(name: &str, base: &GgufFile, force: bool) -> CliResult<(Adapter, PathBuf)> {
    let path = find(name)?;
    let failed = |e| CliError::from(e).at(path.display());
    let mut adapter = Adapter::open(&path).map_err(failed)?;
    adapter.check_base(base, force).map_err(failed)?;
    if force {
        // What was decided here is not to be asked again.
        adapter.base = None;
    }
    adapter.name = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    Ok((adapter, path))
}

/// Options with room for `adapters`.
pub fn with_room(options: SessionOptions, adapters: &[Loaded]) -> SessionOptions {
    SessionOptions { adapters: adapter_room(adapters.iter().map(|loaded| &loaded.adapter)), ..options }
}

/// As [`Session::set_adapters`](crate::session::Session::set_adapters) takes them.
pub fn pairs(adapters: &[Loaded]) -> Vec<(&Adapter, f32)> {
    adapters.iter().map(|loaded| (&loaded.adapter, loaded.scale)).collect()
}

/// As a [`Chat`](crate::chat::Chat) takes them.
pub fn scales(adapters: Vec<Loaded>) -> Vec<chat::Scaled> {
    adapters.into_iter().map(|loaded| (loaded.adapter, loaded.scale)).collect()
}

/// Adapters in a few words: `poet, terse:0.5`.
pub fn in_words(adapters: &[ActiveAdapter]) -> String {
    let one = |adapter: &ActiveAdapter| match adapter.scale {
        1.0 => show::line(&adapter.name),
        scale => format!("{}:{scale}", show::line(&adapter.name)),
    };
    adapters.iter().map(one).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_after_a_colon_is_a_scale() {
        let of = |text: &str| scaled(text).map(|s| (s.name, s.scale));
        assert_eq!(of("a.gguf"), Ok(("a.gguf".into(), 1.0)));
        assert_eq!(of("a.gguf:0.5"), Ok(("a.gguf".into(), 0.5)));
        assert_eq!(of("poet:-1"), Ok(("poet".into(), -1.0)));
        assert_eq!(of("C:\\a.gguf:-2"), Ok(("C:\\a.gguf".into(), -2.0)));
        assert_eq!(of("C:\\a.gguf"), Ok(("C:\\a.gguf".into(), 1.0)));
        assert!(of("a.gguf:inf").is_err() && of(":2").is_err());
    }

    #[test]
    fn names_are_looked_up_here_and_in_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        for file in ["poet.gguf", "terse.gguf", "notes.txt"] {
            std::fs::write(dir.path().join(file), b"").unwrap();
        }
        assert_eq!(names_in(dir.path()), ["poet", "terse"]);
        assert!(names_in(&dir.path().join("missing")).is_empty());
        let all = candidates("poet", Some(dir.path()));
        assert_eq!(all[..2], [PathBuf::from("poet"), PathBuf::from("poet.gguf")]);
        assert_eq!(all.iter().find(|p| p.is_file()), Some(&dir.path().join("poet.gguf")));
        assert_eq!(candidates("poet", None).len(), 2);
    }

    #[test]
    fn scales_of_1_go_without_saying() {
        let active = |name: &str, scale| ActiveAdapter { name: name.into(), scale };
        assert_eq!(in_words(&[active("poet", 1.0), active("terse", 0.5)]), "poet, terse:0.5");
        assert_eq!(in_words(&[]), "");
    }
}
