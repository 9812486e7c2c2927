//! A file mapped into memory, read only.

use std::fs::File;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use super::IoError;

/// A plain file mapped into memory. Pages are read when first touched and can be dropped by the system at any
/// time, so that a model larger than free memory still opens at once.
#[derive(Debug)]
pub struct MappedFile {
    map: Mmap,
    path: PathBuf,
}

impl MappedFile {
    /// Opens and maps the file at `path`.
    ///
    /// # Errors
    /// [`IoError`] when the path cannot be opened, is not a plain file, or cannot be mapped.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, IoError> {
        let path = path.as_ref();
        // Before it is opened: opening a pipe would wait for whoever writes to it.
        let about = std::fs::metadata(path).map_err(|e| IoError::system("open", path, e))?;
        if !about.is_file() {
            return Err(IoError::NotAFile { path: path.to_path_buf() });
        }
        let file = File::open(path).map_err(|e| IoError::system("open", path, e))?;
        Ok(MappedFile { map: map(&file, path)?, path: path.to_path_buf() })
    }

    /// The file's bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl AsRef<[u8]> for MappedFile {
    fn as_ref(&self) -> &[u8] {
        &self.map
    }
}

/// Maps a whole file. Mapping is what lets a model start without copying gigabytes first: the one reason for
/// `unsafe` in this layer.
#[allow(unsafe_code)]
fn map(file: &File, path: &Path) -> Result<Mmap, IoError> {
    // SAFETY: the map is private to this process and never written through, and every byte pattern is a valid
    // `u8`. What no program can rule out is another process changing or cutting the file short meanwhile: the
    // bytes then change, or the system stops this process (SIGBUS). Nothing here relies on bytes staying the
    // same between two looks for memory safety, and `replace_file` swaps files whole, which a map survives.
    unsafe { Mmap::map(file) }.map_err(|e| IoError::system("map into memory", path, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_files_and_refuses_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        std::fs::write(&path, b"hello").unwrap();
        let mapped = MappedFile::open(&path).unwrap();
        assert_eq!((mapped.bytes(), mapped.path()), (&b"hello"[..], path.as_path()));

        std::fs::write(folder.path().join("empty"), b"").unwrap();
        assert_eq!(MappedFile::open(folder.path().join("empty")).unwrap().bytes(), b"");
        assert!(matches!(
            MappedFile::open(folder.path()),
            Err(IoError::NotAFile { .. } | IoError::System { .. })
        ));
        let missing = MappedFile::open(folder.path().join("missing")).unwrap_err();
        assert!(missing.to_string().contains("cannot open") && missing.to_string().contains("missing"));
    }
}
