//! Replacing a file in one step.

use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::{IoError, StdStream};

/// The stream that [`replace_file`] hands to its caller.
pub type FileSink = StdStream<BufWriter<File>>;

/// Writes a file so that whoever opens `path` sees the old contents or the new ones, whole, even if the power
/// fails: `fill` writes a temporary file beside it, which is flushed to the disk and then renamed over `path`.
/// If `fill` fails the temporary file is removed and `path` is as it was. A symbolic link at `path` is replaced
/// by a plain file.
///
/// # Errors
/// Whatever `fill` returns, or an [`IoError`] of the file operations turned into the caller's error.
pub fn replace_file<T, E: From<IoError>>(
    path: impl AsRef<Path>,
    fill: impl FnOnce(&mut FileSink) -> Result<T, E>,
) -> Result<T, E> {
    let path = path.as_ref();
    let (file, temporary) = create_beside(path)?;
    let result = write_and_rename(file, &temporary, path, fill);
    if result.is_err() {
        // The first error is the one to report; a leftover temporary file harms nobody.
        let _ = fs::remove_file(&temporary);
    }
    result
}

/// Fills the temporary file, forces it to the disk, and puts it in place.
fn write_and_rename<T, E: From<IoError>>(
    file: File,
    temporary: &Path,
    path: &Path,
    fill: impl FnOnce(&mut FileSink) -> Result<T, E>,
) -> Result<T, E> {
    let mut sink = StdStream(BufWriter::new(file));
    let value = fill(&mut sink)?;
    let file = sink.0.into_inner().map_err(|e| IoError::system("write", temporary, e.into_error()))?;
    file.sync_all().map_err(|e| IoError::system("flush to the disk", temporary, e))?;
    drop(file);
    fs::rename(temporary, path).map_err(|e| IoError::system("rename the new file to", path, e))?;
    sync_folder(path)?;
    Ok(value)
}

/// Creates a new, empty file in the folder of `path` (a rename is only atomic within one file system). Names
/// left behind by a crash are stepped over, never opened.
fn create_beside(path: &Path) -> Result<(File, PathBuf), IoError> {
    const ATTEMPTS: u32 = 64;
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let name = path.file_name().ok_or_else(|| IoError::NoFileName { path: path.to_path_buf() })?;
    let mut attempt = 0;
    loop {
        let mut temporary_name = std::ffi::OsString::from(".");
        temporary_name.push(name);
        let unique = COUNTER.fetch_add(1, Ordering::Relaxed);
        temporary_name.push(format!(".{}-{unique}.tmp", std::process::id()));
        let temporary = path.with_file_name(temporary_name);
        attempt += 1;
        match OpenOptions::new().write(true).create_new(true).open(&temporary) {
            Ok(file) => return Ok((file, temporary)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists && attempt < ATTEMPTS => {}
            Err(error) => return Err(IoError::system("create", &temporary, error)),
        }
    }
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
    use embedded_io::Write;

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
        assert!(error.to_string().contains("cannot create"), "{error}");
        // A folder in the way: the rename fails and the temporary file goes.
        fs::create_dir(folder.path().join("taken")).unwrap();
        assert!(replace_file(folder.path().join("taken"), nothing).is_err());
        assert_eq!(names(folder.path()), ["taken"]);
    }
}
