//! What can be wrong with a vocabulary.

use thiserror::Error;

use crate::gguf::GgufError;

/// A vocabulary that cannot be used, and why.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// The file names a tokenizer family that this library does not have.
    #[error(
        "tokenizer model '{name}' is not supported; known are: gpt2 (byte-level BPE), llama (SentencePiece style)"
    )]
    UnknownModel {
        /// The value of `tokenizer.ggml.model`.
        name: String,
    },
    /// The file names a pre-tokenizer that this library does not have.
    #[error(
        "pre-tokenizer '{name}' is not known, and a wrong one would cut words in the wrong places; known are: {known}"
    )]
    UnknownPreTokenizer {
        /// The value of `tokenizer.ggml.pre`.
        name: String,
        /// All names that are known, separated by commas.
        known: String,
    },
    /// A needed key is not in the file.
    #[error(
        "the file has no '{key}', without which there is no tokenizer; was it converted without its vocabulary?"
    )]
    Missing {
        /// The metadata key.
        key: &'static str,
    },
    /// A key has a value of the wrong type.
    #[error(transparent)]
    Metadata(#[from] GgufError),
    /// There are no tokens, or more than ids.
    #[error("the vocabulary has {count} tokens; it must have at least 1 and at most {max}")]
    VocabularySize {
        /// How many the file has.
        count: usize,
        /// How many are allowed.
        max: usize,
    },
    /// Two lists that belong together differ in length.
    #[error("the vocabulary has {tokens} tokens but {found} {what}; the lists must be equally long")]
    LengthMismatch {
        /// Which list.
        what: &'static str,
        /// How many tokens there are.
        tokens: usize,
        /// How long the list is.
        found: usize,
    },
    /// A special token's id lies outside of the vocabulary.
    #[error("the {what} token is given as id {id}, but the vocabulary ends at {last}")]
    IdOutOfRange {
        /// Which special token.
        what: &'static str,
        /// The id.
        id: u32,
        /// The highest id.
        last: u32,
    },
    /// A merge rule is not two parts with a blank between.
    #[error("merge {index} is not of the form 'left right': {text:?}")]
    BadMerge {
        /// Its place in the list.
        index: usize,
        /// Its text, shortened, invalid bytes replaced.
        text: String,
    },
    /// A special token's text is too long to look for in every text.
    #[error("special token {id} is {len} bytes long; at most {max} are allowed")]
    SpecialTooLong {
        /// The token's id.
        id: u32,
        /// Its length.
        len: usize,
        /// The longest allowed.
        max: usize,
    },
    /// Characters that are no tokens could not be encoded.
    #[error(
        "the vocabulary has neither a token for the byte {byte:#04x} nor an unknown-token, so that some text could not be encoded"
    )]
    NoByteFallback {
        /// The first byte without a token.
        byte: u8,
    },
}
