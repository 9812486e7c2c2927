//! Where a run's files lie, and what may become of those that are there: finished work stays, an unfinished run goes on
//! or is thrown away when asked for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::adapter::Adapter;
use crate::cli::error::{CliError, CliResult};
use crate::cli::output::{self as outputs, ReplaceArgs};
use crate::cli::term;
use crate::cli::tune::differences;
use crate::gguf::GgufFile;
use crate::io::{Existing, IoError, output, private};
use crate::train::{Settings, Trainer, training_info};

/// The slots of a run's state are `run.0` and `run.1`.
pub const STATE: &str = "run";
/// What a state's folder has in it.
const STATE_FILES: [&str; 3] = ["run.1", "run.0", "run.lock"];

/// Where a run's files lie.
#[derive(Clone, Debug)]
pub struct Files {
    /// What is trained: an adapter or a model.
    pub result: PathBuf,
    /// One JSON object a step.
    pub metrics: PathBuf,
    /// What the model wrote on the way, one JSON object a line, where that is kept.
    pub samples: PathBuf,
    /// The state, two slots.
    pub state: PathBuf,
    /// The picture of the loss, if one is to be drawn.
    pub plot: Option<PathBuf>,
}

/// What is asked for where a run of that name is there.
#[derive(Clone, Copy, Debug, Default)]
pub struct Begin {
    /// Goes on with a run that was stopped.
    pub resume: bool,
    /// Throws the state of a run away that was stopped.
    pub restart: bool,
    /// What becomes of finished work.
    pub replace: ReplaceArgs,
}

/// What a run finds under its name.
#[derive(Clone, Debug, Default)]
pub enum Found {
    /// Nothing, or what may be replaced.
    #[default]
    Nothing,
    /// A run that was stopped.
    Begun,
    /// What a run has made, where it was to go on: its notes.
    Finished(BTreeMap<String, String>),
}

/// A run's files, with what was found there.
#[derive(Clone, Debug)]
pub struct Outputs {
    /// Where they lie.
    pub files: Files,
    /// What is asked for.
    pub begin: Begin,
    /// What was found.
    pub found: Found,
}

impl Files {
    /// `NAME.gguf`, `NAME.metrics.jsonl`, `NAME.state/`.
    ///
    /// # Errors
    /// A path that ends in no name.
    pub fn beside(output: &Path, plot: Option<PathBuf>) -> CliResult<Self> {
        let stem = match output.extension() {
            Some(extension) if extension == "gguf" => output.with_extension(""),
            _ => output.to_owned(),
        };
        let text = stem.as_os_str().as_encoded_bytes();
        let dots = stem.file_name().is_none_or(|name| name.as_encoded_bytes().iter().all(|&b| b == b'.'));
        if dots || text.ends_with(b"/") || text.ends_with(b"/.") || cfg!(windows) && text.ends_with(b"\\") {
            return Err(CliError::failed(format!("`{}` ends in no name for a file", output.display()))
                .advise("-o NAME, or -o FOLDER/NAME"));
        }
        let with = |ending: &str| {
            let mut name = stem.clone().into_os_string();
            name.push(ending);
            PathBuf::from(name)
        };
        Ok(Self {
            result: with(".gguf"),
            metrics: with(".metrics.jsonl"),
            samples: with(".samples.jsonl"),
            state: with(".state"),
            plot,
        })
    }

    /// Looks, before any work is done, whether all can be written; nothing is changed. `inputs` are read by the run.
    ///
    /// # Errors
    /// What is in the way, and what to do about it.
    pub fn look(self, begin: Begin, inputs: &[&Path]) -> CliResult<Outputs> {
        let written = [Some(&self.result), Some(&self.metrics), self.plot.as_ref()];
        for path in written.into_iter().flatten() {
            outputs::not_an_input(path, inputs)?;
        }
        let saved = self.saved()?;
        if saved && !begin.resume && !begin.restart {
            return Err(CliError::failed("a run with this name was begun before")
                .at(self.state.display())
                .advise("--resume to go on with it, --restart to throw its state away, or another -o"));
        }
        let found = self.found(saved, begin)?;
        let existing = match found {
            // Kept when the run ends: a run that was begun may have been told to take the name.
            Found::Begun => Existing::Keep,
            _ => begin.replace.existing(),
        };
        if !matches!(found, Found::Finished(_)) {
            writable(&self.result, existing)?;
            for path in [&self.metrics, &self.samples] {
                writable(path, if is_record(path) { Existing::Keep } else { Existing::Refuse })?;
            }
            self.plot.as_ref().map_or(Ok(()), |plot| writable(plot, begin.replace.existing()))?;
        }
        Ok(Outputs { files: self, begin, found })
    }

    /// Whether there is a state to go on with.
    fn saved(&self) -> CliResult<bool> {
        match std::fs::symlink_metadata(&self.state) {
            Ok(_) if self.state.is_dir() => {}
            Ok(_) => {
                return Err(CliError::failed("it is in the way of the run's state, which needs a folder")
                    .at(self.state.display())
                    .advise("another -o"));
            }
            Err(_) => return Ok(false),
        }
        let length = |name: &&str| std::fs::metadata(self.state.join(name)).map_or(0, |m| m.len());
        Ok(STATE_FILES.iter().take(2).any(|name| length(name) > 0))
    }

