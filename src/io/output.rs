//! Where a file may be written: the one place that decides for all outputs.
//!
//! Only plain files are written, and names that nothing has yet. A symbolic link stands for what it names. Devices, pipes
//! and sockets are refused, so that none is ever replaced by a file.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::IoError;
use super::beside::create_beside;
use super::private::Access;

/// What becomes of a file that has the name already. An empty one has nothing to lose, and is replaced in any case.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Existing {
    /// The new one takes its place.
    #[default]
    Replace,
    /// It stays, and nothing is written.
    Refuse,
    /// It stays under another name: `mine.1.gguf` for `mine.gguf`.
    Keep,
}

/// How a file is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Manner {
    /// What becomes of one that is there.
    pub existing: Existing,
    /// Who may read the new one.
    pub access: Access,
}

/// Links in a row that are followed, as Linux does.
const LINKS: usize = 40;
/// Names that are tried for a file that is kept.
const NUMBERS: u32 = 10_000;

/// Checks, before any work is done, that a file can be written at `path`; nothing is changed. Gives the path behind
/// symbolic links, also behind those that lead to nothing yet.
///
/// # Errors
/// [`IoError`] naming what is in the way: a file ([`Existing::Refuse`]), a folder, a device, a write protection, a folder
/// that is missing or cannot be written to, a name that cannot be one.
pub fn check(path: impl AsRef<Path>, existing: Existing) -> Result<PathBuf, IoError> {
    let path = path.as_ref();
    named(path)?;
    let target = match fs::metadata(path) {
        Ok(metadata) => {
            let link = fs::symlink_metadata(path).is_ok_and(|there| there.is_symlink());
            let target = if link { fs::canonicalize(path) } else { Ok(path.to_owned()) };
            let target = target.map_err(|e| IoError::system("look at", path, e))?;
            free(path, &target, &metadata, existing)?;
            target
        }
        Err(error) if error.kind() == ErrorKind::NotFound => follow(path)?,
        Err(error) => return Err(IoError::system("write to", path, error)),
    };
    folder_of(&target)?;
    // Whether the system lets files be made there it tells only when asked to.
    let (file, temporary) = create_beside(&target, Access::Private)?;
    drop(file);
    fs::remove_file(&temporary).map_err(|e| IoError::system("remove", &temporary, e))?;
    Ok(target)
}

/// Whether two paths lead to one file.
pub fn same_file(a: &Path, b: &Path) -> bool {
    let real = |path: &Path| fs::canonicalize(path).ok();
    real(a).zip(real(b)).is_some_and(|(a, b)| a == b)
}

/// `mine.gguf` as `mine.1.gguf`.
pub fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!(".{number}"));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

/// A path has to end in a name: not in `..` or a separator, which name a folder.
fn named(path: &Path) -> Result<(), IoError> {
    let text = path.as_os_str().as_encoded_bytes();
    let ends_in_dot = text == b"." || text.ends_with(b"/.") || text.ends_with(b"\\.") && cfg!(windows);
    let ends_as_folder = text.last().is_some_and(|&b| b == b'/' || b == b'\\' && cfg!(windows));
    if path.file_name().is_none() || ends_in_dot || ends_as_folder {
        return Err(IoError::NoFileName { path: path.to_owned() });
    }
    Ok(())
}

/// Whether what is at a place may make way.
fn free(path: &Path, target: &Path, metadata: &Metadata, existing: Existing) -> Result<(), IoError> {
    let path = || path.to_owned();
    if metadata.is_dir() {
        return Err(IoError::Folder { path: path() });
    }
    if !metadata.is_file() {
        return Err(IoError::Special { path: path(), what: kind(metadata) });
    }
    match existing {
        Existing::Refuse if metadata.len() > 0 => Err(IoError::Exists { path: path() }),
        // What is kept is not changed.
        Existing::Keep => Ok(()),
        Existing::Replace | Existing::Refuse => {
            if metadata.permissions().readonly() {
                return Err(IoError::WriteProtected { path: path() });
            }
            let opened = OpenOptions::new().write(true).open(target);
            opened.map(drop).map_err(|e| IoError::system("write to", target, e))
        }
    }
}

