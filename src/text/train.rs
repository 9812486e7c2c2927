//! A vocabulary of one's own: byte-level BPE learnt from text by the `tokenizers` crate.
//!
//! Text is cut into words by the same code that cuts it when the model is used, so that every merge can be reached. Of equal
//! counts the pair of the lower ids comes first: the same text gives the same vocabulary, byte for byte, on any number
//! of threads.

use std::collections::HashSet;
use std::sync::mpsc::sync_channel;

use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::tokenizer::Trainer;
use tokenizers::{AddedToken, ProgressFormat};

use super::bytes::stand_ins;
use super::config::{SpecialIds, TokenKind, TokenizerConfig, TokenizerModel};
use super::error::TokenizerError;
use super::pretok::{Stage, known_names, scheme, split};
use super::tokenizer::Tokenizer;
use crate::gguf::{StringArray, Value};

/// Words of more bytes are no words, but data: they are not counted.
const LONGEST_WORD: usize = 256;
/// The longest text of a special token, as encoding looks for them.
const LONGEST_SPECIAL: usize = 256;
/// Pairs are counted in 31 bits, and no pair is there more often than there are bytes.
const MOST_TEXT: u64 = i32::MAX as u64;
const MOST_TOKENS: usize = 1 << 20;
/// Pieces of text that wait to be counted.
const WAITING: usize = 16;

/// What vocabulary is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BpeOptions {
    /// Tokens, special ones and the 256 bytes included. There will be fewer if the text has no more pairs.
    pub vocab: usize,
    /// How text is cut into words: a name that `tokenizer.ggml.pre` may have.
    pub pre: String,
    /// A pair becomes a token if the text has it as often as that.
    pub min_frequency: u64,
    /// Texts of the special tokens, which get the first ids.
    pub specials: Vec<String>,
    /// Special tokens with a role, by their texts: beginning of a text, end of it, end of a turn, padding.
    pub bos: Option<String>,
    /// The end of a text.
    pub eos: Option<String>,
    /// The end of a turn.
    pub eot: Option<String>,
    /// Fills up; never learnt.
    pub pad: Option<String>,
    /// Whether the beginning token is put before every text.
    pub add_bos: bool,
    /// The chat template, a Jinja text.
    pub chat_template: Option<String>,
}

impl Default for BpeOptions {
    /// 4096 tokens, digits one by one, a pair from its second time on; `<|endoftext|>` and the marks of ChatML.
    fn default() -> Self {
        let end = || Some("<|endoftext|>".to_owned());
        Self {
            vocab: 4096,
            pre: "smollm".to_owned(),
            min_frequency: 2,
            specials: ["<|endoftext|>", "<|im_start|>", "<|im_end|>"].map(str::to_owned).to_vec(),
            bos: end(),
            eos: end(),
            eot: Some("<|im_end|>".to_owned()),
            pad: end(),
            add_bos: false,
            chat_template: None,
        }
    }
}

/// Why no vocabulary could be learnt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BpeTrainingError {
    /// Smaller than what every vocabulary has, or larger than any.
    #[error(
        "a vocabulary of {vocab} tokens: it needs 256 for the bytes and {specials} special ones, so at least {least}, and at \
         most {most}"
    )]
    Size {
        /// The number asked for.
        vocab: usize,
        /// Special tokens.
        specials: usize,
        /// The fewest.
        least: usize,
        /// The most.
        most: usize,
    },
    /// A special token that cannot be one.
    #[error("{text:?} cannot be a special token: {why}")]
    Special {
        /// Its text.
        text: String,
        /// Why not.
        why: &'static str,
    },
    /// A role of a token that is not there.
    #[error("the {role} token {text:?} is not among the special tokens; add it")]
    Role {
        /// The role.
        role: &'static str,
        /// The text.
        text: String,
    },
    /// A way of cutting words that is not known.
    #[error("pre-tokenizer '{name}' is not known; known are: {known}")]
    PreTokenizer {
        /// The name given.
        name: String,
        /// All names.
        known: String,
    },
    /// More text than can be counted.
    #[error("more than {most} bytes of text; a part of it gives as good a vocabulary")]
    TooMuchText {
        /// The most bytes.
        most: u64,
    },
    /// Not a word in it.
    #[error("the text has no words to learn a vocabulary from")]
    NoText,
    /// The trainer.
    #[error("the vocabulary could not be learnt: {0}")]
    Trainer(String),
    /// What came of it is no vocabulary.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
}

