//! Licences that one agrees to once, before a model is fetched.

use super::{Home, Model, StoreError};

/// File with the identifiers of licences that were agreed to, one a line.
const FILE: &str = "licences";

impl Home {
    /// Whether a model's licence asks for no agreement, or has it.
    pub fn agreed(&self, model: &Model) -> bool {
        let text = || std::fs::read_to_string(self.data.join(FILE)).unwrap_or_default();
        model.terms.is_none() || text().lines().any(|line| line.trim().eq_ignore_ascii_case(&model.licence))
    }

    /// Remembers that the user agreed to a model's licence.
    ///
    /// # Errors
    /// [`StoreError::Io`] if it cannot be written down.
    pub fn agree(&self, model: &Model) -> Result<(), StoreError> {
        if self.agreed(model) {
            return Ok(());
        }
        let place = self.data.join(FILE);
        let mut text = std::fs::read_to_string(&place).unwrap_or_default();
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&model.licence);
        self.note(&place, &text)
    }

    /// # Errors
    /// [`StoreError::Licence`] without agreement.
    pub(super) fn must_have_agreed(&self, model: &Model) -> Result<(), StoreError> {
        match &model.terms {
            Some(terms) if !self.agreed(model) => Err(StoreError::Licence {
                name: model.name.clone(),
                licence: model.licence.clone(),
                terms: terms.clone(),
            }),
            _ => Ok(()),
        }
    }
}
