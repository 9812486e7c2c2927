//! The first bytes of a token file.

use sha2::{Digest, Sha256};

use super::error::HeaderError;

/// Bytes of the header.
pub(super) const LEN: usize = 256;
const MAGIC: [u8; 8] = *b"EMBRTOKS";
const VERSION: u32 = 1;
/// Where the header's own checksum lies.
const CHECKED: usize = LEN - 32;
/// The validation part is the end of the text.
const CUT_WITHIN: u32 = 1;
/// The largest vocabulary whose ids leave the highest of 16 bits free.
const NARROW: u64 = 1 << 15;
const MOST: u64 = 1 << 31;

/// SHA-256 of bytes.
pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(bytes);
    hash.finalize().into()
}

/// Bytes of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    Two,
    Four,
}

impl Width {
    /// Of a vocabulary.
    pub(super) fn of(vocab: u64) -> Self {
        if vocab <= NARROW { Self::Two } else { Self::Four }
    }

    pub(super) fn bytes(self) -> usize {
        match self {
            Self::Two => 2,
            Self::Four => 4,
        }
    }

    /// Appends a token.
    pub(super) fn encode(self, id: u32, begins: bool, out: &mut Vec<u8>) {
        match self {
            Self::Two => out.extend((id as u16 | u16::from(begins) << 15).to_le_bytes()),
            Self::Four => out.extend((id | u32::from(begins) << 31).to_le_bytes()),
        }
    }

    /// A token, and whether a document begins with it.
    pub(super) fn decode(self, bytes: &[u8]) -> (u32, bool) {
        let number = bytes.iter().rev().fold(0u32, |n, &b| n << 8 | u32::from(b));
        let top = 1u32 << (8 * self.bytes() - 1);
        (number & (top - 1), number & top != 0)
    }
}

/// What is known of the tokens.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Header {
    pub(super) width: Width,
    pub(super) vocab: u64,
    pub(super) seed: u64,
    /// Tokens to learn from, then those of the validation part.
    pub(super) train: u64,
    pub(super) validation: u64,
    pub(super) train_documents: u64,
    pub(super) validation_documents: u64,
    pub(super) text_bytes: u64,
    pub(super) cut_within: bool,
    /// SHA-256 of the tokenizer, of what it was built from and how, and of the tokens' bytes.
    pub(super) vocabulary: [u8; 32],
    pub(super) sources: [u8; 32],
    pub(super) content: [u8; 32],
}

impl Header {
    pub(super) fn bytes(&self) -> [u8; LEN] {
        let mut out = Vec::with_capacity(LEN);
        out.extend(MAGIC);
        for number in [VERSION, self.width.bytes() as u32, u32::from(self.cut_within) * CUT_WITHIN, 0] {
            out.extend(number.to_le_bytes());
        }
        for number in self.numbers() {
            out.extend(number.to_le_bytes());
        }
        for hash in [&self.vocabulary, &self.sources, &self.content] {
            out.extend(hash);
        }
        let mut all = [0; LEN];
        all[..out.len()].copy_from_slice(&out);
        let checksum = sha256(&all[..CHECKED]);
        all[CHECKED..].copy_from_slice(&checksum);
        all
    }

    fn numbers(&self) -> [u64; 7] {
        let documents = [self.train_documents, self.validation_documents];
        [self.vocab, self.seed, self.train, self.validation, documents[0], documents[1], self.text_bytes]
    }

    /// Reads and checks the header of a whole file.
    pub(super) fn read(file: &[u8]) -> Result<Self, HeaderError> {
        if file.get(..8) != Some(&MAGIC) {
            return Err(HeaderError::NotACorpus);
        }
        let damaged = |why: &str| HeaderError::Damaged(why.to_owned());
        let header = file.get(..LEN).ok_or_else(|| damaged("it ends within its header"))?;
        let mut fields = Fields(&header[8..]);
        let [version, width, flags, reserved] = [0; 4].map(|_: u32| fields.number::<4>() as u32);
        if version != VERSION {
            return Err(HeaderError::Version(version));
        }
        if sha256(&header[..CHECKED])[..] != header[CHECKED..] {
            return Err(damaged("its header is not as it was written (its checksum differs)"));
        }
        let [vocab, seed, train, validation, train_documents, validation_documents, text_bytes] =
            [0; 7].map(|_: u64| fields.number::<8>());
        let [vocabulary, sources, content] = [0; 3].map(|_: u8| fields.hash());
        let kind = Width::of(vocab);
        let rest = fields.0.get(..CHECKED - (LEN - fields.0.len())).unwrap_or_default();
        let unknown = flags & !CUT_WITHIN != 0 || reserved != 0 || rest.iter().any(|&b| b != 0);
        if kind.bytes() as u64 != u64::from(width) || vocab == 0 || vocab > MOST || unknown {
            return Err(damaged("its header says what no header says"));
        }
        let tokens = train.checked_add(validation).and_then(|n| n.checked_mul(kind.bytes() as u64));
        let (there, wanted) = ((file.len() - LEN) as u64, tokens.unwrap_or(u64::MAX));
        if there != wanted {
            let why = format!("it has {there} bytes of tokens, and should have {wanted}");
            return Err(HeaderError::Damaged(why));
        }
        if train_documents.checked_add(validation_documents).is_none_or(|n| n > train + validation) {
            return Err(damaged("it has more documents than tokens"));
        }
        let (width, cut_within) = (kind, flags & CUT_WITHIN != 0);
        let documents = (train_documents, validation_documents);
        Ok(Self {
            width,
            vocab,
            seed,
            train,
            validation,
            train_documents: documents.0,
            validation_documents: documents.1,
            text_bytes,
            cut_within,
            vocabulary,
            sources,
            content,
        })
    }
}

/// Takes field after field.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        if let Some((first, rest)) = self.0.split_first_chunk::<N>() {
            (out, self.0) = (*first, rest);
        }
        out
    }

    fn number<const N: usize>(&mut self) -> u64 {
        self.take::<N>().iter().rev().fold(0, |n, &b| n << 8 | u64::from(b))
    }

    fn hash(&mut self) -> [u8; 32] {
        self.take()
    }
}