/// A vocabulary that was learnt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrainedBpe {
    /// Texts of the tokens in the order of their ids; bytes as GPT-2's printable stand-ins.
    tokens: Vec<String>,
    /// `left right`, in order of their rank.
    merges: Vec<String>,
    specials: usize,
    pre: String,
    ids: SpecialIds,
    add_bos: bool,
    chat_template: Option<String>,
}

/// Learns a vocabulary. `texts` calls what it is given with one text after another: words do not go from one to the next.
///
/// The crate counts in memory: what it takes grows with the number of different words, not with the text.
///
/// # Errors
/// [`BpeTrainingError`], or whatever `texts` fails with.
pub fn train_bpe<E: From<BpeTrainingError>>(
    options: &BpeOptions,
    texts: impl FnOnce(&mut dyn FnMut(&str)) -> Result<(), E>,
) -> Result<TrainedBpe, E> {
    let stages = check(options)?;
    let mut trainer = trainer(options);
    let mut bytes = 0u64;
    let fed = std::thread::scope(|scope| {
        let (give, take) = sync_channel::<String>(WAITING);
        let trainer = &mut trainer;
        let counting = scope.spawn(move || trainer.feed(take.into_iter(), |text| Ok(words(stages, text))));
        let mut each = |text: &str| {
            bytes += text.len() as u64;
            if bytes <= MOST_TEXT {
                // It only fails if the thread has ended, which is noticed below.
                let _ = give.send(text.to_owned());
            }
        };
        let read = texts(&mut each);
        drop(give);
        let counted = counting.join().map_err(|_| failed("a thread ended"));
        read.map(|()| counted.and_then(|counted| counted.map_err(failed)))
    })?;
    fed?;
    if bytes > MOST_TEXT {
        return Err(BpeTrainingError::TooMuchText { most: MOST_TEXT }.into());
    }
    if trainer.get_word_count() == 0 {
        return Err(BpeTrainingError::NoText.into());
    }
    let mut model = BPE::default();
    trainer.train(&mut model).map_err(failed)?;
    let trained = TrainedBpe::new(&model, options)?;
    trained.tokenizer().map_err(BpeTrainingError::from)?;
    Ok(trained)
}

fn failed(error: impl std::fmt::Display) -> BpeTrainingError {
    BpeTrainingError::Trainer(error.to_string())
}

/// Checks what is wanted, and gives the way words are cut.
fn check(options: &BpeOptions) -> Result<&'static [Stage], BpeTrainingError> {
    let scheme = scheme(&options.pre).ok_or_else(|| {
        let known = known_names().collect::<Vec<_>>().join(", ");
        BpeTrainingError::PreTokenizer { name: options.pre.clone(), known }
    })?;
    let mut seen = HashSet::new();
    for text in &options.specials {
        let mut pieces = 0;
        split(scheme.stages, text, |_| pieces += 1);
        let why = match text.len() {
            0 => "it is empty",
            n if n > LONGEST_SPECIAL => "it is longer than 256 bytes",
            _ if !seen.insert(text) => "it is there twice",
            // Then it could be learnt as a token of text as well.
            _ if pieces < 2 => "it could be a word of a text; put marks around it, such as <|name|>",
            _ => continue,
        };
        return Err(BpeTrainingError::Special { text: text.clone(), why });
    }
    let specials = options.specials.len();
    let (least, most, vocab) = (256 + specials, MOST_TOKENS, options.vocab);
    if !(least..=most).contains(&vocab) {
        return Err(BpeTrainingError::Size { vocab, specials, least, most });
    }
    ids(options)?;
    Ok(scheme.stages)
}

/// Ids of the tokens with a role.
fn ids(options: &BpeOptions) -> Result<SpecialIds, BpeTrainingError> {
    let id = |role: &'static str, text: &Option<String>| {
        let Some(text) = text else { return Ok(None) };
        let found = options.specials.iter().position(|special| special == text);
        let missing = || BpeTrainingError::Role { role, text: text.clone() };
        found.map(|id| Some(id as u32)).ok_or_else(missing)
    };
    Ok(SpecialIds {
        bos: id("beginning-of-sequence", &options.bos)?,
        eos: id("end-of-sequence", &options.eos)?,
        eot: id("end-of-turn", &options.eot)?,
        pad: id("padding", &options.pad)?,
        ..SpecialIds::default()
    })
}

