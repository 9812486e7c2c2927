//! The live adapter: what was learnt from the journal, under the name `live`.

use std::path::PathBuf;

use crate::adapter::BaseFingerprint;
use crate::cli::error::{CliError, CliResult};
use crate::cli::lora::Loaded;
use crate::cli::show;
use crate::cli::store::Home;
use crate::cli::term::{self, Paint};
use crate::gguf::GgufFile;
use crate::io::FolderSlots;
use crate::journal::live::{Live, folder};

/// What it is called wherever adapters are named.
pub const NAME: &str = "live";

/// The folder of a model's live adapter.
pub fn place(base: &BaseFingerprint) -> CliResult<PathBuf> {
    Ok(folder(&Home::find()?.data, base))
}

/// Opens a model's live adapter for reading.
pub fn open(base: &BaseFingerprint) -> CliResult<Live<FolderSlots>> {
    let place = place(base)?;
    let live = Live::open_to_read(&place).map_err(|e| CliError::from(e).at(place.display()))?;
    if let Some(notice) = live.notice() {
        term::warn(format!("the live adapter: {notice}; using the one before"));
    }
    Ok(live)
}

/// The live adapter of a model file, and when it was learnt; `None` if nothing was.
fn load(file: &GgufFile, scale: f32) -> CliResult<Option<(Loaded, String)>> {
    let base = BaseFingerprint::of(file)?;
    let mut live = open(&base)?;
    let Some(version) = live.current().cloned() else { return Ok(None) };
    let failed = |e: CliError| match place(&base) {
        Ok(place) => e.at(place.display()),
        Err(_) => e,
    };
    let mut adapter = live.adapter(version.number).map_err(|e| failed(e.into()))?;
    adapter.check_base(file, false).map_err(|e| failed(e.into()))?;
    adapter.name = format!("{NAME}-{}", version.number);
    Ok(Some((Loaded { adapter, scale }, version.time)))
}

/// The live adapter that was asked for by name.
pub fn wanted(file: &GgufFile, scale: f32) -> CliResult<Loaded> {
    let none = || {
        let none =
            CliError::failed("nothing is live for this model: nothing was learnt, or it was rolled back");
        none.advise("`ember adapter log`")
    };
    Ok(load(file, scale)?.ok_or_else(none)?.0)
}

/// The live adapter, if there is one, with a line that says so; one that cannot be used is warned of and left out.
pub fn by_default(file: &GgufFile) -> Option<Loaded> {
    match load(file, 1.0) {
        Ok(found) => found.map(|(loaded, time)| {
            let line = format!("using what was learnt until {} (--no-live: without it)", show::line(&time));
            term::say(Paint::stderr().dim(line));
            loaded
        }),
        Err(error) => {
            term::warn(format!("without what was learnt: {error}"));
            None
        }
    }
}
