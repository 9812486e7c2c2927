//! Running the command in a home of its own.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// A temporary `EMBER_HOME` and working folder.
pub struct Sandbox {
    pub dir: TempDir,
}

/// What a run gave.
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Sandbox {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn store(&self, name: &str) -> PathBuf {
        self.dir.path().join("home").join("models").join(name)
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ember"));
        command.args(args).current_dir(self.dir.path());
        command.env("EMBER_HOME", self.path("home"));
        for name in ["EMBER_CATALOG", "EMBER_MODEL", "EMBER_DEVICE", "NO_COLOR", "HTTPS_PROXY", "ALL_PROXY"] {
            command.env_remove(name);
        }
        let catalog = self.path("catalog.toml");
        if catalog.exists() {
            command.env("EMBER_CATALOG", catalog);
        }
        command.stdin(Stdio::null());
        command
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        ran(self.command(args).output().unwrap())
    }

    pub fn run_with_input(&self, args: &[&str], input: &str) -> Ran {
        let mut command = self.command(args);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A command that does not read all of it closes the pipe.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        ran(child.wait_with_output().unwrap())
    }
}

pub fn ran(output: Output) -> Ran {
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Bytes that begin like a model file.
pub fn payload(len: usize) -> Vec<u8> {
    let mut bytes = b"GGUF".to_vec();
    bytes.extend((0..len - 4).map(|i| (i * 7 + i / 251) as u8));
    bytes
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// A catalogue of one model called `tiny`.
pub fn catalog(bytes: &[u8], hash: Option<&str>, sources: &str) -> String {
    let hash = hash.map_or(String::new(), |h| format!("sha256 = \"{h}\"\n"));
    format!(
        "default = \"tiny\"\n[[model]]\nname = \"tiny\"\naliases = [\"t\"]\nabout = \"A test\"\n\
         parameters = \"0\"\nformat = \"F32\"\nfile = \"tiny.gguf\"\nsize = {}\n{hash}licence = \"MIT\"\n{sources}",
        bytes.len()
    )
}

pub fn file_source(path: &str) -> String {
    format!("[[model.source]]\nkind = \"file\"\npath = \"{path}\"\n")
}

/// A wheel (a zip file) with one member.
pub fn wheel(path: &Path, member: &str, bytes: &[u8]) {
    let mut zip = zip::ZipWriter::new(std::fs::File::create(path).unwrap());
    let options = zip::write::SimpleFileOptions::default();
    zip.start_file(member, options).unwrap();
    zip.write_all(bytes).unwrap();
    zip.finish().unwrap();
}
