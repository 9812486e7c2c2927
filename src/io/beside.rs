//! Files that are written beside the one that they become.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::IoError;
use super::private::{self, Access};

/// Creates a new, empty file in the folder of `path` (a rename is only atomic within one file system). Names
/// left behind by a crash are stepped over, never opened.
pub(crate) fn create_beside(path: &Path, access: Access) -> Result<(File, PathBuf), IoError> {
    const ATTEMPTS: u32 = 64;
    /// Bytes of the name that a temporary name begins with: a name of the full length has to fit as well.
    const SHOWN: usize = 64;
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let name = path.file_name().ok_or_else(|| IoError::NoFileName { path: path.to_path_buf() })?;
    let name: String = name.to_string_lossy().chars().take(SHOWN / 4).collect();
    let mut options = match access {
        Access::Private => private::options(),
        Access::Ordinary => OpenOptions::new(),
    };
    let options = options.write(true).create_new(true);
    let mut attempt = 0;
    loop {
        let unique = COUNTER.fetch_add(1, Ordering::Relaxed);
        let temporary = path.with_file_name(format!(".{name}.{}-{unique}.tmp", std::process::id()));
        attempt += 1;
        match options.open(&temporary) {
            Ok(file) => return Ok((file, temporary)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists && attempt < ATTEMPTS => {}
            Err(error) => return Err(IoError::system("create", path, error)),
        }
    }
}
