//! What was measured, kept in a file beside the verdicts of proof, and carried from one machine to another.

use std::path::{Path, PathBuf};

use crate::exec::gpu::kernels::SHADERS;
use crate::exec::gpu::preferences::Preferences;
use crate::exec::gpu::{Gpu, proof};
use crate::exec::notes;
use crate::io::IoError;

/// Why a file of measured times was not written or not taken.
#[derive(Debug, thiserror::Error)]
pub enum TuningError {
    /// It cannot be read or written.
    #[error(transparent)]
    Io(#[from] IoError),
    /// It is not as it was written, or is something else.
    #[error("the file is damaged, or holds no measured times")]
    Damaged,
    /// Nothing was measured on this device.
    #[error("nothing was measured on {0} yet")]
    Nothing(String),
    /// There is no folder to keep it in.
    #[error("there is no folder for what is known of devices")]
    NoFolder,
    /// It was made for something else than what is here.
    #[error("it was measured with the {what} `{made_for}`, and this is `{here}`")]
    Other {
        /// What differs: adapter, driver, version of the shaders, limits and features.
        what: &'static str,
        /// That of the file.
        made_for: String,
        /// That of this device.
        here: String,
    },
}

/// What a file's head says, in this order.
const HEAD: [&str; 4] = ["adapter", "driver", "shaders", "limits and features"];

/// What times depend on: as [`HEAD`] names them.
fn made_for(gpu: &Gpu) -> [String; HEAD.len()] {
    let plain = |text: &str| text.replace(['\n', '\r', '\t'], " ");
    let rest = [proof::key(gpu), format!("{:?}", gpu.options.tuning)];
    [
        plain(&gpu.device.info.name),
        plain(&gpu.device.info.driver),
        format!("{} {SHADERS:x}", env!("CARGO_PKG_VERSION")),
        notes::digest(&rest),
    ]
}

/// The file's text: the head, then a kind of call a line.
fn text(gpu: &Gpu, known: &Preferences) -> String {
    let head = HEAD.iter().zip(made_for(gpu)).map(|(what, value)| format!("{what}\t{value}\n"));
    head.chain([known.text()]).collect()
}

/// Reads such a text.
fn parse(gpu: &Gpu, text: &str) -> Result<Preferences, TuningError> {
    let mut rest = text;
    for (what, here) in HEAD.into_iter().zip(made_for(gpu)) {
        let line = rest.split_once('\n').ok_or(TuningError::Damaged)?;
        let value = line.0.strip_prefix(what).and_then(|line| line.strip_prefix('\t'));
        let value = value.ok_or(TuningError::Damaged)?;
        if value != here {
            return Err(TuningError::Other { what, made_for: value.to_owned(), here });
        }
        rest = line.1;
    }
    Preferences::parse(rest).ok_or(TuningError::Damaged)
}

/// Where what is known of this device is kept.
fn file(gpu: &Gpu) -> Option<PathBuf> {
    let key = notes::digest(&made_for(gpu));
    let folder = gpu.options.notes.as_deref()?;
    Some(folder.join(format!("tuning-{}.txt", key.get(..16).unwrap_or(&key))))
}

/// What is known of this device; a file that is damaged, or of another one, counts as none.
pub fn load(gpu: &Gpu) -> Preferences {
    let text = file(gpu).and_then(|file| notes::read(&file));
    text.and_then(|text| parse(gpu, &text).ok()).unwrap_or_default()
}

/// Keeps it.
///
/// # Errors
/// [`TuningError::Io`], [`TuningError::NoFolder`].
pub fn save(gpu: &Gpu, known: &Preferences) -> Result<(), TuningError> {
    let file = file(gpu).ok_or(TuningError::NoFolder)?;
    Ok(notes::write(&file, &text(gpu, known))?)
}

/// What is known of this device, as a file of one's own.
///
/// # Errors
/// [`TuningError::Nothing`].
pub fn export(gpu: &Gpu) -> Result<String, TuningError> {
    let known = load(gpu);
    if known.0.is_empty() {
        return Err(TuningError::Nothing(gpu.device.info.name.clone()));
    }
    Ok(notes::whole(&text(gpu, &known)))
}

/// Adds what such a file says to what is known of this device; how many kinds of calls it has.
///
/// # Errors
/// All of [`TuningError`].
pub fn import(gpu: &Gpu, from: &Path) -> Result<usize, TuningError> {
    let path = || from.to_owned();
    std::fs::metadata(from).map_err(|source| IoError::System { action: "read", path: path(), source })?;
    let text = notes::read(from).ok_or(TuningError::Damaged)?;
    let more = parse(gpu, &text)?;
    let count = more.0.len();
    let mut known = load(gpu);
    known.0.extend(more.0);
    save(gpu, &known)?;
    Ok(count)
}
