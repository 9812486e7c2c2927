//! Replacing a file in one step.

use std::fs::{self, File};
use std::io::{BufWriter, ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::beside::create_beside;
use super::output::{self, Manner};
use super::private::Access;
use super::{IoError, StdStream};

/// The stream that [`replace_file`] hands to its caller.
pub type FileSink = StdStream<BufWriter<OutputFile>>;

/// A file that is written. It remembers what the system refused: errors of streams between do not say it.
#[derive(Debug)]
pub struct OutputFile {
    file: File,
    refused: Option<std::io::Error>,
}

impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.file.write(bytes);
        if let Err(error) = &written
            && error.kind() != ErrorKind::Interrupted
        {
            self.refused =
                Some(error.raw_os_error().map_or(error.kind().into(), std::io::Error::from_raw_os_error));
        }
        written
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

/// A header may be written once what follows it is known.
impl Seek for OutputFile {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.file.seek(to)
    }
}

/// Writes a file so that whoever opens `path` sees the old contents or the new ones, whole, even if the power
/// fails: `fill` writes a temporary file beside it, which is flushed to the disk and then renamed over `path`.
/// If `fill` fails the temporary file is removed and `path` is as it was. What a symbolic link at `path` names is
/// replaced, and the link stays; what is no plain file is refused ([`check`](super::output::check)).
///
/// # Errors
/// Whatever `fill` returns, or an [`IoError`] of the file operations turned into the caller's error.
pub fn replace_file<T, E: From<IoError>>(
    path: impl AsRef<Path>,
    fill: impl FnOnce(&mut FileSink) -> Result<T, E>,
) -> Result<T, E> {
    write_file(path, Manner::default(), fill).map(|written| written.value)
}

/// A file that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written<T> {
    /// What came of filling it.
    pub value: T,
    /// Where the file is that had the name before, if it was to be kept.
    pub backup: Option<PathBuf>,
}

/// As [`replace_file`], in the given manner.
///
/// # Errors
/// As there, and [`IoError::Exists`] where a file is there that is to stay; `fill` is not called then.
pub fn write_file<T, E: From<IoError>>(
    path: impl AsRef<Path>,
    manner: Manner,
    fill: impl FnOnce(&mut FileSink) -> Result<T, E>,
) -> Result<Written<T>, E> {
    let target = output::check(path, manner.existing)?;
    let (file, temporary) = create_beside(&target, manner.access)?;
    let result = fill_and_put(file, &temporary, &target, manner, fill);
    if result.is_err() {
        // The first error is the one to report; a leftover temporary file harms nobody.
        let _ = fs::remove_file(&temporary);
    }
    result
}

/// The same of bytes that are there; gives the name of a file that is kept.
///
/// # Errors
/// As [`write_file`].
pub fn write_bytes(path: impl AsRef<Path>, manner: Manner, bytes: &[u8]) -> Result<Option<PathBuf>, IoError> {
    let path = path.as_ref();
    let failed = |source| IoError::System { action: "write", path: path.to_owned(), source };
    write_file(path, manner, |out| out.0.write_all(bytes).map_err(failed)).map(|written| written.backup)
}

/// Fills the temporary file, forces it to the disk, and puts it in place.
fn fill_and_put<T, E: From<IoError>>(
    file: File,
    temporary: &Path,
    target: &Path,
    manner: Manner,
    fill: impl FnOnce(&mut FileSink) -> Result<T, E>,
) -> Result<Written<T>, E> {
    let mut sink = StdStream(BufWriter::new(OutputFile { file, refused: None }));
    let value = fill(&mut sink).map_err(|error| match sink.0.get_mut().refused.take() {
        // What the system says, and of which file, is what helps.
        Some(refused) => IoError::system("write", target, refused).into(),
        None => error,
    })?;
    let file = sink.0.into_inner().map_err(|e| IoError::system("write", target, e.into_error()))?.file;
    if manner.access == Access::Ordinary
        && let Ok(old) = fs::metadata(target)
    {
        // Who could read the old one can read the new one; where that cannot be said, the umask decides.
        let _ = file.set_permissions(old.permissions());
    }
    file.sync_all().map_err(|e| IoError::system("flush to the disk", target, e))?;
    drop(file);
    let backup = output::put(temporary, target, manner.existing)?;
    sync_folder(target)?;
    Ok(Written { value, backup })
}

/// Forces the folder's entry of `path` (after a rename or a creation) to the disk. Only Unix can open a folder for that;
/// elsewhere the file system's own journal has to do.
#[cfg(unix)]
pub(crate) fn sync_folder(path: &Path) -> Result<(), IoError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|e| IoError::system("flush to the disk the folder", folder, e))
}

#[cfg(not(unix))]
pub(crate) fn sync_folder(_path: &Path) -> Result<(), IoError> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use embedded_io::Write as _;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn the_new_contents_or_the_old_ones() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.bin");
        let put = |bytes: &'static [u8], fail: bool| {
            replace_file(&path, |out| -> Result<(), IoError> {
                out.write_all(bytes).map_err(|e| IoError::system("write", Path::new("x"), e))?;
                out.flush().map_err(|e| IoError::system("write", Path::new("x"), e))?;
                if fail { Err(IoError::NotAFile { path: PathBuf::from("told to") }) } else { Ok(()) }
            })
        };
        put(b"one", false).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert!(matches!(put(b"two", true), Err(IoError::NotAFile { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"one");
        put(b"three", false).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"three");
        assert_eq!(names(folder.path()), ["state.bin"]);
    }

    #[test]
    fn refuses_what_cannot_be_a_file() {
        let nothing = |_: &mut FileSink| Ok::<(), IoError>(());
        assert!(matches!(replace_file("..", nothing), Err(IoError::NoFileName { .. })));
        let folder = tempfile::tempdir().unwrap();
        let error = replace_file(folder.path().join("no/such/file"), nothing).unwrap_err();
        assert!(error.to_string().contains("there is no folder"), "{error}");
        fs::create_dir(folder.path().join("taken")).unwrap();
        assert!(replace_file(folder.path().join("taken"), nothing).is_err());
        assert_eq!(names(folder.path()), ["taken"]);
    }
}
