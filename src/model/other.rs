//! Files of the format that are no models of language.

use std::fmt;

/// What a file is that is no model of language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OtherKind {
    /// An adapter.
    Adapter,
    /// What turns images or sounds into embeddings.
    Projector,
    /// An importance matrix.
    ImportanceMatrix,
    /// A control vector.
    ControlVector,
    /// A vocabulary without weights.
    Vocabulary,
}

impl fmt::Display for OtherKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Adapter => "an adapter, not a model; give its base as the model, and this one as an adapter",
            Self::Projector => {
                "what turns images or sounds into embeddings (mmproj), not a language model; give the language model that it \
                 was made for"
            }
            Self::ImportanceMatrix => {
                "an importance matrix, not a model; give the model that it was made of"
            }
            Self::ControlVector => "a control vector, not a model; give the model that it was made for",
            Self::Vocabulary => {
                "a vocabulary without weights, which is enough to make tokens of text; give a whole model"
            }
        })
    }
}
