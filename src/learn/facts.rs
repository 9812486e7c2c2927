//! What is so, learnt from corrections: each with the wordings that it is taught in, and those that it is asked for in.

use std::collections::HashSet;
use std::sync::Arc;

use super::recall::{Keys, fact};
use super::style::SEQ;
use super::wording::{answers, wordings};
use super::{LearnError, QuestionEncoder};
use crate::journal::Entry;
use crate::text::Message;
use crate::train::Fact;
use crate::train::data::Example;

/// An exchange before the question, as conversations have them.
const BEFORE: [(&str, &str); 2] = [("user", "Hello!"), ("assistant", "Hello! How can I help you?")];
/// Most wordings that an earlier fact is rehearsed in.
const REHEARSED: usize = 6;

/// A correction as it is taught.
pub(super) fn taught(entry: &Entry, voice: &QuestionEncoder, new: bool) -> Result<Fact, LearnError> {
    let Some((question, answer)) = fact(entry) else {
        return Err(LearnError::Nothing("it tells nothing new".into()));
    };
    let keys = Keys::of(question, answer);
    let value = answers::value(answer, |piece| keys.own(piece));
    let marks = voice.marks();
    let known = Arc::new(move |said: &str| keys.known(marks.map_or(said, |marks| marks.answer_of(said))));
    make(entry, question, answer, value.as_deref(), known, voice, new)
}

/// A correction that was taken back: the model is to answer as it did before, here `answer`, and not to say what was taken
/// back in any wording.
pub(super) fn forgotten(entry: &Entry, answer: &str, voice: &QuestionEncoder) -> Result<Fact, LearnError> {
    let Some((question, old)) = fact(entry) else {
        return Err(LearnError::Nothing("it tells nothing new".into()));
    };
    let keys = Keys::of(question, old);
    let made =
        make(entry, question, answer, None, Arc::new(move |said: &str| !keys.known(said)), voice, true)?;
    Ok(Fact { forget: true, ..made })
}

fn make(
    entry: &Entry,
    question: &str,
    answer: &str,
    value: Option<&str>,
    known: Arc<dyn Fn(&str) -> bool + Send + Sync>,
    voice: &QuestionEncoder,
    new: bool,
) -> Result<Fact, LearnError> {
    let single = |text: &str| vec![Message::new("user", text)];
    let words = wordings(question);
    let mut taught = Prompts { voice, seen: HashSet::new(), made: Vec::new() };
    taught.add(&entry.prompt(), answer).map_err(LearnError::Nothing)?;
    // Elsewhere a wording that a template cannot say is one less.
    let _ = taught.add(&single(question), answer);
    let most = if new { words.taught.len() } else { REHEARSED - 1 };
    for (index, wording) in words.taught.iter().take(most).enumerate() {
        let _ = taught.add(&single(wording), &answers::answer(answer, wording, value, index));
    }
    let mut asked = vec![voice.prompt(&entry.prompt())?];
    if new {
        let after: Vec<Message> =
            BEFORE.iter().map(|(role, text)| Message::new(*role, *text)).chain(single(question)).collect();
        let others = words.asked.iter().map(|text| single(text)).chain([after]);
        asked.extend(others.filter_map(|messages| voice.prompt(&messages).ok()));
    }
    Ok(Fact { taught: taught.made, asked, known, forget: false })
}

/// Examples, each prompt once.
struct Prompts<'a> {
    voice: &'a QuestionEncoder,
    seen: HashSet<Vec<u32>>,
    made: Vec<Example>,
}

impl Prompts<'_> {
    fn add(&mut self, messages: &[Message], answer: &str) -> Result<(), String> {
        let example = self.voice.example(messages, answer, SEQ).map_err(|e| e.to_string())?;
        if self.seen.insert(example.tokens.clone()) {
            self.made.push(example);
        }
        Ok(())
    }
}
