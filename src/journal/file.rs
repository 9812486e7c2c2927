//! Appending to a journal.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::read::{next_id, plain_file};
use super::{Entry, JournalError, MAX_LINE, Reading, read};
use crate::io::{IoError, private, sync_folder};

/// A journal that is written to. The file is opened for each entry, so that an editor may replace it meanwhile.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    /// Bytes of the file when it was last looked at.
    bytes: u64,
    last_id: u64,
    opened: Reading,
}

impl Journal {
    /// Opens the journal at `path`, and reads what it says. The file, and the folder it lies in, are made with the
    /// first entry.
    ///
    /// # Errors
    /// [`JournalError::File`] if it is there and cannot be read, [`JournalError::NotAJournal`] if it is something else.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, JournalError> {
        let path = path.into();
        let opened = read(&path)?;
        // The first entry may have been cut short; it is passed over then.
        let others = opened.problems.iter().any(|problem| !problem.torn || !begins_as_entry(&path));
        if opened.last_id == 0 && opened.entries.is_empty() && others {
            return Err(JournalError::NotAJournal { path });
        }
        Ok(Self { path, bytes: opened.bytes, last_id: opened.last_id, opened })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it said when it was opened; of interest are the lines that were passed over.
    pub fn opened(&self) -> &Reading {
        &self.opened
    }

    /// What it says now.
    ///
    /// # Errors
    /// [`JournalError::File`].
    pub fn read(&self) -> Result<Reading, JournalError> {
        read(&self.path)
    }

    /// Writes an entry as one line under the next free number, whatever `entry.id` is, and gives that number. When this
    /// returns without an error the line survives a power cut. A line left torn is ended first and stays as it is.
    ///
    /// # Errors
    /// [`JournalError`]; after an error the line may be there in part, which [`read`] passes over.
    pub fn append(&mut self, entry: &Entry) -> Result<u64, JournalError> {
        let (mut file, created) = self.open_to_append()?;
        let failed = |action| move |path: &Path, e| IoError::system(action, path, e);
        // Another chat may be writing; where a file system has no locks, one process at a time has to do.
        match file.lock() {
            Err(error) if error.kind() != ErrorKind::Unsupported => {
                return Err(failed("lock")(&self.path, error).into());
            }
            _ => {}
        }
        let length = file.metadata().map_err(|e| failed("read")(&self.path, e))?.len();
        if length != self.bytes {
            // Never below what was given out, or a number would return after its entry was deleted.
            self.last_id = self.last_id.max(read(&self.path)?.last_id);
        }
        let id = next_id(self.last_id)?;
        let line =
            line_of(entry, id, ends_torn(&mut file, length).map_err(|e| failed("read")(&self.path, e))?)?;
        // One write: the system puts it at the end as a whole.
        let written = file.write_all(&line).and_then(|()| file.sync_data());
        written.map_err(|e| failed("write")(&self.path, e))?;
        if created {
            sync_folder(&self.path)?;
        }
        (self.last_id, self.bytes) = (id, length + line.len() as u64);
        Ok(id)
    }

    /// The file, and whether it is new.
    fn open_to_append(&self) -> Result<(File, bool), IoError> {
        // What is said in private is for its owner alone, also where the file was open to others.
        let mut options = private::options();
        options.read(true).append(true);
        match plain_file(&self.path) {
            Ok(()) => {
                let file = options.open(&self.path).map_err(|e| IoError::system("open", &self.path, e))?;
                private::tighten(&file);
                return Ok((file, false));
            }
            Err(IoError::System { source, .. }) if source.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        if let Some(folder) = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            private::make_folders(folder).map_err(|e| IoError::system("create", folder, e))?;
        }
        let file =
            options.create(true).open(&self.path).map_err(|e| IoError::system("create", &self.path, e))?;
        Ok((file, true))
    }
}

/// Whether a file begins as entries do, as far as it goes.
fn begins_as_entry(path: &Path) -> bool {
    const BEGIN: &[u8] = b"{\"id\":";
    let mut begin = Vec::new();
    let read = File::open(path).and_then(|file| file.take(BEGIN.len() as u64).read_to_end(&mut begin));
    read.is_ok() && BEGIN.starts_with(&begin)
}

/// Whether the last line has no end.
fn ends_torn(file: &mut File, length: u64) -> std::io::Result<bool> {
    if length == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::Start(length - 1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

fn line_of(entry: &Entry, id: u64, after_torn: bool) -> Result<Vec<u8>, JournalError> {
    let mut line = if after_torn { b"\n".to_vec() } else { Vec::new() };
    let numbered = Entry { id, ..entry.clone() };
    serde_json::to_writer(&mut line, &numbered).map_err(|e| JournalError::Encode(e.to_string()))?;
    line.push(b'\n');
    if line.len() > MAX_LINE {
        return Err(JournalError::TooLong { bytes: line.len() });
    }
    Ok(line)
}
