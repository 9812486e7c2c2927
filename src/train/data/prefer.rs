//! Preferences: an answer that was chosen over another, and answers that were liked or not.

use serde_json::value::RawValue;

use super::encode::{EncodeOptions, Encoder, Sequence, TrainOn};
use super::error::{Reason, RowError, shorten};
use super::example::{Example, Source, TokenCounts};
use super::fields::{Fields, is_string, string, wrong};
use super::items::private::FromRow;
use super::items::{Item, Items, Made, answered};
use super::marks;
use super::message::{self, Turns, conversation};
use super::row::{CHATS, Chat, QUESTIONS, Row, system, with_input};
use crate::text::TemplateValue;

/// Two answers to one prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// The prompt with the better answer, whose tokens are the targets.
    pub chosen: Example,
    /// The prompt, of the same tokens, with the worse answer.
    pub rejected: Example,
    /// By how much the first is better; 0 where the row does not say.
    pub margin: f64,
    /// Where the row is.
    pub source: Source,
    /// A hash of the prompt.
    pub key: u64,
}

/// Pairs of answers. Rows are `prompt`, `chosen` and `rejected`, strings or lists of messages; or `chosen` and `rejected` alone,
/// as whole conversations: the messages with which both begin are the prompt. `margin` is a number, `tools` are as in a
/// conversation. What is learnt are the answers, whatever [`TrainOn`] says.
pub type Pairs = Items<Pair>;

/// An answer that someone liked, or did not.
#[derive(Debug, Clone, PartialEq)]
pub struct Thumb {
    /// The prompt with the answer, whose tokens are the targets.
    pub example: Example,
    /// Whether it was liked.
    pub desirable: bool,
}

/// Rated answers. Rows are `prompt`, `completion` (strings or lists of messages) and `label`, true or false; or those of
/// [`Pairs`], of which each becomes one answer that was liked and one that was not.
pub type Thumbs = Items<Thumb>;

impl Thumb {
    /// This prompt with the answer to another one, of at most `max_len` tokens: what [`Kto`](crate::train::objective::Kto)
    /// estimates the divergence with. Nothing is a target if the prompt leaves no room.
    pub fn mismatched(&self, other: &Thumb, max_len: usize) -> Example {
        let (prompt, answer) = (self.example.prompt(), other.example.answer());
        let mut tokens = [prompt, answer].concat();
        tokens.truncate(max_len);
        let trained = (0..tokens.len()).map(|i| i >= prompt.len()).collect();
        Example::new(tokens, trained, self.example.source)
    }
}

const COLUMNS: [&str; 25] = [
    "prompt",
    "question",
    "query",
    "problem",
    "instruction",
    "input",
    "context",
    "messages",
    "conversations",
    "conversation",
    "system",
    "system_prompt",
    "chosen",
    "rejected",
    "completion",
    "response",
    "label",
    "kto_tag",
    "desirable",
    "margin",
    "tools",
    "functions",
    "weight",
    "train",
    "trainable",
];

/// Columns that say whether an answer was liked.
const LABELS: [&str; 3] = ["label", "kto_tag", "desirable"];

/// A row's fields; none of one that is marked as not to be learnt.
fn fields_of(text: &str) -> Result<Fields<'_>, RowError> {
    let fields = Fields::read(text, &COLUMNS)?;
    marks::of_row(&fields)?;
    Ok(fields)
}

/// What comes before the answers, if it has a column of its own.
fn prompt_in(fields: &Fields) -> Result<Option<Said>, RowError> {
    let found = fields.first(&QUESTIONS).or_else(|| fields.first(&["instruction"]));
    let Some((key, raw)) = found.or_else(|| fields.first(&CHATS)) else { return Ok(None) };
    let said = match Said::read(raw, key)? {
        Said::Text(text) if CHATS.contains(&key) => Said::Turns(Turns::one("user", text)),
        Said::Text(text) => Said::Text(with_input(fields, key, text)?),
        turns => turns,
    };
    Ok(Some(match system(fields)? {
        Some(system) => Said::Turns(said.turns("user").with_system(Some(system))),
        None => said,
    }))
}

/// Part of a row: a text, or turns of a conversation.
#[derive(Clone)]
enum Said {
    Text(String),
    Turns(Turns),
}

impl Said {
    fn read(raw: &RawValue, key: &str) -> Result<Self, RowError> {
        if is_string(raw) {
            return Ok(Self::Text(string(raw, key)?));
        }
        Ok(Self::Turns(conversation(raw, key, "assistant")?))
    }

    /// Whether it begins with the turn of someone else than the assistant.
    fn begins_elsewhere(&self) -> bool {
        matches!(self, Self::Turns(turns) if turns.messages.first().is_some_and(|m| m.role != "assistant"))
    }

    /// As messages; a text is one of `role`.
    fn turns(self, role: &str) -> Turns {
        match self {
            Self::Text(text) => Turns::one(role, text),
            Self::Turns(turns) => turns,
        }
    }
}

