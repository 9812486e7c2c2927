//! Files and folders for their owner alone: what somebody said, or what was learnt from it.
//!
//! Unix has modes for that, which are set whatever the umask, also on what was there before. Elsewhere the folders of a
//! user are theirs already.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

/// Who may read a file that is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Access {
    /// Whoever the umask lets, or who could read the file that is replaced.
    #[default]
    Ordinary,
    /// Its owner alone.
    Private,
}

/// Options that make new files for their owner alone.
pub fn options() -> OpenOptions {
    #[allow(unused_mut)]
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Takes from an open file what others may do with it. A file of somebody else is left as it is.
pub fn tighten(file: &File) {
    #[cfg(unix)]
    if let Ok(metadata) = file.metadata()
        && others_may(&metadata)
    {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        // Only the owner can; for others it is not theirs to keep private.
        let _ = file.set_permissions(mode);
    }
    #[cfg(not(unix))]
    let _ = file;
}

/// Makes a folder, with those it lies in, for its owner alone; one that is there loses what others may do with it.
///
/// # Errors
/// The system's.
pub fn folder(path: &Path) -> io::Result<()> {
    make_folders(path)?;
    #[cfg(unix)]
    if let Ok(metadata) = std::fs::metadata(path)
        && others_may(&metadata)
    {
        let _ = std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o700));
    }
    Ok(())
}

/// Makes those of the folders that are missing, for their owner alone; those that are there stay as they are.
///
/// # Errors
/// The system's.
pub fn make_folders(path: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Whether a file can be read by others than its owner; where there are no modes it counts as such.
pub fn is_private(path: &Path) -> bool {
    #[cfg(unix)]
    return std::fs::metadata(path).is_ok_and(|metadata| !others_may(&metadata));
    #[cfg(not(unix))]
    {
        let _ = path;
        false
    }
}

#[cfg(unix)]
fn others_may(metadata: &std::fs::Metadata) -> bool {
    std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o077 != 0
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_was_open_to_others_is_tightened() {
        let dir = tempfile::tempdir().unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let old = dir.path().join("old");
        std::fs::create_dir(&old).unwrap();
        std::fs::set_permissions(&old, PermissionsExt::from_mode(0o755)).unwrap();
        folder(&old.join("new")).unwrap();
        assert_eq!((mode(&old), mode(&old.join("new"))), (0o755, 0o700));
        folder(&old).unwrap();
        assert_eq!(mode(&old), 0o700);
        let path = old.join("file");
        std::fs::write(&path, b"x").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o664)).unwrap();
        assert!(!is_private(&path));
        tighten(&File::open(&path).unwrap());
        assert_eq!(mode(&path), 0o600);
        assert!(is_private(&path));
    }
}
