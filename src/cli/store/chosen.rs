//! Which model this user has chosen as the default one.

use std::path::{Path, PathBuf};

use super::{Home, StoreError};

/// File with the name or path of the chosen model.
const FILE: &str = "default-model";
/// File that is there once the question of the first start has been asked.
const ASKED: &str = "asked-for-model";

impl Home {
    /// The model that was chosen, as `-m` takes it.
    pub fn chosen(&self) -> Option<String> {
        let text = std::fs::read_to_string(self.data.join(FILE)).ok()?;
        let name = text.trim();
        (!name.is_empty()).then(|| name.to_owned())
    }

    /// Remembers a model as the default one; none forgets it.
    pub fn remember(&self, name: Option<&str>) -> Result<(), StoreError> {
        let place = self.data.join(FILE);
        match name {
            Some(name) => self.note(&place, name),
            None => match std::fs::remove_file(&place) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(StoreError::io(&place, error))
                }
                _ => Ok(()),
            },
        }
    }

    /// Whether the user was asked at a first start.
    pub fn asked(&self) -> bool {
        self.data.join(ASKED).exists()
    }

    /// The user was asked, and is not asked again.
    pub fn note_asked(&self) -> Result<(), StoreError> {
        self.note(&self.data.join(ASKED), "yes")
    }

    pub(super) fn note(&self, place: &Path, text: &str) -> Result<(), StoreError> {
        std::fs::create_dir_all(&self.data).map_err(|e| StoreError::io(&self.data, e))?;
        std::fs::write(place, format!("{text}\n")).map_err(|e| StoreError::io(place, e))
    }

    /// All model files of hubs that are here, by their folder and name.
    pub fn of_hubs(&self) -> Vec<(String, PathBuf)> {
        let list = |folder: &Path| -> Vec<PathBuf> {
            let entries = std::fs::read_dir(folder).into_iter().flatten();
            entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
        };
        let mut all = Vec::new();
        for folder in list(&self.models.join(super::hub::FOLDER)) {
            let repo = folder.file_name().unwrap_or_default().to_string_lossy().replacen("--", "/", 1);
            let files =
                list(&folder).into_iter().filter(|file| file.extension().is_some_and(|e| e == "gguf"));
            all.extend(files.map(|file| (repo.clone(), file)));
        }
        all.sort();
        all
    }
}
