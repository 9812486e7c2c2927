//! How a language model reads a text, in numbers: which earlier tokens each head of each layer looks at, what attention and the
//! feed-forward add to the residual stream, what the stream says of the next token after each layer, and what is likeliest next.
//!
//! [`Explanation::of`] computes them with the model's own forward (`model::build_inspection`). [`json`] and [`page`] write them
//! down, together with what is known of how the model was trained ([`TrainingRun`]) and with answers of several models
//! ([`Answer`]).

#[cfg(feature = "train")]
pub mod json;
mod look;
#[cfg(feature = "train")]
pub mod page;
#[cfg(feature = "train")]
mod run;
mod top;

#[cfg(feature = "train")]
pub use run::{RunError, Sample, TrainingRun};
pub use top::{Next, TEMPERATURES, Top};

use std::ops::ControlFlow;

use unicode_general_category::{GeneralCategory, get_general_category};

use crate::exec::ExecError;
use crate::model::{Model, ModelError};
use crate::session::{SessionError, SessionOptions};
use crate::text::Tokenizer;

/// Why there is no explanation.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// Nothing to look at.
    #[error("the text has no tokens; give one of a few words")]
    Empty,
    /// More than was agreed to.
    #[error(
        "the text has {tokens} tokens, more than the {limit} that are looked at; shorten it, or raise the limit"
    )]
    TooLong {
        /// Tokens of the text.
        tokens: usize,
        /// The limit.
        limit: usize,
    },
    /// A token id outside of the vocabulary.
    #[error("token {id} is not in the vocabulary of {vocab}")]
    Token {
        /// The id.
        id: u32,
        /// Size of the vocabulary.
        vocab: usize,
    },
    /// The model computes numbers that are none.
    #[error(
        "the numbers of layer {layer} are not finite: the file is damaged, or the device computes wrongly"
    )]
    NotANumber {
        /// The layer, from 1 on.
        layer: usize,
    },
    /// The caller ended it.
    #[error("stopped")]
    Stopped,
    /// The model or its plan.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The device.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// The device could not be opened.
    #[error(transparent)]
    Session(#[from] Box<SessionError>),
}

/// How much is looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Device, threads, context and budget.
    pub device: SessionOptions,
    /// Most tokens.
    pub limit: usize,
    /// Likeliest next tokens that are kept of each position.
    pub top: usize,
    /// Tokens that are kept of each guess within the model.
    pub guesses: usize,
    /// The guesses of all positions, or only the last one's: each costs a product with the output matrix.
    pub all_positions: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { device: SessionOptions::default(), limit: 256, top: 10, guesses: 5, all_positions: true }
    }
}

/// What a model makes of a text of n tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The text, n ids.
    pub tokens: Vec<u32>,
    /// Query heads of a layer.
    pub heads: usize,
    /// By layer.
    pub layers: Vec<LayerView>,
    /// What comes after each position.
    pub next: Vec<Next>,
    /// The logits after the last token, (vocab).
    pub logits: Vec<f32>,
    /// The first position that [`LayerView::added`] and [`LayerView::guess`] speak of; they go on to the last.
    pub guessed_from: usize,
}

/// One layer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LayerView {
    /// By head, then by position t: the weights of positions 0..=t, which sum to 1. See [`Explanation::attention`].
    pub attention: Vec<f32>,
    /// By position: the length (L2 norm) of the residual stream before the layer.
    pub stream: Vec<f32>,
    /// By position: the length of what attention adds to it.
    pub by_attention: Vec<f32>,
    /// By position: the length of what the feed-forward adds to it.
    pub by_feed_forward: Vec<f32>,
    /// By position: the tokens that the feed-forward's own addition points to, by the output norm and the output matrix.
    pub added: Vec<Top>,
    /// By position: what the model would answer if the layer were the last.
    pub guess: Vec<Top>,
}

