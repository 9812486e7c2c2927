//! Which files a corpus is made of.

use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use sha2::{Digest, Sha256};

use super::error::CorpusError;
use crate::io::IoError;

/// Endings of the files that are taken from folders.
const ENDINGS: [&str; 5] = ["txt", "text", "md", "jsonl", "ndjson"];
/// The deepest folder in a folder.
const DEPTH: usize = 64;

/// A file to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    /// Nanoseconds since 1970, where the system tells.
    changed: Option<u128>,
}

impl Source {
    fn of(path: PathBuf, about: &Metadata) -> Self {
        let changed = about.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
        Self { path, bytes: about.len(), changed: changed.map(|t| t.as_nanos()) }
    }
}

/// Files as they are given; of folders, those with texts in them, in the order of their names. Hidden ones, and folders behind
/// symbolic links, are passed over.
pub(super) fn list(paths: &[PathBuf]) -> Result<Vec<Source>, CorpusError> {
    if paths.is_empty() {
        return Err(CorpusError::NoPaths);
    }
    let mut all = Vec::new();
    for path in paths {
        let about = fs::metadata(path).map_err(|e| IoError::system("open", path, e))?;
        if about.is_file() {
            all.push(Source::of(path.clone(), &about));
        } else if about.is_dir() {
            let before = all.len();
            walk(path, 0, &mut all)?;
            if all.len() == before {
                return Err(CorpusError::NoTexts { path: path.clone() });
            }
        } else {
            return Err(IoError::NotAFile { path: path.clone() }.into());
        }
    }
    Ok(all)
}

fn walk(folder: &Path, depth: usize, all: &mut Vec<Source>) -> Result<(), CorpusError> {
    if depth > DEPTH {
        return Err(CorpusError::TooDeep { path: folder.to_owned(), max: DEPTH });
    }
    let failed = |e| IoError::system("read the folder", folder, e);
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            paths.push((entry.path(), entry.file_type().map_err(failed)?));
        }
    }
    paths.sort_by(|a, b| a.0.as_os_str().as_encoded_bytes().cmp(b.0.as_os_str().as_encoded_bytes()));
    for (path, kind) in paths {
        if kind.is_dir() {
            walk(&path, depth + 1, all)?;
            continue;
        }
        let ending = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
        if !ENDINGS.contains(&ending.as_str()) {
            continue;
        }
        // A link may lead to a folder, a pipe, or nothing.
        let about = fs::metadata(&path).map_err(|e| IoError::system("open", &path, e))?;
        if about.is_file() {
            all.push(Source::of(path, &about));
        }
    }
    Ok(())
}

/// Adds files to a fingerprint: their places, sizes and times.
pub(super) fn hash(sources: &[Source], hash: &mut Sha256) {
    hash.update((sources.len() as u64).to_le_bytes());
    for source in sources {
        let path = fs::canonicalize(&source.path).unwrap_or_else(|_| source.path.clone());
        let name = path.as_os_str().as_encoded_bytes();
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
        hash.update(source.bytes.to_le_bytes());
        hash.update(source.changed.unwrap_or(u128::MAX).to_le_bytes());
    }
}
