//! What stands for the model and the data of a run, so that it is not resumed with others.

use std::path::Path;

use sha2::{Digest, Sha256};

use crate::adapter::BaseFingerprint;
use crate::cli::error::{CliError, CliResult};
use crate::cli::tune::differences::Identity;
use crate::cli::tune::shared::{OutputArgs, short_hash};
use crate::model::Model;
use crate::train::data::{DataFile, Item, Items};

/// What a checkpoint must have been begun with: the model and the data (`what` are its items), and, in words, how the data
/// is read.
pub fn identity<T: Item>(
    model: &Model,
    data: &Items<T>,
    validation: &Items<T>,
    output: &OutputArgs,
    (what, how): (&str, &str),
) -> CliResult<String> {
    let base = BaseFingerprint::of(model.file())?;
    let none = validation.items.is_empty();
    let (from, from_contents) = output.begun_with()?;
    let identity = Identity {
        model: model.config().name.clone(),
        base: base.sha256.chars().take(16).collect(),
        data: data.files.iter().map(|file| file.path.display().to_string()).collect(),
        contents: hashes(&data.files),
        items: format!("{} {what}", data.items.len()),
        sequences: digest(data),
        held_out: format!("{} {what}", validation.items.len()),
        held_out_contents: if none { String::new() } else { hashes(&validation.files) },
        how: how.to_owned(),
        from,
        from_contents,
    };
    serde_json::to_string(&identity).map_err(CliError::failed)
}

/// What stands for the sequences: with another template or system prompt the same files make others.
fn digest<T: Item>(data: &Items<T>) -> String {
    let tokens = data.counts();
    let mut all = Sha256::new_with_prefix(format!("{} {} ", tokens.trained, tokens.total));
    data.items.iter().for_each(|item| item.identify(&mut |bytes| all.update(bytes)));
    short_hash(all.finalize())
}

/// Notes on the data that go into the adapter.
pub fn info<T: Item>(data: &Items<T>) -> std::collections::BTreeMap<String, String> {
    let name = |p: &Path| p.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let names = data.files.iter().map(|f| name(&f.path)).collect::<Vec<_>>().join(" ");
    [
        ("data.files".to_owned(), names),
        ("data.sha256".to_owned(), hashes(&data.files)),
        ("data.sequences".to_owned(), data.items.len().to_string()),
    ]
    .into()
}

fn hashes(files: &[DataFile]) -> String {
    files.iter().map(|f| f.sha256.get(..16).unwrap_or(&f.sha256)).collect::<Vec<_>>().join(" ")
}
