//! From rows to token ids, with what is learnt marked.

use super::error::{Reason, RowError};
use super::example::{Example, Source};
use super::message::Turns;
use super::note::{Note, Notes, note};
use super::raw::Frame;
use super::row::{Chat, Row};
use crate::text::{ChatTemplate, Message, Tokenizer};

/// What is learnt of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TrainOn {
    /// Replies of the assistant with their end of turn; of a prompt with its completion, the completion. `text` is
    /// learnt as a whole.
    #[default]
    Completions,
    /// Everything.
    All,
}

/// What happens to sequences that are too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overlong {
    /// They are skipped, and counted.
    #[default]
    Skip,
    /// Their end is cut off, and they are counted; skipped if nothing to learn is left.
    Truncate,
}

/// How rows become sequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodeOptions {
    /// What is learnt.
    pub train_on: TrainOn,
    /// The most tokens of a sequence; at least 2.
    pub max_len: usize,
    /// What happens to longer ones.
    pub overlong: Overlong,
    /// The first row that cannot be used is an error.
    pub strict: bool,
}

impl Default for EncodeOptions {
    /// 1,024 tokens; completions; what cannot be used is skipped.
    fn default() -> Self {
        Self { train_on: TrainOn::default(), max_len: 1024, overlong: Overlong::default(), strict: false }
    }
}

/// Makes sequences of rows, with a model's tokenizer and chat template.
///
/// A conversation goes through the template. What is learnt of a reply is what the model must say: all between the
/// generation prompt and the token that ends the turn, and that token. To find it, the conversation is
/// rendered up to before the reply with the generation prompt and up to after it without. The first is mostly a prefix of
/// the second, and the second one of the whole conversation. Where the latter does not hold, as with templates that take
/// thoughts out of earlier turns, the row becomes one sequence per reply; where the former does not, as with those whose prompt
/// opens a thought, prompt and reply are put together if the row says how the thought goes on, and else it is refused. No
/// token spans the beginning or the end of a reply, so that the ids are those at inference. What says nothing, or is marked
/// as not to be learnt (`weight` 0, `train` false), is not learnt, and what follows the last reply is left out. A row whose tool calls
/// the template does not write is refused.
///
/// A prompt with its completion, or an instruction, becomes a user's turn and an assistant's. Without a template
/// they are put together as they are (instruction, input and output with line feeds between them), and the end-of-sequence
/// token follows. The same goes for `text`. Contents of messages never make control tokens. Control tokens in `text`, and in a
/// prompt that begins as the template does (with its completion), are encoded as such: these went through a template before.
#[derive(Debug, Clone)]
pub struct Encoder<'m> {
    pub(super) tokenizer: &'m Tokenizer,
    pub(super) template: Option<&'m ChatTemplate>,
    pub(super) options: EncodeOptions,
    pub(super) system: Option<&'m str>,
    pub(super) reserved: Vec<&'m str>,
    /// Text of more visible bytes than this surely has more than the most tokens.
    pub(super) surely_too_long: usize,
    /// How the template's prompts look.
    pub(super) frame: Option<Frame>,
}

/// Token ids, and which are learnt.
#[derive(Debug, PartialEq, Eq)]
pub struct Sequence {
    pub(super) tokens: Vec<u32>,
    pub(super) trained: Vec<bool>,
    pub(super) truncated: bool,
    pub(super) without_end: bool,
    pub(super) notes: Notes,
}

impl Sequence {
    pub(super) fn new(tokens: Vec<u32>, trained: Vec<bool>) -> Self {
        Self { tokens, trained, truncated: false, without_end: false, notes: Notes::new() }
    }

    fn everything(tokens: Vec<u32>) -> Self {
        let trained = vec![true; tokens.len()];
        Self::new(tokens, trained)
    }
}

pub(super) type Sequences = Vec<Result<Sequence, RowError>>;

impl<'m> Encoder<'m> {
    /// For a model; `template` is the model's chat template, if it has one. Give it a clock
    /// ([`ChatTemplate::with_clock`]) if it writes the date and sequences are to be the same every day.
    pub fn new(
        tokenizer: &'m Tokenizer,
        template: Option<&'m ChatTemplate>,
        mut options: EncodeOptions,
    ) -> Self {
        options.max_len = options.max_len.max(2);
        let lengths = (0..tokenizer.vocab_len() as u32).filter_map(|id| tokenizer.token_bytes(id));
        let longest = lengths.map(<[u8]>::len).max().unwrap_or(1);
        // Bytes without a token could be any number.
        let all_bytes = tokenizer.missing_bytes().is_empty();
        let surely_too_long = if all_bytes { options.max_len.saturating_mul(longest) } else { usize::MAX };
        let reserved = tokenizer.control_texts().collect();
        let frame = template.and_then(|template| Frame::of(template, tokenizer));
        Self { tokenizer, template, options, system: None, reserved, surely_too_long, frame }
    }

