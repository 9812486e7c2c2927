//! Where tokens go: into the file, or for a while beside it, until it is known to which part a document belongs.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::error::CorpusError;
use super::header::Width;
use crate::io::{Access, FileSink, IoError, create_beside};
use crate::train::data::mix;

/// With fewer documents the end of the text is held out for validation, not whole ones.
pub(super) const FEW: u64 = 20;
const BLOCK: usize = 64 << 10;
/// Sets these random numbers apart from others of the seed.
const STREAM: u64 = 0x4b45_5054_444f_4353;

/// Tokens at the end of the file that is written.
struct Out<'f> {
    file: &'f mut FileSink,
    path: &'f Path,
    hash: Sha256,
    bytes: u64,
}

impl Out<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), CorpusError> {
        self.file.0.write_all(bytes).map_err(|e| IoError::system("write", self.path, e))?;
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }
}

/// Tokens in a file of their own, which goes when this does.
struct Spill {
    file: BufWriter<File>,
    path: PathBuf,
    bytes: u64,
    documents: u64,
}

impl Spill {
    fn beside(path: &Path) -> Result<Self, CorpusError> {
        let (file, path) = create_beside(path, Access::Private)?;
        // What has been made can only be written to; it is read as well.
        let both = File::options().read(true).write(true).open(&path);
        drop(file);
        let spill = |file| Self { file: BufWriter::new(file), path: path.clone(), bytes: 0, documents: 0 };
        both.map(spill).map_err(|e| IoError::system("write", &path, e).into())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), CorpusError> {
        self.file.write_all(bytes).map_err(|e| self.failed(e))?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    fn failed(&self, error: io::Error) -> CorpusError {
        IoError::system("write", &self.path, error).into()
    }

    /// Goes through all that was written.
    fn each_block(
        &mut self,
        take: &mut dyn FnMut(&[u8]) -> Result<(), CorpusError>,
    ) -> Result<(), CorpusError> {
        let rewound = self.file.seek(SeekFrom::Start(0));
        rewound.map_err(|e| self.failed(e))?;
        let mut reader = BufReader::with_capacity(BLOCK, self.file.get_ref());
        let mut block = vec![0; BLOCK];
        let mut left = self.bytes;
        while left > 0 {
            let n = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
            let block = block.get_mut(..n).unwrap_or_default();
            reader.read_exact(block).map_err(|e| IoError::system("read", &self.path, e))?;
            take(block)?;
            left -= n as u64;
        }
        Ok(())
    }
}

impl Drop for Spill {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// What is held out for validation.
enum HoldOut {
    /// Nothing, or what comes from now on.
    Nothing,
    /// So far there are few documents.
    Undecided(Spill),
    /// Whole documents.
    Documents(Spill),
}

/// Takes the tokens of document after document.
pub(super) struct Sink<'f> {
    out: Out<'f>,
    width: Width,
    fraction: f64,
    seed: u64,
    hold_out: HoldOut,
    /// Documents that have begun, and how many of them are the training's.
    documents: u64,
    train_documents: u64,
    /// Whether the document in work is held out for validation.
    held_out: bool,
    /// Bytes of the training part, once another is being written.
    train_bytes: Option<u64>,
    encoded: Vec<u8>,
}

/// What was written.
pub(super) struct Written {
    pub(super) train: u64,
    pub(super) validation: u64,
    pub(super) train_documents: u64,
    pub(super) validation_documents: u64,
    pub(super) cut_within: bool,
    pub(super) content: [u8; 32],
}

impl<'f> Sink<'f> {
    pub(super) fn new(
        file: &'f mut FileSink,
        path: &'f Path,
        width: Width,
        fraction: f64,
        seed: u64,
    ) -> Result<Self, CorpusError> {
        let hold_out =
            if fraction > 0.0 { HoldOut::Undecided(Spill::beside(path)?) } else { HoldOut::Nothing };
        Ok(Self {
            out: Out { file, path, hash: Sha256::new(), bytes: 0 },
            width,
            fraction,
            seed,
            hold_out,
            documents: 0,
            train_documents: 0,
            held_out: false,
            train_bytes: None,
            encoded: Vec::new(),
        })
    }