fn trainer(options: &BpeOptions) -> BpeTrainer {
    let specials = options.specials.iter().map(|text| AddedToken::from(text.clone(), true)).collect();
    BpeTrainer::builder()
        .vocab_size(options.vocab)
        .min_frequency(options.min_frequency)
        .initial_alphabet(stand_ins().into_iter().collect())
        .special_tokens(specials)
        .show_progress(false)
        .progress_format(ProgressFormat::Silent)
        .build()
}

/// The words of a text, their bytes as stand-ins.
fn words(stages: &[Stage], text: &str) -> Vec<String> {
    let table = stand_ins();
    let mut out = Vec::with_capacity(text.len() / 4);
    split(stages, text, |word| {
        if word.len() <= LONGEST_WORD {
            out.push(word.bytes().map(|b| table[usize::from(b)]).collect());
        }
    });
    out
}

impl TrainedBpe {
    fn new(model: &BPE, options: &BpeOptions) -> Result<Self, BpeTrainingError> {
        // The model's own form has its merges in order; its fields are not to be had otherwise.
        #[derive(serde::Deserialize)]
        struct Form {
            vocab: std::collections::HashMap<String, u32>,
            merges: Vec<(String, String)>,
        }
        let form = serde_json::to_value(model).and_then(serde_json::from_value::<Form>).map_err(failed)?;
        let mut tokens: Vec<(u32, String)> = form.vocab.into_iter().map(|(text, id)| (id, text)).collect();
        tokens.sort_unstable();
        if tokens.iter().zip(0..).any(|((id, _), place)| *id != place) {
            return Err(failed("its ids have gaps"));
        }
        Ok(Self {
            tokens: tokens.into_iter().map(|(_, text)| text).collect(),
            merges: form.merges.into_iter().map(|(left, right)| format!("{left} {right}")).collect(),
            specials: options.specials.len(),
            pre: options.pre.clone(),
            ids: ids(options)?,
            add_bos: options.add_bos,
            chat_template: options.chat_template.clone(),
        })
    }

    /// Tokens of the vocabulary.
    pub fn vocab_len(&self) -> usize {
        self.tokens.len()
    }

    /// What a tokenizer is made from.
    pub fn config(&self) -> TokenizerConfig {
        let tokens = self.tokens.iter().map(|text| text.clone().into_bytes()).collect();
        let mut config = TokenizerConfig::new(TokenizerModel::Gpt2, tokens);
        config.pre = Some(self.pre.clone());
        config.merges = self.merges.iter().map(|merge| merge.clone().into_bytes()).collect();
        config.kinds = vec![TokenKind::Normal; self.tokens.len()];
        config.kinds.iter_mut().take(self.specials).for_each(|kind| *kind = TokenKind::Control);
        config.special = self.ids;
        config.add_bos = Some(self.add_bos);
        config
    }

    /// The tokenizer.
    ///
    /// # Errors
    /// [`TokenizerError`], which [`train_bpe`] has excluded.
    pub fn tokenizer(&self) -> Result<Tokenizer, TokenizerError> {
        Tokenizer::new(self.config())
    }

    /// The vocabulary as entries of a GGUF file, in the order in which converters write them: for a model file, or for one with
    /// nothing else in it.
    pub fn metadata(&self) -> Vec<(String, Value)> {
        let mut all: Vec<(String, Value)> = Vec::new();
        let mut add = |key: &str, value: Value| all.push((format!("tokenizer.{key}"), value));
        add("ggml.model", "gpt2".into());
        add("ggml.pre", self.pre.as_str().into());
        add("ggml.tokens", self.tokens.iter().collect::<StringArray>().into());
        let kind = |id| if id < self.specials { 3i32 } else { 1 };
        add("ggml.token_type", (0..self.tokens.len()).map(kind).collect::<Vec<i32>>().into());
        add("ggml.merges", self.merges.iter().collect::<StringArray>().into());
        let ids = &self.ids;
        let roles = [("bos", ids.bos), ("eos", ids.eos), ("eot", ids.eot), ("padding", ids.pad)];
        for (role, id) in roles {
            if let Some(id) = id {
                add(&format!("ggml.{role}_token_id"), id.into());
            }
        }
        add("ggml.add_bos_token", self.add_bos.into());
        if let Some(template) = &self.chat_template {
            add("chat_template", template.as_str().into());
        }
        all
    }
}