    /// With a system prompt for conversations that have none; it has no effect without a chat template.
    pub fn with_system(self, system: Option<&'m str>) -> Self {
        Self { system, ..self }
    }

    /// Puts the system prompt first, if there is one and none is there. Returns how many messages that were.
    pub(super) fn put_system(&self, messages: &mut Vec<Message>) -> usize {
        let system = self.system.filter(|_| messages.iter().all(|m| m.role != "system"));
        system.map_or(0, |text| {
            messages.insert(0, Message::new("system", text));
            1
        })
    }

    /// How rows become sequences.
    pub fn options(&self) -> EncodeOptions {
        self.options
    }

    /// The sequences of a row, or why there are none.
    pub(super) fn encode(&self, row: Row) -> Sequences {
        let sequences = match row {
            Row::Chat(chat) => self.chat(chat),
            Row::Pair { prompt, gap, completion } => self.pair(&prompt, gap, &completion),
            Row::Text(text) => self.text(&text).map(|s| vec![s]),
        };
        match sequences {
            Ok(sequences) => sequences.into_iter().map(|s| self.fit(s)).collect(),
            Err(error) => vec![Err(error)],
        }
    }

    fn pair(&self, prompt: &str, gap: &str, completion: &str) -> Result<Vec<Sequence>, RowError> {
        if completion.trim().is_empty() {
            return Err(RowError::new(Reason::NothingToTrain, "what is to be learnt is empty"));
        }
        if self.template.is_none() || self.is_templated(prompt) {
            return Ok(vec![self.joined(prompt, gap, completion)?]);
        }
        let mut notes = Notes::new();
        let said = self.without_end_text(completion);
        if said.len() < completion.len() {
            note(&mut notes, Note::EndTaken, || completion.get(said.len()..).unwrap_or_default().to_owned());
        }
        let turns = Turns::from(vec![Message::new("user", prompt), Message::new("assistant", said)]);
        let mut sequences = self.chat(Chat { turns, train_from: 0, tools: None })?;
        if let Some(first) = sequences.first_mut() {
            first.notes.extend(notes);
        }
        Ok(sequences)
    }

    /// What is learnt of a reply to a conversation: a sequence whose targets are the reply and the end of its turn.
    /// Without a template the messages are put together as they are.
    ///
    /// # Errors
    /// [`RowError`]: the template refuses the messages, nothing is said, or it is too long.
    pub fn reply(&self, messages: &[Message], reply: &str) -> Result<Example, RowError> {
        let row = if self.template.is_some() {
            let mut turns = Turns::from(messages.to_vec());
            let train_from = messages.len();
            turns.push(Message::new("assistant", reply), false);
            Row::Chat(Chat { turns, train_from, tools: None })
        } else {
            let said: Vec<&str> = messages.iter().map(|message| message.content.as_str()).collect();
            Row::Pair { prompt: said.join("\n"), gap: "\n", completion: reply.to_owned() }
        };
        let made = self.encode(row).pop();
        let sequence =
            made.unwrap_or_else(|| Err(RowError::new(Reason::NothingToTrain, "it says nothing")))?;
        Ok(Example::new(sequence.tokens, sequence.trained, Source::default()))
    }

    /// A sequence of which everything is learnt.
    pub(super) fn whole(&self, tokens: Vec<u32>) -> Sequence {
        Sequence::everything(tokens)
    }

    /// Puts the beginning-of-sequence token first, if the model wants it and it is not there. Returns how many tokens
    /// that were.
    pub(super) fn put_bos(&self, tokens: &mut Vec<u32>) -> usize {
        let bos = self.tokenizer.bos().filter(|bos| self.tokenizer.adds_bos() && tokens.first() != Some(bos));
        bos.map_or(0, |bos| {
            tokens.insert(0, bos);
            1
        })
    }

    /// Sees to it that the sequence has something to learn, and is no longer than it may be.
    pub(super) fn fit(&self, mut sequence: Sequence) -> Result<Sequence, RowError> {
        let (len, max) = (sequence.tokens.len(), self.options.max_len);
        if len > max {
            if self.options.overlong == Overlong::Skip {
                return Err(RowError::new(Reason::Overlong, format!("{len} tokens, and {max} are allowed")));
            }
            sequence.tokens.truncate(max);
            sequence.trained.truncate(max);
            sequence.truncated = true;
        }
        if let Some(first) = sequence.trained.first_mut() {
            *first = false;
        }
        if !sequence.trained.contains(&true) {
            let what = if len > max {
                format!("the reply begins after the first {max} tokens")
            } else {
                "no token of it is predicted from another".to_owned()
            };
            return Err(RowError::new(Reason::NothingToTrain, what));
        }
        sequence.tokens.shrink_to_fit();
        sequence.trained.shrink_to_fit();
        Ok(sequence)
    }
}