/// A prompt with its two answers.
struct Preference {
    prompt: Said,
    chosen: Said,
    rejected: Said,
}

impl Preference {
    fn read(fields: &Fields, chosen: &RawValue, rejected: &RawValue) -> Result<Self, RowError> {
        let (chosen, rejected) = (Said::read(chosen, "chosen")?, Said::read(rejected, "rejected")?);
        let prompt = prompt_in(fields)?;
        match (prompt, chosen, rejected) {
            (Some(prompt), chosen, rejected)
                if !chosen.begins_elsewhere() && !rejected.begins_elsewhere() =>
            {
                Ok(Self { prompt, chosen, rejected })
            }
            // Data sets often give the prompt in the answers too.
            (_, Said::Turns(chosen), Said::Turns(rejected)) => {
                let system = system(fields)?;
                Self::implicit(chosen.with_system(system.clone()), rejected.with_system(system))
            }
            _ => {
                let what =
                    "without a prompt, chosen and rejected must be whole conversations (lists of messages)";
                Err(RowError::new(Reason::UnknownShape, what))
            }
        }
    }

    /// The messages with which both conversations begin are the prompt.
    fn implicit(mut chosen: Turns, mut rejected: Turns) -> Result<Self, RowError> {
        let same = chosen.messages.iter().zip(&rejected.messages).take_while(|(a, b)| a == b).count();
        let (of_chosen, of_rejected) = (chosen.split_off(same), rejected.split_off(same));
        for (key, rest) in [("chosen", &of_chosen.messages), ("rejected", &of_rejected.messages)] {
            match rest.first() {
                Some(first) if first.role == "assistant" => {}
                Some(first) => {
                    let role = shorten(&first.role, 40);
                    let what = format!(
                        "the conversations part at {key}[{same}], a turn of `{role}`; they must share their prompt"
                    );
                    return Err(RowError::new(Reason::WrongType, what));
                }
                None if of_chosen.messages.is_empty() && of_rejected.messages.is_empty() => {
                    return Err(same_answers());
                }
                None => {
                    let what = format!("{key} is only the beginning of the other conversation");
                    return Err(RowError::new(Reason::NothingToTrain, what));
                }
            }
        }
        Ok(Self {
            prompt: Said::Turns(chosen),
            chosen: Said::Turns(of_chosen),
            rejected: Said::Turns(of_rejected),
        })
    }

    /// Both sequences. They begin with the same tokens.
    fn encode(
        self,
        encoder: &Encoder,
        tools: Option<TemplateValue>,
    ) -> Result<(Sequence, Sequence), RowError> {
        let chosen = encoder.answer(self.prompt.clone(), self.chosen, tools.clone(), "chosen")?;
        let rejected = encoder.answer(self.prompt, self.rejected, tools, "rejected")?;
        if chosen.tokens == rejected.tokens {
            return Err(same_answers());
        }
        if prompt_of(&chosen) != prompt_of(&rejected) {
            let what = "the prompt has other tokens before the one answer than before the other";
            return Err(RowError::new(Reason::PrefixBroken, what));
        }
        Ok((chosen, rejected))
    }
}

fn same_answers() -> RowError {
    RowError::new(Reason::SameAnswers, "chosen and rejected are the same, so that there is nothing to prefer")
}

/// The tokens before the first target.
fn prompt_of(sequence: &Sequence) -> &[u32] {
    let first = sequence.trained.iter().position(|&t| t).unwrap_or(sequence.tokens.len());
    sequence.tokens.get(..first).unwrap_or_default()
}

impl Encoder<'_> {
    /// The one sequence of a prompt with an answer, of which the answer is learnt. `key` names it in messages.
    fn answer(
        &self,
        prompt: Said,
        answer: Said,
        tools: Option<TemplateValue>,
        key: &str,
    ) -> Result<Sequence, RowError> {
        let row = match (prompt, answer) {
            (Said::Text(prompt), Said::Text(completion)) if tools.is_none() => {
                Row::Pair { prompt, gap: "", completion }
            }
            (prompt, answer) => {
                let mut turns = prompt.turns("user");
                let train_from = turns.messages.len();
                turns.extend(answer.turns("assistant"));
                Row::Chat(Chat { turns, train_from, tools })
            }
        };
        let mut sequences = self.encode(row).into_iter();
        match (sequences.next(), sequences.next()) {
            (Some(Ok(sequence)), None) => Ok(sequence),
            (Some(Err(error)), None) => Err(RowError::new(error.reason, format!("{key}: {}", error.detail))),
            _ => {
                let what = format!(
                    "{key}: the chat template writes a reply differently once others follow, so that several are no one answer"
                );
                Err(RowError::new(Reason::PrefixBroken, what))
            }
        }
    }

    /// The same, but that answers are learnt.
    fn of_answers(&self) -> Self {
        let options = EncodeOptions { train_on: TrainOn::Completions, ..self.options };
        Self { options, ..self.clone() }
    }
}

