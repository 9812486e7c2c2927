//! Where the default model's file is.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use emberlm::cli::store::{Catalog, Home};
use emberlm::model::Model;

/// The default model: the file that `EMBER_TEST_MODEL` names, or the one `ember pull` stores, fetched if need be.
pub fn default_model() -> &'static Model {
    static MODEL: OnceLock<Model> = OnceLock::new();
    MODEL
        .get_or_init(|| super::open(&std::env::var_os("EMBER_TEST_MODEL").map_or_else(pulled, PathBuf::from)))
}

fn pulled() -> PathBuf {
    let catalog = Catalog::built_in().unwrap();
    let home = Home::find().unwrap();
    let model = catalog.get(&catalog.default).unwrap();
    home.present(model).unwrap_or_else(|| {
        let pull = Command::new(env!("CARGO_BIN_EXE_ember")).args(["pull", &model.name]).output().unwrap();
        assert!(
            pull.status.success(),
            "`ember pull {}` failed; get the file by other means and set EMBER_TEST_MODEL to it\n{}",
            model.name,
            String::from_utf8_lossy(&pull.stderr)
        );
        home.path_of(model)
    })
}
