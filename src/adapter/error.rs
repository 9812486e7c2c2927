//! What can be wrong with an adapter, and what to do about it.

use crate::gguf::GgufError;
use crate::io::IoError;
use crate::quant::QuantError;

/// Why an adapter could not be read, written or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdapterError {
    /// The GGUF file.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// The file as a whole.
    #[error(transparent)]
    Io(#[from] IoError),
    /// A GGUF file that is something else.
    #[error("`{key}` is {found}, and an adapter has `{expected}` there; give a LoRA adapter, not a model")]
    NotAnAdapter {
        /// The metadata key.
        key: &'static str,
        /// Its value, or `missing`.
        found: String,
        /// What an adapter has.
        expected: &'static str,
    },
    /// No pair of matrices at all.
    #[error("the adapter updates no matrix; train or fetch it again")]
    Empty,
    /// A setting with an impossible value.
    #[error("`{key}` {problem}; train or convert the adapter again")]
    Setting {
        /// The key.
        key: String,
        /// What is wrong.
        problem: String,
    },
    /// A tensor that cannot be part of an adapter.
    #[error("adapter tensor `{tensor}`: {problem}; the file is damaged, or of a kind that is not supported")]
    Tensor {
        /// The tensor, or the matrix it is for.
        tensor: String,
        /// What is wrong.
        problem: String,
    },
    /// A tensor's values.
    #[error("adapter tensor `{tensor}`: {source}")]
    Values {
        /// The tensor.
        tensor: String,
        /// What is wrong.
        source: QuantError,
    },
    /// A kind of adaptation that is known and not supported.
    #[error(
        "{what} is not supported; merge it into its base with the tool that made it (PEFT: merge_and_unload) and convert that model to GGUF, or train a plain LoRA adapter"
    )]
    Unsupported {
        /// What it is.
        what: String,
    },
    /// The weights of a model, where an adapter was asked for.
    #[error(
        "`{path}` holds the weights of a whole model and no LoRA matrices; give an adapter's folder or file, or convert the model to GGUF (llama.cpp's convert_hf_to_gguf.py) and use it as a model"
    )]
    WholeModel {
        /// The path.
        path: std::path::PathBuf,
    },
    /// The base model is of another architecture.
    #[error(
        "the adapter is for architecture `{adapter}` and the model `{file}` is `{base}`; give the model it was trained on"
    )]
    Architecture {
        /// The adapter's.
        adapter: String,
        /// The base's.
        base: String,
        /// The base's file.
        file: String,
    },
    /// A matrix the base model lacks, or has in another shape.
    #[error("the adapter does not fit the model: `{target}` {problem}; give the model it was trained on")]
    Shape {
        /// The matrix.
        target: String,
        /// What differs.
        problem: String,
    },
    /// Trained on another file of the same shape.
    #[error(
        "the adapter was trained on {trained_on}, and the model given is {given}; give that model, or use `force` to apply it all the same"
    )]
    OtherBase {
        /// Name and hash of the base in the adapter.
        trained_on: String,
        /// Name and hash of the base given.
        given: String,
    },
    /// A configuration file that cannot be understood.
    #[error("{file}: {problem}; export the adapter again")]
    Config {
        /// Which file.
        file: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// No configuration beside the tensors, and no alpha that was given.
    #[error("{file} is missing beside the tensors; without it alpha must be given")]
    NoAlpha {
        /// The file that would say it.
        file: &'static str,
    },
    /// A safetensors file that is damaged.
    #[error("the safetensors file cannot be read: {problem}; fetch or export it again")]
    Safetensors {
        /// What is wrong.
        problem: String,
    },
    /// A copy of a matrix of the base that is not that matrix.
    #[error(
        "the adapter brings a copy of the base's `{target}` that {problem}: it was trained, or is of another model; {remedy}"
    )]
    Copy {
        /// The base's matrix.
        target: String,
        /// How it differs.
        problem: String,
        /// What to do.
        remedy: &'static str,
    },
    /// Nothing to import at a path.
    #[error(
        "`{path}` holds no adapter: expected a GGUF or safetensors file, or a folder with adapter_model.safetensors (PEFT) or adapters.safetensors (MLX); a pickle (adapter_model.bin) must be saved as safetensors first"
    )]
    NothingThere {
        /// The path.
        path: std::path::PathBuf,
    },
}

impl AdapterError {
    pub(super) fn setting(key: impl Into<String>, problem: impl Into<String>) -> Self {
        AdapterError::Setting { key: short(&key.into()), problem: problem.into() }
    }

    pub(super) fn tensor(tensor: &str, problem: impl Into<String>) -> Self {
        AdapterError::Tensor { tensor: short(tensor), problem: problem.into() }
    }

    pub(super) fn unsupported(what: impl Into<String>) -> Self {
        AdapterError::Unsupported { what: what.into() }
    }
}

/// A name from a file, made safe and short for a message: escaped, at most 80 characters.
pub(super) fn short(name: &str) -> String {
    const LONGEST: usize = 80;
    let cut: String = name.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if name.chars().nth(LONGEST).is_some() { format!("{cut}…") } else { cut }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_files_stay_short_and_printable() {
        assert_eq!(short("a\n\u{1b}[0m"), "a\\n\\u{1b}[0m");
        assert_eq!(short(&"é".repeat(500)).chars().count(), 81);
    }
}
