//! A corpus: text of any length as a file of tokens, and windows of it in an order that a seed fixes. What a model learns from
//! that begins with nothing.
//!
//! [`Corpus::build`] reads texts once and writes a token file, which is mapped; it is used again as long as neither the texts nor
//! the vocabulary have changed. [`Sampler`] gives windows of it by number. Memory does not grow with the corpus in either.
//!
//! # The token file
//! A header of 256 bytes (`header`), then the tokens of all documents one behind another, those of the validation part last. A
//! token has 2 bytes where the vocabulary has at most 32 768 tokens, otherwise 4, the low byte first. Its highest bit says that
//! a document begins with it.

mod build;
mod error;
mod feed;
mod gather;
mod header;
mod permute;
mod read;
mod sample;
mod sink;
mod sources;

use std::path::Path;

pub use build::{Built, CorpusOptions, Progress, Validation};
pub use error::CorpusError;
pub use permute::Permutation;
pub use read::each_text;
pub use sample::{Pieces, Sampler};

use crate::io::MappedFile;
use crate::text::Tokenizer;
use header::Header;

/// The end of text of most corpora that are one file.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// A token file, mapped.
#[derive(Debug)]
pub struct Corpus {
    file: MappedFile,
    header: Header,
}

/// Which split of the tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// What is learnt.
    Train,
    /// What the model is judged by.
    Validation,
}

impl Corpus {
    /// Opens a token file. Its header is checked, its tokens are not (see [`Self::verify`]); a token that is none is an error
    /// when it is read.
    ///
    /// # Errors
    /// [`CorpusError::Io`] if it cannot be mapped; [`CorpusError::NotACorpus`], [`CorpusError::Version`] and
    /// [`CorpusError::Damaged`] for other files.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, CorpusError> {
        let file = MappedFile::open(path)?;
        let header = Header::read(file.bytes()).map_err(|e| e.at(file.path()))?;
        Ok(Self { file, header })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Tokens of a split.
    pub fn tokens(&self, split: Split) -> u64 {
        match split {
            Split::Train => self.header.train,
            Split::Validation => self.header.validation,
        }
    }

    /// Documents of a split. Of a validation part that is the end of the corpus ([`Self::cut_within`]) all are the training's.
    pub fn documents(&self, split: Split) -> u64 {
        match split {
            Split::Train => self.header.train_documents,
            Split::Validation => self.header.validation_documents,
        }
    }

    /// Whether the validation part is the end of the text, because there are too few documents to keep whole ones.
    pub fn cut_within(&self) -> bool {
        self.header.cut_within
    }

    /// Bytes of text, both parts together, as UTF-8 and without marks between documents.
    pub fn text_bytes(&self) -> u64 {
        self.header.text_bytes
    }

    /// SHA-256 of the tokens, in hexadecimal digits: equal for equal texts in the same order, split and encoded in the same
    /// way. It is what a run depends on.
    pub fn content(&self) -> String {
        hex(&self.header.content)
    }

    /// The seed that chose the documents of the validation part.
    pub fn seed(&self) -> u64 {
        self.header.seed
    }

    /// Tokens of the vocabulary it was encoded with.
    pub fn vocab_len(&self) -> u64 {
        self.header.vocab
    }

    /// Checks that this vocabulary encoded it.
    ///
    /// # Errors
    /// [`CorpusError::Vocabulary`].
    pub fn check_vocabulary(&self, tokenizer: &Tokenizer) -> Result<(), CorpusError> {
        if self.header.vocabulary == tokenizer.fingerprint() {
            return Ok(());
        }
        Err(CorpusError::Vocabulary { path: self.path().to_owned() })
    }

    /// Reads all tokens and compares their checksum.
    ///
    /// # Errors
    /// [`CorpusError::Damaged`].
    pub fn verify(&self) -> Result<(), CorpusError> {
        if self.header.content == header::sha256(self.data()) {
            return Ok(());
        }
        let why = "its tokens are not those that were written (their checksum differs)".to_owned();
        Err(CorpusError::Damaged { path: self.path().to_owned(), why })
    }

    /// The bytes of the tokens.
    fn data(&self) -> &[u8] {
        self.file.bytes().get(header::LEN..).unwrap_or_default()
    }

    /// Where a split begins, in tokens.
    fn start(&self, split: Split) -> u64 {
        match split {
            Split::Train => 0,
            Split::Validation => self.header.train,
        }
    }

    /// The token at a place of a split, and whether a document begins with it.
    fn token(&self, split: Split, at: u64) -> Result<(u32, bool), CorpusError> {
        let place = self.start(split) + at;
        let width = self.header.width;
        let start = usize::try_from(place).ok().and_then(|p| p.checked_mul(width.bytes()));
        let bytes = start.and_then(|s| self.data().get(s..s + width.bytes()));
        let damaged = |why: String| CorpusError::Damaged { path: self.path().to_owned(), why };
        let bytes = bytes.ok_or_else(|| damaged(format!("it ends before token {place}")))?;
        let (id, begins) = width.decode(bytes);
        if u64::from(id) >= self.header.vocab {
            return Err(damaged(format!(
                "token {place} is {id}, and the vocabulary has {}",
                self.header.vocab
            )));
        }
        Ok((id, begins))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
