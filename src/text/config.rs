//! What a tokenizer is made from: the vocabulary's lists as a model file keeps them.

use sha2::{Digest, Sha256};

use super::error::TokenizerError;

/// The pre-tokenizer of files that name none.
const DEFAULT_PRE: &str = "default";

/// Which algorithm the vocabulary is for (`tokenizer.ggml.model`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenizerModel {
    /// `gpt2`: byte-level BPE, with an ordered list of merges and a pre-tokenizer.
    Gpt2,
    /// `llama`: SentencePiece style BPE, with a score per token and byte fallback.
    Llama,
}

impl TokenizerModel {
    /// The model of that GGUF name.
    ///
    /// # Errors
    /// [`TokenizerError::UnknownModel`] for any other name.
    pub fn from_name(name: &str) -> Result<Self, TokenizerError> {
        match name {
            "gpt2" => Ok(Self::Gpt2),
            "llama" => Ok(Self::Llama),
            _ => Err(TokenizerError::UnknownModel { name: name.to_owned() }),
        }
    }
}

/// What a token is (`tokenizer.ggml.token_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TokenKind {
    /// A piece of text.
    #[default]
    Normal,
    /// Stands for what cannot be encoded.
    Unknown,
    /// Marks structure, such as the end of a turn; never made from a user's text.
    Control,
    /// A piece of text that is looked for before all else.
    UserDefined,
    /// A free place in the vocabulary.
    Unused,
    /// A single byte, written `<0x41>`.
    Byte,
}

impl TokenKind {
    /// The kind of that GGUF number; unknown numbers are taken as [`TokenKind::Unused`].
    pub fn from_number(number: i64) -> Self {
        match number {
            1 => Self::Normal,
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            6 => Self::Byte,
            _ => Self::Unused,
        }
    }
}

/// Ids with a role.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpecialIds {
    /// Beginning of a sequence.
    pub bos: Option<u32>,
    /// End of a sequence.
    pub eos: Option<u32>,
    /// End of a turn.
    pub eot: Option<u32>,
    /// End of a message, where a tool's answer is expected.
    pub eom: Option<u32>,
    /// Stands for what cannot be encoded.
    pub unk: Option<u32>,
    /// Padding. Not used here; an id outside of the vocabulary is ignored.
    pub pad: Option<u32>,
}

/// With its length, so that no two lists run together.
fn put(hash: &mut Sha256, text: &[u8]) {
    hash.update((text.len() as u64).to_le_bytes());
    hash.update(text);
}

/// All a [`Tokenizer`](super::Tokenizer) is made from.
#[derive(Debug, Clone)]
pub struct TokenizerConfig {
    /// The algorithm.
    pub model: TokenizerModel,
    /// The pre-tokenizer's name, for [`TokenizerModel::Gpt2`]; `None` means `default`, and a notice.
    pub pre: Option<String>,
    /// The tokens' texts in order of their ids, as in the file: GPT-2's printable stand-ins for bytes, or
    /// SentencePiece's `▁` for a blank. They need not be valid UTF-8.
    pub tokens: Vec<Vec<u8>>,
    /// A score per token, for [`TokenizerModel::Llama`]; empty means that all are 0.
    pub scores: Vec<f32>,
    /// A kind per token; empty means that all are normal.
    pub kinds: Vec<TokenKind>,
    /// `left right` in order of their rank, for [`TokenizerModel::Gpt2`].
    pub merges: Vec<Vec<u8>>,
    /// Ids with a role.
    pub special: SpecialIds,
    /// Whether encoding adds the beginning-of-sequence token; `None` leaves it to the model.
    pub add_bos: Option<bool>,
    /// Whether encoding adds the end-of-sequence token; `None` means no.
    pub add_eos: Option<bool>,
    /// Whether a blank is put before the text; `None` leaves it to the model.
    pub add_space_prefix: Option<bool>,
    /// Special tokens swallow the white space after them, as those of Phi-3 do, apart from `<unk>`, `<s>` and
    /// `<|endoftext|>`.
    pub specials_strip_right: bool,
}

