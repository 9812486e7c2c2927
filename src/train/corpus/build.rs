//! From texts to a token file.

use std::cell::Cell;
use std::io::{Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::error::CorpusError;
use super::feed::Feed;
use super::gather::Gather;
use super::header::{self, Header, Width};
use super::read;
use super::sink::{Sink, Written};
use super::sources::{self, Source};
use super::{Corpus, END_OF_TEXT};
use crate::io::{Access, Existing, FileSink, IoError, Manner, write_file};
use crate::text::Tokenizer;
use crate::train::data::Report;

/// What the model is judged by.
#[derive(Debug, Clone, PartialEq)]
pub enum Validation {
    /// Nothing.
    Nothing,
    /// About this fraction of the documents, from 0 to 0.5, chosen by their number and the seed. Of fewer than 20 documents: that
    /// fraction of the tokens, at the end.
    Fraction(f64),
    /// Texts of their own: files and folders.
    Texts(Vec<PathBuf>),
}

/// How texts become tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct CorpusOptions {
    /// The line between two documents of a plain text file; without it, a file is a document. Of JSON lines each is one.
    pub separator: Option<String>,
    /// Texts of control tokens become these tokens.
    pub special: bool,
    /// What is kept for validation.
    pub validation: Validation,
    /// Chooses the documents for validation.
    pub seed: u64,
    /// Threads that encode; the result does not depend on it.
    pub threads: usize,
    /// Who may read the token file.
    pub access: Access,
}

impl Default for CorpusOptions {
    /// Documents apart at lines `<|endoftext|>`, a hundredth for validation, one thread, for the owner alone.
    fn default() -> Self {
        Self {
            separator: Some(END_OF_TEXT.to_owned()),
            special: false,
            validation: Validation::Fraction(0.01),
            seed: 0,
            threads: 1,
            access: Access::Private,
        }
    }
}

/// How far reading has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of files read, and there are in all.
    pub done: u64,
    /// All of them.
    pub total: u64,
    /// Documents so far.
    pub documents: u64,
    /// Tokens so far.
    pub tokens: u64,
}

/// What [`Corpus::build`] has made.
#[derive(Debug)]
pub struct Built {
    /// The corpus.
    pub corpus: Corpus,
    /// Whether it was there already, made of the same files in the same way; then the rest is not known.
    pub reused: bool,
    /// What became of the rows of JSON lines.
    pub report: Report,
    /// Documents with nothing in them, which are left out.
    pub empty: u64,
}

impl Corpus {
    /// Makes the token file `path` of texts, or opens it if it was made of the same files (by place, size and time of change) with
    /// the same tokenizer and options. Folders are searched for .txt, .text, .md, .jsonl and .ndjson, by name; files are taken
    /// whatever they are called, as plain text or as JSON lines with `text`.
    ///
    /// Each document gets the tokenizer's beginning token, where it adds one, and at its end the end-of-sequence token (or else
    /// the end-of-turn token). Line ends become line feeds. Beside a separator, the line feed before it is not learnt, nor
    /// the one at the file's end. Memory is bounded by about 1 MiB for each thread, and by 32 MiB for a row of JSON.
    ///
    /// `progress` is called after each piece of text, and stops the work by [`ControlFlow::Break`]; then, as after any error,
    /// what was at `path` is still there.
    ///
    /// # Errors
    /// [`CorpusError`]: no texts, a file that is no UTF-8 text, too little text, a file at `path` that is no token file.
    pub fn build(
        path: impl AsRef<Path>,
        texts: &[PathBuf],
        tokenizer: &Tokenizer,
        options: &CorpusOptions,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Built, CorpusError> {
        let path = path.as_ref();
        let fraction = check(options)?;
        let train = sources::list(texts)?;
        let validation = match &options.validation {
            Validation::Texts(paths) => Some(sources::list(paths)?),
            _ => None,
        };
        let work = Work {
            fingerprint: fingerprint(&train, validation.as_deref(), tokenizer, options),
            train,
            validation,
            tokenizer,
            options,
            fraction,
        };
        if let Some(corpus) = work.there(path)? {
            return Ok(Built { corpus, reused: true, report: Report::default(), empty: 0 });
        }
        let manner = Manner { existing: Existing::Replace, access: options.access };
        let written = write_file(path, manner, |out| work.write(path, out, progress))?;
        let (report, empty) = written.value;
        Ok(Built { corpus: Corpus::open(path)?, reused: false, report, empty })
    }
}

/// Checks the options, and gives the fraction of documents for validation.
fn check(options: &CorpusOptions) -> Result<f64, CorpusError> {
    if let Some(line) = &options.separator {
        read::check_separator(line)?;
    }
    match options.validation {
        Validation::Fraction(fraction) if !(0.0..=0.5).contains(&fraction) => {
            Err(CorpusError::Fraction { fraction })
        }
        Validation::Fraction(fraction) => Ok(fraction),
        _ => Ok(0.0),
    }
}

/// What a token file is made of, and how.
fn fingerprint(
    train: &[Source],
    validation: Option<&[Source]>,
    tokenizer: &Tokenizer,
    options: &CorpusOptions,
) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"ember corpus 1");
    hash.update(tokenizer.fingerprint());
    hash.update(options.seed.to_le_bytes());
    hash.update([u8::from(options.special), u8::from(options.separator.is_some())]);
    let separator = options.separator.as_deref().unwrap_or_default();
    hash.update((separator.len() as u64).to_le_bytes());
    hash.update(separator);
    sources::hash(train, &mut hash);
    match (&options.validation, validation) {
        (Validation::Fraction(fraction), _) => hash.update(fraction.to_le_bytes()),
        (_, validation) => {
            hash.update([u8::from(validation.is_some())]);
            sources::hash(validation.unwrap_or_default(), &mut hash);
        }
    }
    hash.finalize().into()
}