    /// Documents that have begun.
    pub(super) fn documents(&self) -> u64 {
        self.documents
    }

    /// Tokens so far.
    pub(super) fn tokens(&self) -> u64 {
        let beside = match &self.hold_out {
            HoldOut::Nothing => 0,
            HoldOut::Undecided(spill) | HoldOut::Documents(spill) => spill.bytes,
        };
        (self.out.bytes + beside) / self.width.bytes() as u64
    }

    /// From now on, all is the validation part.
    pub(super) fn validation_begins(&mut self) {
        self.train_bytes = Some(self.out.bytes);
        self.train_documents = self.documents;
    }

    /// Takes tokens of a document; `begins`: its first ones, of which there is at least one.
    pub(super) fn put(&mut self, ids: &[u32], begins: bool) -> Result<(), CorpusError> {
        if begins {
            if self.documents + 1 == FEW {
                self.decide()?;
            }
            self.held_out = self.is_held_out(self.documents);
            self.documents += 1;
        }
        self.encoded.clear();
        for (i, &id) in ids.iter().enumerate() {
            self.width.encode(id, begins && i == 0, &mut self.encoded);
        }
        match &mut self.hold_out {
            HoldOut::Nothing => self.out.put(&self.encoded),
            HoldOut::Undecided(spill) => spill.put(&self.encoded),
            HoldOut::Documents(spill) if self.held_out => {
                spill.documents += u64::from(begins);
                spill.put(&self.encoded)
            }
            HoldOut::Documents(_) => self.out.put(&self.encoded),
        }
    }

    /// Whether a document is held out for validation, by its number: a hash of it and the seed.
    fn is_held_out(&self, document: u64) -> bool {
        let place = (mix(document ^ mix(self.seed ^ STREAM)) >> 11) as f64 / (1u64 << 53) as f64;
        place < self.fraction
    }

    /// There are enough documents: those so far go where they belong.
    fn decide(&mut self) -> Result<(), CorpusError> {
        let HoldOut::Undecided(mut before) = std::mem::replace(&mut self.hold_out, HoldOut::Nothing) else {
            return Ok(());
        };
        let mut validation = Spill::beside(self.out.path)?;
        let (mut document, mut held_out) = (0u64, false);
        let width = self.width;
        before.each_block(&mut |block| {
            for token in block.chunks_exact(width.bytes()) {
                if width.decode(token).1 {
                    held_out = self.is_held_out(document);
                    document += 1;
                    validation.documents += u64::from(held_out);
                }
                if held_out { validation.put(token)? } else { self.out.put(token)? }
            }
            Ok(())
        })?;
        self.hold_out = HoldOut::Documents(validation);
        Ok(())
    }

    /// Puts both parts together.
    pub(super) fn finish(mut self) -> Result<Written, CorpusError> {
        let width = self.width.bytes() as u64;
        let hold_out = std::mem::replace(&mut self.hold_out, HoldOut::Nothing);
        let mut validation_documents =
            self.train_bytes.map_or(0, |_| self.documents.saturating_sub(self.train_documents));
        let (mut cut_within, mut train) = (false, self.train_bytes.unwrap_or(self.out.bytes) / width);
        if let HoldOut::Undecided(mut beside) | HoldOut::Documents(mut beside) = hold_out {
            train = self.out.bytes / width;
            let validation = beside.bytes / width;
            validation_documents = beside.documents;
            beside.each_block(&mut |block| self.out.put(block))?;
            // Few documents, or all of them on one side.
            cut_within = train == 0 || validation == 0;
            if cut_within {
                let all = train + validation;
                let held_out = ((all as f64 * self.fraction).ceil() as u64).min(all);
                (train, validation_documents) = (all - held_out, 0);
                if held_out < 2 || train < 2 {
                    return Err(CorpusError::TooLittleToHoldOut { tokens: all, fraction: self.fraction });
                }
            }
        }
        Ok(Written {
            train,
            validation: self.out.bytes / width - train,
            train_documents: self.documents - validation_documents,
            validation_documents,
            cut_within,
            content: self.out.hash.finalize().into(),
        })
    }
}
