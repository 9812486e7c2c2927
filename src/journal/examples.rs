//! What there is to learn from entries: conversations with what may follow them.

use serde_json::{Value as Json, json};

use super::{Chosen, Entry, Feedback, Key};
use crate::text::Message;

/// An answer that was liked or not, for KTO.
#[derive(Clone, Debug)]
pub struct Thumb {
    /// The entry's.
    pub key: Key,
    /// The system prompt, if there was one, and the conversation up to the user's last message.
    pub messages: Vec<Message>,
    /// The answer.
    pub completion: String,
    /// Whether it was liked.
    pub good: bool,
    /// Whether the answer ended before its end, so that nothing is to be learnt of where it ends.
    pub cut: bool,
}

/// Two answers, one better than the other, for DPO and its kin.
#[derive(Clone, Debug)]
pub struct Preference {
    /// The entry's.
    pub key: Key,
    /// The system prompt, if there was one, and the conversation up to the user's last message.
    pub messages: Vec<Message>,
    /// The better answer.
    pub chosen: String,
    /// The other one.
    pub rejected: String,
    /// Whether the better one ended before its end, so that nothing is to be learnt of where it ends.
    pub chosen_cut: bool,
    /// Whether the other one did.
    pub rejected_cut: bool,
}

/// An answer as it should be, for supervised fine-tuning.
#[derive(Clone, Debug)]
pub struct Demonstration {
    /// The entry's.
    pub key: Key,
    /// The system prompt, if there was one, and the conversation up to the user's last message.
    pub messages: Vec<Message>,
    /// The answer.
    pub completion: String,
    /// Whether the answer ended before its end, so that nothing is to be learnt of where it ends.
    pub cut: bool,
}

/// Every `good` and `bad` among the entries.
pub fn thumbs<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Vec<Thumb> {
    entries.into_iter().filter_map(Entry::thumb).collect()
}

/// The pair of answers of every `edit` and `choice` among the entries.
pub fn preferences<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Vec<Preference> {
    entries.into_iter().filter_map(Entry::preference).collect()
}

/// The better answer of every `edit` and `choice` among the entries.
pub fn demonstrations<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Vec<Demonstration> {
    entries.into_iter().filter_map(Entry::demonstration).collect()
}

impl Entry {
    /// The system prompt, if there was one, and the conversation up to the user's last message.
    pub fn prompt(&self) -> Vec<Message> {
        let system = self.system.iter().map(|text| Message::new("system", text));
        system.chain(self.messages.iter().map(|said| Message::new(said.role.name(), &said.content))).collect()
    }

    /// Of `good` and `bad`; an empty answer teaches nothing.
    pub fn thumb(&self) -> Option<Thumb> {
        let good = match self.feedback {
            Feedback::Good => true,
            Feedback::Bad { .. } => false,
            _ => return None,
        };
        (!blank(&self.answer)).then(|| Thumb {
            key: self.key(),
            messages: self.prompt(),
            completion: self.answer.clone(),
            good,
            cut: self.cut,
        })
    }

    /// Of `edit` and `choice`, where both answers say something and differ.
    pub fn preference(&self) -> Option<Preference> {
        let [(chosen, chosen_cut), (rejected, rejected_cut)] = self.better_and_worse()?;
        let differ = !blank(chosen) && !blank(rejected) && chosen != rejected;
        differ.then(|| Preference {
            key: self.key(),
            messages: self.prompt(),
            chosen: chosen.to_owned(),
            rejected: rejected.to_owned(),
            chosen_cut,
            rejected_cut,
        })
    }

    /// Of `edit` and `choice`.
    pub fn demonstration(&self) -> Option<Demonstration> {
        let [(better, cut), _] = self.better_and_worse()?;
        (!blank(better)).then(|| Demonstration {
            key: self.key(),
            messages: self.prompt(),
            completion: better.to_owned(),
            cut,
        })
    }

    /// Two answers, each with whether it was cut short.
    fn better_and_worse(&self) -> Option<[(&str, bool); 2]> {
        let answer = (self.answer.as_str(), self.cut);
        match &self.feedback {
            Feedback::Edit { better } => Some([(better, false), answer]),
            Feedback::Choice { other, other_cut, chosen } => {
                let other = (other.as_str(), *other_cut);
                Some(if *chosen == Chosen::Answer { [answer, other] } else { [other, answer] })
            }
            _ => None,
        }
    }
}

fn blank(text: &str) -> bool {
    text.trim().is_empty()
}

fn conversation(messages: &[Message]) -> Json {
    messages.iter().map(|m| json!({ "role": m.role, "content": m.content })).collect()
}

fn reply(text: &str) -> Json {
    json!([{ "role": "assistant", "content": text }])
}

impl Thumb {
    /// As a row of a data set: `prompt`, `completion` and `label`.
    pub fn row(&self) -> Json {
        json!({ "prompt": conversation(&self.messages), "completion": reply(&self.completion), "label": self.good })
    }
}

impl Preference {
    /// As a row of a data set: `prompt`, `chosen` and `rejected`.
    pub fn row(&self) -> Json {
        let prompt = conversation(&self.messages);
        json!({ "prompt": prompt, "chosen": reply(&self.chosen), "rejected": reply(&self.rejected) })
    }
}

impl Demonstration {
    /// As a row of a data set: `prompt` and `completion`.
    pub fn row(&self) -> Json {
        json!({ "prompt": conversation(&self.messages), "completion": reply(&self.completion) })
    }
}
