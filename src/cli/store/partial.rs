//! A file on its way in: written beside its place, hashed as it comes, moved there only when it is right.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{Model, StoreError};
use crate::io::output;

/// Who watches a transfer.
pub trait Progress {
    /// A transfer begins or begins again: bytes already there, and the total where known.
    fn begin(&mut self, from: &str, done: u64, total: Option<u64>);
    /// So many bytes are there now.
    fn at(&mut self, done: u64);
    /// It ended, well or not.
    fn end(&mut self);
    /// Something worth a line.
    fn note(&mut self, text: &str);
}

/// The file being written. Dropping it without [`Partial::commit`] leaves the bytes for the next try.
#[derive(Debug)]
pub struct Partial {
    file: File,
    path: PathBuf,
    hash: Sha256,
    length: u64,
}

impl Partial {
    /// Opens what an earlier try left (`resume`), or starts empty.
    pub fn open(path: PathBuf, resume: bool) -> Result<Self, StoreError> {
        // Opening a pipe would wait; a link would lead the bytes, and the move to their place, elsewhere.
        if std::fs::symlink_metadata(&path).is_ok_and(|there| !there.is_file()) {
            let error = std::io::Error::other("it is in the way of a download, and is no plain file");
            return Err(StoreError::io(&path, error));
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(!resume);
        let file = options.open(&path).map_err(|e| StoreError::io(&path, e))?;
        let mut partial = Self { file, path, hash: Sha256::new(), length: 0 };
        partial.rehash()?;
        Ok(partial)
    }

    /// Hashes what is there and stands at its end.
    fn rehash(&mut self) -> Result<(), StoreError> {
        let mut buffer = vec![0; 1 << 18];
        loop {
            let n = self.file.read(&mut buffer).map_err(|e| StoreError::io(&self.path, e))?;
            if n == 0 {
                return Ok(());
            }
            self.hash.update(&buffer[..n]);
            self.length += n as u64;
        }
    }

    /// Bytes there.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Starts over.
    pub fn restart(&mut self) -> Result<(), StoreError> {
        let reset = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        reset.map_err(|e| StoreError::io(&self.path, e))?;
        self.hash = Sha256::new();
        self.length = 0;
        Ok(())
    }

    /// Appends.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file.write_all(bytes).map_err(|e| StoreError::io(&self.path, e))?;
        self.hash.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Appends all that `source` gives; refuses more than `limit` bytes in all. Read errors go through `fail`.
    pub fn copy(
        &mut self,
        source: &mut dyn Read,
        limit: Option<u64>,
        progress: &mut dyn Progress,
        fail: &dyn Fn(String) -> StoreError,
    ) -> Result<(), StoreError> {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let n = match source.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(n) => n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(fail(e.to_string())),
            };
            if limit.is_some_and(|limit| self.length + n as u64 > limit) {
                return Err(fail("it is longer than the catalogue says".into()));
            }
            self.write(&buffer[..n])?;
            progress.at(self.length);
        }
    }

    /// Checks size, hash and magic, then moves the file to its place. What is wrong is deleted, so that the next
    /// try starts afresh. Returns the sha256.
    pub fn commit(self, model: &Model, from: &str, place: &Path) -> Result<String, StoreError> {
        let Self { mut file, path, hash, length } = self;
        let digest: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
        let checked = check(&mut file, &path, model, from, length, &digest);
        let synced = checked.and_then(|()| file.sync_all().map_err(|e| StoreError::io(&path, e)));
        drop(file);
        if let Err(error) = synced {
            let _ = std::fs::remove_file(&path);
            return Err(error);
        }
        make_way(place, length)?;
        std::fs::rename(&path, place).map_err(|e| StoreError::io(place, e))?;
        Ok(digest)
    }
}

/// What has the model's name and is no copy of it keeps another name: somebody put it there.
fn make_way(place: &Path, length: u64) -> Result<(), StoreError> {
    let in_the_way = |what: &str| Err(StoreError::io(place, std::io::Error::other(what.to_owned())));
    match std::fs::symlink_metadata(place) {
        Err(_) => Ok(()),
        Ok(there) if there.is_file() && there.len() == length => Ok(()),
        Ok(there) if there.is_file() => {
            let kept = output::set_aside(place, &|n| output::numbered(place, n), &|_| true);
            kept.map(drop).map_err(|e| StoreError::io(place, std::io::Error::other(e.to_string())))
        }
        Ok(there) if there.is_symlink() => in_the_way("a link is in the model's place; remove it first"),
        Ok(_) => in_the_way("something that is no plain file is in the model's place; remove it first"),
    }
}

fn check(
    file: &mut File,
    path: &Path,
    model: &Model,
    from: &str,
    length: u64,
    digest: &str,
) -> Result<(), StoreError> {
    let mismatch =
        |what, actual, expected| StoreError::Mismatch { what, actual, expected, from: from.to_owned() };
    if let Some(size) = model.size
        && size != length
    {
        return Err(mismatch("size", format!("{length} bytes"), format!("{size} bytes")));
    }
    if let Some(expected) = &model.sha256
        && expected != digest
    {
        return Err(mismatch("sha256", digest.to_owned(), expected.clone()));
    }
    let mut magic = [0; 4];
    let read = file.seek(SeekFrom::Start(0)).and_then(|_| file.read(&mut magic));
    read.map_err(|e| StoreError::io(path, e))?;
    if &magic != b"GGUF" {
        let shown = String::from_utf8_lossy(&magic).escape_debug().to_string();
        return Err(mismatch("its beginning", format!("`{shown}`"), "`GGUF`".into()));
    }
    Ok(())
}