struct Work<'a> {
    train: Vec<Source>,
    validation: Option<Vec<Source>>,
    tokenizer: &'a Tokenizer,
    options: &'a CorpusOptions,
    fraction: f64,
    fingerprint: [u8; 32],
}

impl Work<'_> {
    /// The file that is there, if it is what would be written.
    fn there(&self, path: &Path) -> Result<Option<Corpus>, CorpusError> {
        match std::fs::metadata(path) {
            Err(_) => return Ok(None),
            // One that is empty has nothing to lose.
            Ok(about) if about.is_file() && about.len() == 0 => return Ok(None),
            Ok(_) => {}
        }
        match Corpus::open(path) {
            Ok(corpus) if corpus.header.sources == self.fingerprint => Ok(Some(corpus)),
            Ok(_) | Err(CorpusError::Damaged { .. } | CorpusError::Version { .. }) => Ok(None),
            Err(other) => Err(other),
        }
    }

    fn write(
        &self,
        path: &Path,
        out: &mut FileSink,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<(Report, u64), CorpusError> {
        let failed = |e| CorpusError::from(IoError::system("write", path, e));
        out.0.write_all(&[0; header::LEN]).map_err(failed)?;
        let width = Width::of(self.tokenizer.vocab_len() as u64);
        let done = Cell::new(0);
        let all = self.train.iter().chain(self.validation.iter().flatten());
        let total = all.map(|source| source.bytes).sum();
        let mut after = |documents, tokens| {
            // A file may have grown meanwhile.
            let progress = progress(Progress { done: done.get().min(total), total, documents, tokens });
            if progress.is_break() { Err(CorpusError::Stopped) } else { Ok(()) }
        };
        let sink = Sink::new(out, path, width, self.fraction, self.options.seed)?;
        let options = self.options;
        let mut feed = Feed::new(self.tokenizer, options.special, options.threads, sink, &mut after);
        let mut gather = Gather::new(&mut feed);
        let mut report = Report::default();
        let mark = options.separator.as_deref();
        for source in &self.train {
            read::file(source, mark, &done, &mut gather, &mut report)?;
        }
        if let Some(validation) = &self.validation {
            gather.to.validation_begins()?;
            for source in validation {
                read::file(source, mark, &done, &mut gather, &mut report)?;
            }
        }
        let (sink, text_bytes, empty) = feed.finish()?;
        let written = sink.finish()?;
        self.enough(&written)?;
        let header = self.header(width, &written, text_bytes);
        out.0.seek(SeekFrom::Start(0)).map_err(failed)?;
        out.0.write_all(&header.bytes()).map_err(failed)?;
        Ok((report, empty))
    }

    fn enough(&self, written: &Written) -> Result<(), CorpusError> {
        let kept = self.validation.is_some().then_some(written.validation);
        match [Some(written.train), kept].into_iter().flatten().find(|&tokens| tokens < 2) {
            Some(tokens) => Err(CorpusError::TooLittle { tokens, needed: 2 }),
            None => Ok(()),
        }
    }

    fn header(&self, width: Width, written: &Written, text_bytes: u64) -> Header {
        Header {
            width,
            vocab: self.tokenizer.vocab_len() as u64,
            seed: self.options.seed,
            train: written.train,
            validation: written.validation,
            train_documents: written.train_documents,
            validation_documents: written.validation_documents,
            text_bytes,
            cut_within: written.cut_within,
            vocabulary: self.tokenizer.fingerprint(),
            sources: self.fingerprint,
            content: written.content,
        }
    }
}