/// A finite number; 0 if there is none.
fn margin(raw: Option<&RawValue>) -> Result<f64, RowError> {
    let Some(raw) = raw else { return Ok(0.0) };
    if !raw.get().starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
        return Err(wrong("margin", raw, "a number"));
    }
    let number = raw.get().parse().ok().filter(|number: &f64| number.is_finite());
    number.ok_or_else(|| {
        let what = format!("margin {} is out of range", shorten(raw.get(), 40));
        RowError::new(Reason::WrongType, what)
    })
}

/// Whether an answer was liked: true or false, 1 or 0 (or -1), or in words.
fn label(key: &str, raw: &RawValue) -> Result<bool, RowError> {
    if let Some(yes) = marks::yes(raw) {
        return Ok(yes);
    }
    let word =
        if is_string(raw) { string(raw, key)?.trim().to_ascii_lowercase() } else { raw.get().to_owned() };
    match word.as_str() {
        "desirable" | "good" | "chosen" | "liked" => Ok(true),
        "undesirable" | "bad" | "rejected" | "disliked" | "-1" | "-1.0" => Ok(false),
        _ => {
            let value = shorten(raw.get(), 40);
            Err(wrong(key, raw, &format!("true or false, 1 or 0, desirable or undesirable (it is {value})")))
        }
    }
}

impl FromRow for Pair {
    fn from_row(text: &str, encoder: &Encoder, source: Source) -> Result<Made<Self>, RowError> {
        let fields = fields_of(text)?;
        let (Some(chosen), Some(rejected)) = (fields.get("chosen"), fields.get("rejected")) else {
            return Err(fields.unknown("known are prompt with chosen and rejected, and those two alone"));
        };
        let margin = margin(fields.get("margin"))?;
        let preference = Preference::read(&fields, chosen, rejected)?;
        let (chosen, rejected) = preference.encode(&encoder.of_answers(), message::tools(&fields)?)?;
        let mut made = Made::new(Vec::new(), &[&chosen, &rejected]);
        let (chosen, rejected) = (answered(chosen, source), answered(rejected, source));
        let key = chosen.key;
        made.items.push(Self { chosen, rejected, margin, source, key });
        Ok(made)
    }
}

impl Item for Pair {
    fn key(&self) -> u64 {
        self.key
    }

    fn counts(&self) -> TokenCounts {
        self.chosen.counts() + self.rejected.counts()
    }
}

/// A prompt with an answer that was rated, in columns of their own or as one conversation.
fn rated(fields: &Fields) -> Result<Option<(Said, Said)>, RowError> {
    let Some((key, completion)) = fields.first(&["completion", "response"]) else {
        let Some((key, raw)) = fields.first(&CHATS).filter(|_| fields.get("chosen").is_none()) else {
            return Ok(None);
        };
        let mut turns = conversation(raw, key, "user")?.with_system(system(fields)?);
        let last = turns.messages.iter().rposition(|m| m.role == "assistant");
        let Some(last) = last.filter(|last| last + 1 == turns.messages.len()) else {
            let what = format!("{key} does not end with a reply of the assistant");
            return Err(RowError::new(Reason::NothingToTrain, what));
        };
        let answer = turns.split_off(last);
        return Ok(Some((Said::Turns(turns), Said::Turns(answer))));
    };
    let completion = Said::read(completion, key)?;
    if completion.begins_elsewhere() {
        let what =
            format!("{key} begins with another turn than the assistant's; it is what follows the prompt");
        return Err(RowError::new(Reason::WrongType, what));
    }
    Ok(prompt_in(fields)?.map(|prompt| (prompt, completion)))
}

impl FromRow for Thumb {
    fn from_row(text: &str, encoder: &Encoder, source: Source) -> Result<Made<Self>, RowError> {
        let fields = fields_of(text)?;
        let encoder = encoder.of_answers();
        let tools = message::tools(&fields)?;
        let thumb = |sequence, desirable| Self { example: answered(sequence, source), desirable };
        if let Some((key, rating)) = fields.first(&LABELS)
            && let Some((prompt, completion)) = rated(&fields)?
        {
            let desirable = label(key, rating)?;
            let sequence = encoder.answer(prompt, completion, tools, "completion")?;
            let mut made = Made::new(Vec::new(), &[&sequence]);
            made.items.push(thumb(sequence, desirable));
            return Ok(made);
        }
        let (Some(chosen), Some(rejected)) = (fields.get("chosen"), fields.get("rejected")) else {
            let advice = "known are prompt with completion and label, and pairs of chosen and rejected";
            return Err(fields.unknown(advice));
        };
        let preference = Preference::read(&fields, chosen, rejected)?;
        let (chosen, rejected) = preference.encode(&encoder, tools)?;
        let mut made = Made::new(Vec::new(), &[&chosen, &rejected]);
        made.items.extend([thumb(chosen, true), thumb(rejected, false)]);
        Ok(made)
    }
}

impl Item for Thumb {
    fn key(&self) -> u64 {
        self.example.key
    }

    fn counts(&self) -> TokenCounts {
        self.example.counts()
    }
}