impl TokenizerConfig {
    /// A configuration with these tokens and nothing else set.
    pub fn new(model: TokenizerModel, tokens: Vec<Vec<u8>>) -> Self {
        Self {
            model,
            pre: None,
            tokens,
            scores: Vec::new(),
            kinds: Vec::new(),
            merges: Vec::new(),
            special: SpecialIds::default(),
            add_bos: None,
            add_eos: None,
            add_space_prefix: None,
            specials_strip_right: false,
        }
    }

    /// Sets what GGUF files do not say and only the model's name gives away (`general.name`).
    pub fn apply_model_name(&mut self, name: &str) {
        let name = name.to_ascii_lowercase();
        self.specials_strip_right = name.contains("phi-3") || name.contains("phi3");
    }

    /// The pre-tokenizer's name; a file that has none, or an empty one, gets `default`, as in llama.cpp.
    pub(crate) fn pre_name(&self) -> &str {
        self.pre.as_deref().filter(|name| !name.is_empty()).unwrap_or(DEFAULT_PRE)
    }

    /// What the file does not say and had to be guessed.
    pub(crate) fn notices(&self) -> Vec<String> {
        let guessed = self.model == TokenizerModel::Gpt2 && self.pre.as_deref().is_none_or(str::is_empty);
        let pre = || {
            format!(
                "the file has no tokenizer.ggml.pre, which says how text is cut into words; `{DEFAULT_PRE}` is used, and the \
                 answers will be worse if the model was trained with another: convert the model again"
            )
        };
        guessed.then(pre).into_iter().collect()
    }

    /// SHA-256 of the vocabulary: its tokens, merges and scores, kinds and ids with a role, and what encoding adds.
    pub(crate) fn fingerprint(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(b"ember vocabulary 1");
        hash.update([self.model as u8]);
        put(&mut hash, self.pre_name().as_bytes());
        for list in [&self.tokens, &self.merges] {
            hash.update((list.len() as u64).to_le_bytes());
            list.iter().for_each(|text| put(&mut hash, text));
        }
        (0..self.tokens.len()).for_each(|id| hash.update([self.kind(id) as u8]));
        let scores = if self.model == TokenizerModel::Llama { &self.scores[..] } else { &[] };
        scores.iter().for_each(|score| hash.update(score.to_le_bytes()));
        let ids = &self.special;
        for id in [ids.bos, ids.eos, ids.eot, ids.eom, ids.unk] {
            hash.update(id.map_or(u64::MAX, u64::from).to_le_bytes());
        }
        for flag in [self.add_bos, self.add_eos, self.add_space_prefix, Some(self.specials_strip_right)] {
            hash.update([flag.map_or(2, u8::from)]);
        }
        hash.finalize().into()
    }

    pub(crate) fn kind(&self, id: usize) -> TokenKind {
        self.kinds.get(id).copied().unwrap_or_default()
    }

    /// Checks all that does not depend on the algorithm.
    pub(crate) fn check(&self) -> Result<(), TokenizerError> {
        const MAX: usize = 1 << 24;
        let tokens = self.tokens.len();
        if tokens == 0 || tokens > MAX {
            return Err(TokenizerError::VocabularySize { count: tokens, max: MAX });
        }
        let lists = [("scores", self.scores.len()), ("token types", self.kinds.len())];
        for (what, found) in lists {
            if found != 0 && found != tokens {
                return Err(TokenizerError::LengthMismatch { what, tokens, found });
            }
        }
        let ids = &self.special;
        let roles = [
            ("beginning-of-sequence", ids.bos),
            ("end-of-sequence", ids.eos),
            ("end-of-turn", ids.eot),
            ("end-of-message", ids.eom),
            ("unknown", ids.unk),
        ];
        for (what, id) in roles {
            if let Some(id) = id.filter(|&id| id as usize >= tokens) {
                return Err(TokenizerError::IdOutOfRange { what, id, last: tokens as u32 - 1 });
            }
        }
        Ok(())
    }
}