impl Explanation {
    /// Looks at how `model` reads `tokens`. `progress` hears of (done, all) pieces of work and may end it.
    ///
    /// # Errors
    /// [`ExplainError`]: no token or too many, a device that cannot be had, a model whose numbers are not finite.
    pub fn of(
        model: &Model,
        tokens: &[u32],
        options: &Options,
        progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<Self, ExplainError> {
        let vocab = model.config().vocab;
        match tokens.iter().find(|id| **id as usize >= vocab) {
            _ if tokens.is_empty() => Err(ExplainError::Empty),
            _ if tokens.len() > options.limit => {
                Err(ExplainError::TooLong { tokens: tokens.len(), limit: options.limit })
            }
            Some(id) => Err(ExplainError::Token { id: *id, vocab }),
            None => look::look(model, tokens, options, progress),
        }
    }

    /// The weights that a head gives to the positions 0..=`position`, looking from there.
    pub fn attention(&self, layer: usize, head: usize, position: usize) -> &[f32] {
        let of_head = triangle(self.tokens.len());
        let start = head * of_head + triangle(position);
        &self.layers[layer].attention[start..=start + position]
    }

    /// The mean of all heads of a layer.
    pub fn mean_attention(&self, layer: usize, position: usize) -> Vec<f32> {
        let mut mean = vec![0f64; position + 1];
        for head in 0..self.heads {
            for (mean, weight) in mean.iter_mut().zip(self.attention(layer, head, position)) {
                *mean += f64::from(*weight);
            }
        }
        mean.into_iter().map(|sum| (sum / self.heads as f64) as f32).collect()
    }

    /// Layer and head, from 0 on, that say most: the one which, looking from the last token, gives a token the most beyond half
    /// of what the tokens between give it on the mean. The first token does not count, as heads look there that have nothing
    /// to look for, nor do the last and, as far as the text is long enough, the three before it. `None` for a text too short to
    /// have another.
    pub fn most_telling(&self) -> Option<(usize, usize)> {
        let last = self.tokens.len().checked_sub(1)?;
        let near = (last / 3).clamp(1, 3);
        let mut best: Option<(f32, (usize, usize))> = None;
        for (layer, head) in (0..self.layers.len()).flat_map(|l| (0..self.heads).map(move |h| (l, h))) {
            for seen in 1..last.saturating_sub(near) {
                let weight = |position| self.attention(layer, head, position)[seen];
                let others: f32 = (seen + 1..last).map(weight).sum();
                let most = weight(last) - others / (2 * (last - seen - 1)) as f32;
                if best.is_none_or(|(held, _)| most > held) {
                    best = Some((most, (layer, head)));
                }
            }
        }
        best.map(|(_, place)| place)
    }
}

/// Pairs of positions (t, s) with s <= t < n.
pub fn triangle(n: usize) -> usize {
    n * (n + 1) / 2
}

/// What is written down of a model and a text.
#[cfg(feature = "train")]
#[derive(Clone, Copy)]
pub struct Report<'a> {
    /// The model that was looked at.
    pub model: &'a Model,
    /// Its tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// The text.
    pub text: &'a str,
    /// How it was read.
    pub explanation: &'a Explanation,
    /// How a model was trained.
    pub run: Option<&'a TrainingRun>,
    /// What several models answer.
    pub answers: &'a [Answer],
}

/// An answer of one of the models that are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What the model is called.
    pub label: String,
    /// How it was asked: through which template, or as a text to be continued.
    pub manner: String,
    /// What it wrote.
    pub text: String,
    /// It came to its own end, rather than to the limit of tokens.
    pub ended: bool,
}

/// A token's text; bytes that are no UTF-8 as `\xff`.
pub fn token_text(tokenizer: &Tokenizer, id: u32) -> String {
    let bytes = tokenizer.token_bytes(id).unwrap_or_default();
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|b| format!("\\x{b:02x}")));
    }
    text
}

/// A text in which all that cannot be seen, or changes what is around it, is written as an escape; plain blanks stay, and line
/// ends and tabs become signs.
pub fn visible(text: &str) -> String {
    use GeneralCategory::{Control, Format, LineSeparator, ParagraphSeparator};
    use GeneralCategory::{PrivateUse, SpaceSeparator, Surrogate, Unassigned};
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push('⏎'),
            '\t' => out.push('⇥'),
            // The joiner holds emoji together.
            ' ' | '\u{200d}' => out.push(c),
            _ => match get_general_category(c) {
                Control | Format | LineSeparator | ParagraphSeparator | PrivateUse | SpaceSeparator
                | Surrogate | Unassigned => out.extend(c.escape_default()),
                _ => out.push(c),
            },
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_written_down() {
        for (given, shown) in [
            (" Paris", " Paris"),
            ("a\n\tb", "a⏎⇥b"),
            ("\u{1b}[2J\u{202e}x\u{200b}\u{7f}", "\\u{1b}[2J\\u{202e}x\\u{200b}\\u{7f}"),
            ("a\u{a0}\u{3000}", "a\\u{a0}\\u{3000}"),
            ("</script>é漢👩\u{200d}👧", "</script>é漢👩\u{200d}👧"),
        ] {
            assert_eq!(visible(given), shown);
        }
    }

    #[test]
    fn a_telling_head_looks_at_something_within_the_text() {
        // Three tokens are too few: first, last and the one before.
        let of = |n: usize, weights: &[&[f32]]| Explanation {
            tokens: vec![0; n],
            heads: 1,
            layers: weights
                .iter()
                .map(|last| {
                    let mut attention = vec![0.0; triangle(n - 1)];
                    attention.extend_from_slice(last);
                    LayerView { attention, ..LayerView::default() }
                })
                .collect(),
            next: vec![],
            logits: vec![],
            guessed_from: 0,
        };
        assert_eq!(of(3, &[&[0.2, 0.5, 0.3]]).most_telling(), None);
        assert_eq!(of(1, &[&[1.0]]).most_telling(), None);
        let two = of(4, &[&[0.9, 0.05, 0.05, 0.0], &[0.1, 0.3, 0.6, 0.0], &[0.0, 0.1, 0.0, 0.9]]);
        assert_eq!(two.most_telling(), Some((1, 0)));
        assert_eq!(two.attention(1, 0, 3), [0.1, 0.3, 0.6, 0.0]);
        assert_eq!(two.mean_attention(0, 3), [0.9, 0.05, 0.05, 0.0]);
        // What every token looks at says nothing.
        let mut sink = of(4, &[&[0.0, 0.9, 0.1, 0.0], &[0.5, 0.5, 0.0, 0.0]]);
        sink.layers[0].attention[triangle(2) + 1] = 0.9;
        assert_eq!(sink.most_telling(), Some((1, 0)));
    }
}
