//! Two files in a folder as slots.

use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::{CommitError, Slot, Slots};
use crate::io::IoError;
use crate::io::atomic::sync_folder;
use crate::io::private;

/// The files `<name>.0` and `<name>.1` of a folder, for their owner alone. A commit writes over the older one in place, so
/// that the folder itself never changes after the first time.
#[derive(Debug)]
pub struct FolderSlots {
    /// `None`: the file does not exist (only when opened to read).
    files: [Option<File>; 2],
    /// Held while this value lives, so that two programs do not commit to one store.
    _lock: Option<File>,
}

impl FolderSlots {
    /// Opens the two files for commits, and creates them (empty, forced to the disk with their folder entries)
    /// where they are missing. The folder must exist. `<name>.lock` is locked while the value lives; the system
    /// unlocks it when the process ends, however it ends.
    ///
    /// # Errors
    /// [`IoError::Busy`] if another program has the store open for commits, [`IoError::System`] otherwise.
    pub fn open(folder: impl AsRef<Path>, name: &str) -> Result<Self, CommitError> {
        let folder = folder.as_ref();
        let lock = lock(&folder.join(format!("{name}.lock")))?;
        let mut created = false;
        let mut open = |slot| {
            let path = slot_path(folder, name, slot);
            match private::options().read(true).write(true).open(&path) {
                Ok(file) => {
                    private::tighten(&file);
                    Ok(file)
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    created = true;
                    create(&path)
                }
                Err(error) => Err(IoError::system("open", &path, error)),
            }
        };
        let files = [Some(open(Slot::A)?), Some(open(Slot::B)?)];
        if created {
            sync_folder(&slot_path(folder, name, Slot::A))?;
        }
        Ok(FolderSlots { files, _lock: Some(lock) })
    }

    /// Opens what is there for reading only, without a lock; missing files count as empty slots. While another
    /// program commits, a reader may find its state replaced ([`CommitError::Changed`]) and then opens again.
    ///
    /// # Errors
    /// [`IoError::System`] if a file is there and cannot be opened.
    pub fn open_to_read(folder: impl AsRef<Path>, name: &str) -> Result<Self, CommitError> {
        let open = |slot| {
            let path = slot_path(folder.as_ref(), name, slot);
            match File::open(&path) {
                Ok(file) => {
                    private::tighten(&file);
                    Ok(Some(file))
                }
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                Err(error) => Err(IoError::system("open", &path, error)),
            }
        };
        Ok(FolderSlots { files: [open(Slot::A)?, open(Slot::B)?], _lock: None })
    }

    fn file(&mut self, slot: Slot) -> io::Result<&mut File> {
        self.files[slot.index()].as_mut().ok_or_else(|| ErrorKind::NotFound.into())
    }
}

fn slot_path(folder: &Path, name: &str, slot: Slot) -> PathBuf {
    folder.join(format!("{name}.{}", slot.index()))
}

/// An empty file that is on the disk.
fn create(path: &Path) -> Result<File, IoError> {
    let file = private::options().read(true).write(true).create_new(true).open(path);
    let file = file.map_err(|error| IoError::system("create", path, error))?;
    file.sync_all().map_err(|error| IoError::system("flush to the disk", path, error))?;
    Ok(file)
}

/// Locks a file of its own: a lock on a slot would keep readers out on Windows.
fn lock(path: &Path) -> Result<File, IoError> {
    let file = private::options().write(true).create(true).truncate(false).open(path);
    let file = file.map_err(|error| IoError::system("create", path, error))?;
    private::tighten(&file);
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(IoError::Busy { path: path.to_path_buf() }),
        // Some network file systems have no locks; the store works without.
        Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => Ok(file),
        Err(TryLockError::Error(error)) => Err(IoError::system("lock", path, error)),
    }
}

impl Slots for FolderSlots {
    type Error = io::Error;

    fn size(&mut self, slot: Slot) -> io::Result<u64> {
        match &self.files[slot.index()] {
            Some(file) => Ok(file.metadata()?.len()),
            None => Ok(0),
        }
    }

    fn room(&self) -> Option<u64> {
        None
    }

    fn read_at(&mut self, slot: Slot, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let file = self.file(slot)?;
        file.seek(SeekFrom::Start(offset))?;
        let mut filled = 0;
        while filled < buf.len() {
            match file.read(&mut buf[filled..]) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write_at(&mut self, slot: Slot, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let file = self.file(slot)?;
        file.seek(SeekFrom::Start(offset))?;
        file.write_all(bytes)
    }

    fn trim(&mut self, slot: Slot, len: u64) -> io::Result<()> {
        let file = self.file(slot)?;
        if file.metadata()?.len() > len { file.set_len(len) } else { Ok(()) }
    }

    fn flush(&mut self, slot: Slot) -> io::Result<()> {
        self.file(slot)?.sync_data()
    }
}