/// What a thing that is no file is.
fn kind(metadata: &Metadata) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        let kind = metadata.file_type();
        if kind.is_fifo() {
            return "a pipe";
        } else if kind.is_socket() {
            return "a socket";
        } else if kind.is_block_device() || kind.is_char_device() {
            return "a device";
        }
    }
    let _ = metadata;
    "no plain file"
}

/// Where links lead that end nowhere.
fn follow(path: &Path) -> Result<PathBuf, IoError> {
    let mut target = path.to_owned();
    for _ in 0..LINKS {
        match fs::read_link(&target) {
            // A relative link starts in the folder it lies in.
            Ok(next) => target = target.parent().unwrap_or(Path::new("")).join(next),
            Err(_) => return named(&target).map(|()| target),
        }
    }
    let error = io::Error::other("too many symbolic links");
    Err(IoError::system("write to", path, error))
}

fn folder_of(target: &Path) -> Result<(), IoError> {
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    match fs::metadata(folder) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(IoError::NoFolder { path: folder.to_owned() }),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Err(IoError::NoFolder { path: folder.to_owned() })
        }
        Err(error) => Err(IoError::system("look at", folder, error)),
    }
}

/// Puts a finished file in place, and gives the name under which an old one stays.
pub(super) fn put(temporary: &Path, target: &Path, existing: Existing) -> Result<Option<PathBuf>, IoError> {
    let renamed = |_| {
        let done = fs::rename(temporary, target);
        done.map_err(|e| IoError::system("rename the new file to", target, e))
    };
    let taken = fs::metadata(target).is_ok_and(|there| there.len() > 0);
    match existing {
        Existing::Refuse if taken => Err(IoError::Exists { path: target.to_owned() }),
        // A link does not take the place of a file that somebody else made meanwhile; not all file systems have them.
        Existing::Refuse if fs::hard_link(temporary, target).is_ok() => {
            let _ = fs::remove_file(temporary);
            Ok(None)
        }
        Existing::Keep if taken && !same_bytes(temporary, target).unwrap_or(false) => {
            let kept = keep(target)?;
            renamed(()).map(|()| Some(kept))
        }
        _ => renamed(()).map(|()| None),
    }
}

/// Gives a file a second name, under which it stays.
fn keep(target: &Path) -> Result<PathBuf, IoError> {
    for number in 1..NUMBERS {
        let kept = numbered(target, number);
        if fs::symlink_metadata(&kept).is_ok() {
            continue;
        }
        match fs::hard_link(target, &kept) {
            Ok(()) => return Ok(kept),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            // A file system without links.
            Err(_) => {
                let moved = fs::rename(target, &kept);
                return moved.map(|()| kept).map_err(|e| IoError::system("keep the old", target, e));
            }
        }
    }
    Err(IoError::Exists { path: target.to_owned() })
}

/// Gives a plain file another name at which nothing is: the first number that all of `others` leave free as well. Gives
/// the number.
///
/// # Errors
/// [`IoError::System`] if it cannot be renamed.
pub fn set_aside(
    path: &Path,
    name: &dyn Fn(u32) -> PathBuf,
    others: &dyn Fn(u32) -> bool,
) -> Result<PathBuf, IoError> {
    let free = |n: &u32| fs::symlink_metadata(name(*n)).is_err() && others(*n);
    let number = (1..NUMBERS).find(free).ok_or_else(|| IoError::Exists { path: path.to_owned() })?;
    let kept = name(number);
    fs::rename(path, &kept).map_err(|e| IoError::system("keep the old", path, e))?;
    Ok(kept)
}

fn same_bytes(a: &Path, b: &Path) -> io::Result<bool> {
    if fs::metadata(a)?.len() != fs::metadata(b)?.len() {
        return Ok(false);
    }
    let (mut a, mut b) = (io::BufReader::new(File::open(a)?), io::BufReader::new(File::open(b)?));
    let (mut left, mut right) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let n = a.read(&mut left)?;
        if n == 0 {
            return Ok(true);
        }
        b.read_exact(&mut right[..n])?;
        if left[..n] != right[..n] {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests;