    /// Whether a run was begun, be it without a save so far.
    pub fn begun(&self) -> bool {
        STATE_FILES.iter().take(2).any(|name| self.state.join(name).exists())
    }

    fn found(&self, saved: bool, begin: Begin) -> CliResult<Found> {
        let there = std::fs::metadata(&self.result).is_ok_and(|m| m.is_file() && m.len() > 0);
        match (begin.resume, saved) {
            (true, true) => Ok(Found::Begun),
            (true, false) if there => match notes(&self.result) {
                Some(notes) => Ok(Found::Finished(notes)),
                None => Err(outputs::refused(IoError::Exists { path: self.result.clone() })),
            },
            _ => Ok(Found::Nothing),
        }
    }

    /// Throws the state away; what else is in its folder stays.
    pub fn forget(&self) -> CliResult {
        for name in STATE_FILES {
            let path = self.state.join(name);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(CliError::file(&path, &error));
                }
                _ => {}
            }
        }
        // One that is not empty holds what is somebody else's.
        let _ = std::fs::remove_dir(&self.state);
        Ok(())
    }

    /// Gives the metrics of an earlier run another name, that of its adapter where it gets one too.
    pub fn set_metrics_aside(&self) -> CliResult {
        for (path, ending) in [(&self.metrics, "metrics.jsonl"), (&self.samples, "samples.jsonl")] {
            if std::fs::metadata(path).map_or(0, |m| m.len()) == 0 {
                continue;
            }
            let stem = self.result.with_extension("");
            let name = |number: u32| {
                let mut name = stem.clone().into_os_string();
                name.push(format!(".{number}.{ending}"));
                PathBuf::from(name)
            };
            let others = |number: u32| !output::numbered(&self.result, number).exists();
            let kept = output::set_aside(path, &name, &others)?;
            outputs::say_kept(path, &[kept]);
        }
        Ok(())
    }

    /// Makes the folder of the state, for its owner alone, and those that the files lie in.
    pub fn make_folders(&self) -> CliResult {
        private::folder(&self.state).map_err(|e| CliError::file(&self.state, &e))
    }
}

impl Outputs {
    /// Whether a run that was to go on has come to its end; then that is said.
    ///
    /// # Errors
    /// What the finished run was made of that this one is not.
    pub fn finished(&self, run: &Trainer, info: &BTreeMap<String, String>) -> CliResult<bool> {
        let Found::Finished(notes) = &self.found else { return Ok(false) };
        let note = |key: &str| notes.get(key).map(String::as_str);
        let path = self.files.result.display();
        let Some(settings) = note("settings").and_then(|text| serde_json::from_str::<Settings>(text).ok())
        else {
            return Err(outputs::refused(IoError::Exists { path: self.files.result.clone() }));
        };
        let objective =
            note("objective").and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let (now, is_now) = run.made_of();
        let mut differs = now.differences(&settings);
        differs.extend(crate::train::differences(is_now, &objective));
        let mut differs = differences::of_settings(&differs);
        for key in ["data.files", "data.sha256", "data.sequences"] {
            if differs.is_empty() && info.get(key).map(String::as_str) != note(key) {
                differs.push("the data changed".into());
            }
        }
        if !differs.is_empty() {
            return Err(CliError::failed(format!(
                "its run has ended, and was begun with {}",
                differs.join("; ")
            ))
            .at(path)
            .advise("another -o, or --replace without --resume for a new run that keeps the old one"));
        }
        let steps = note("steps").unwrap_or("all");
        term::say(format!("already finished: {path} is there, after {steps} steps; nothing was changed"));
        Ok(true)
    }
}

/// What an adapter, or a model whose weights were trained, says of its run.
fn notes(path: &Path) -> Option<BTreeMap<String, String>> {
    if let Ok(adapter) = Adapter::open(path) {
        return Some(adapter.info);
    }
    let model = GgufFile::open(path).ok()?;
    Some(training_info(&model.header().metadata)).filter(|notes| !notes.is_empty())
}

/// Whether a file is what a run wrote of its steps, or nothing.
fn is_record(path: &Path) -> bool {
    use std::io::{BufRead, BufReader, Read};
    // A pipe would wait.
    if !path.is_file() {
        return true;
    }
    let Ok(file) = std::fs::File::open(path) else { return true };
    let mut line = String::new();
    let read = BufReader::new(file.take(1 << 20)).read_line(&mut line);
    let step = |line: &str| Some(serde_json::from_str::<serde_json::Value>(line).ok()?["step"].is_u64());
    // The first line may have been cut off in the middle.
    read.is_ok() && (step(&line).unwrap_or(line.starts_with("{\"step\":")) || line.is_empty())
}

/// Checks a path whose folders are made with the run.
fn writable(path: &Path, existing: Existing) -> CliResult {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|folder| !folder.exists()) {
        let ancestor = folder.ancestors().find(|a| a.as_os_str().is_empty() || a.exists());
        if ancestor.is_none_or(|a| a.as_os_str().is_empty() || a.is_dir()) {
            return Ok(());
        }
    }
    output::check(path, existing).map(drop).map_err(outputs::refused)
}
