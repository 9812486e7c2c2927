//! Texts without a chat template, or that went through one before they came into the data: then they hold control tokens, and
//! would be learnt letter by letter if these were not encoded as what they are.

use super::encode::{Encoder, Sequence, TrainOn};
use super::error::{Reason, RowError};
use super::note::{Note, Notes, note};
use crate::text::{ChatTemplate, Message, Segment, TemplateVars, Tokenizer};

/// How a template puts a user's turn.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    /// All of its own text before and after a question.
    text: String,
    /// The last line before the question, and the last of the generation prompt.
    first: String,
    last: String,
    /// Whether a turn begins with the beginning-of-sequence token too, and not a text alone.
    bos_in_turns: bool,
    /// The token that ends the model's turn.
    end: Option<u32>,
}

const QUESTION: &str = "\u{f8fe}";
const ANSWER: &str = "\u{f8ff}";

impl Frame {
    pub(super) fn of(template: &ChatTemplate, tokenizer: &Tokenizer) -> Option<Self> {
        let vars = TemplateVars::new();
        let question = Message::new("user", QUESTION);
        let asked = template.render(std::slice::from_ref(&question), true, &vars).ok()?;
        let (before, after) = asked.split_once(QUESTION)?;
        let bos = text_of(tokenizer, tokenizer.bos());
        let own = before.strip_prefix(&bos).unwrap_or(before);
        let line = |text: &str| text.lines().map(str::trim).rfind(|l| !l.is_empty()).unwrap_or("").to_owned();
        let answered = template.render(&[question, Message::new("assistant", ANSWER)], false, &vars).ok();
        let end = answered.as_deref().and_then(|text| text.split_once(ANSWER)).and_then(|(_, end)| {
            tokenizer.encode(end, true, false).into_iter().find(|&id| tokenizer.is_eog(id))
        });
        Some(Self {
            bos_in_turns: !bos.is_empty() && line(own).contains(&bos),
            first: line(own),
            last: line(after),
            text: [before, after].concat(),
            end,
        })
    }
}

/// The text of a token, if it is one.
fn text_of(tokenizer: &Tokenizer, id: Option<u32>) -> String {
    let bytes = id.and_then(|id| tokenizer.token_bytes(id)).unwrap_or_default();
    String::from_utf8_lossy(bytes).into_owned()
}

impl Encoder<'_> {
    /// The text of the first control token in `text`.
    pub(super) fn control_text_in<'t>(&self, text: &'t str) -> Option<&'t str> {
        let (at, id) = self.tokenizer.find_control(text)?;
        text.get(at..at + self.tokenizer.token_bytes(id)?.len())
    }

    /// Whether a text begins as the template's prompts do, so that it has been through a template.
    pub(super) fn is_templated(&self, text: &str) -> bool {
        let Some(frame) = &self.frame else { return false };
        let mut text = text.trim_start();
        let bos = text_of(self.tokenizer, self.tokenizer.bos());
        if !bos.is_empty() && !frame.bos_in_turns {
            text = text.strip_prefix(&bos).unwrap_or(text).trim_start();
        }
        if let Some((0, id)) = self.tokenizer.find_control(text)
            && !self.tokenizer.is_eog(id)
            && frame.text.contains(&text_of(self.tokenizer, Some(id)))
        {
            return true;
        }
        let framed = !frame.first.is_empty() && !frame.last.is_empty();
        framed && text.starts_with(&frame.first) && text.trim_end().ends_with(&frame.last)
    }

    /// Whether a text is that of a token that ends a turn, and nothing else.
    pub(super) fn is_end_text(&self, text: &str) -> bool {
        matches!(self.tokenizer.find_control(text), Some((0, id)) if self.tokenizer.is_eog(id)
            && self.tokenizer.token_bytes(id) == Some(text.as_bytes()))
    }

    /// A completion without the text of an end token at its end, which some write by hand.
    pub(super) fn without_end_text<'t>(&self, completion: &'t str) -> &'t str {
        let text = completion.trim_end();
        let mut ends = self.tokenizer.eog_ids().iter().map(|&id| text_of(self.tokenizer, Some(id)));
        let end = ends.find(|end| !end.is_empty() && text.ends_with(end.as_str()));
        let said = end.and_then(|end| text.strip_suffix(end.as_str()));
        said.map(str::trim_end).filter(|said| !said.is_empty()).unwrap_or(completion)
    }

    /// Notes that a text has control tokens, if it has.
    fn note_control(&self, text: &str, notes: &mut Notes) -> bool {
        let found = self.control_text_in(text);
        if let Some(found) = found {
            note(notes, Note::ControlTokens, || format!("`{found}`"));
        }
        found.is_some()
    }

    /// A prompt as it stands.
    pub(super) fn raw_prompt(&self, text: &str, notes: &mut Notes) -> Vec<u32> {
        let special = self.note_control(text, notes);
        let mut tokens = self.tokenizer.encode(text, special, false);
        self.put_bos(&mut tokens);
        tokens
    }

    /// A prompt and its completion as they stand, the latter with an end.
    pub(super) fn joined(&self, prompt: &str, gap: &str, completion: &str) -> Result<Sequence, RowError> {
        let mut notes = Notes::new();
        let gap = if self.is_templated(prompt) { "" } else { gap };
        let text = [prompt, gap, completion].concat();
        let own = !self.note_control(&text, &mut notes);
        let cut = prompt.len() + gap.len();
        let message = own.then_some(0);
        let part = |text: &str| Segment { text: text.to_owned(), message };
        let parts = [part(&text[..cut]), part(completion)];
        let (ids, counts) = self.tokenizer.encode_cut(&parts, &[cut]);
        let (mut tokens, mut start) = (ids, counts.first().copied().unwrap_or(0));
        if !self.says_something(tokens.get(start..).unwrap_or_default()) {
            return Err(RowError::new(Reason::NothingToTrain, "what is to be learnt is empty"));
        }
        start += self.put_bos(&mut tokens);
        let end = self.end_of(&mut tokens);
        let all = self.options.train_on == TrainOn::All;
        let trained = (0..tokens.len()).map(|i| all || (i >= start && i < end)).collect();
        let mut sequence = Sequence::new(tokens, trained);
        sequence.notes = notes;
        Ok(sequence)
    }

    /// Where what is learnt ends: after the last end token, if white space alone follows it, else after one that is added.
    fn end_of(&self, tokens: &mut Vec<u32>) -> usize {
        if let Some(last) = tokens.iter().rposition(|&id| self.tokenizer.is_eog(id)) {
            let blank = |id: &u32| {
                self.tokenizer.token_bytes(*id).is_some_and(|b| b.iter().all(u8::is_ascii_whitespace))
            };
            if tokens.iter().skip(last + 1).all(blank) {
                return last + 1;
            }
        }
        let of_turns = self.frame.as_ref().and_then(|frame| frame.end);
        tokens.extend(of_turns.or(self.tokenizer.eos()));
        tokens.len()
    }

    /// A text, all of which is learnt, with its end.
    pub(super) fn text(&self, text: &str) -> Result<Sequence, RowError> {
        if text.trim().is_empty() {
            return Err(RowError::new(Reason::NothingToTrain, "the text is empty"));
        }
        let mut notes = Notes::new();
        let mut tokens = self.raw_prompt(text, &mut notes);
        if !self.says_something(&tokens) {
            let what = "the text is white space and ends of turns alone";
            return Err(RowError::new(Reason::NothingToTrain, what));
        }
        self.put_end(&mut tokens);
        let mut sequence = self.whole(tokens);
        sequence.notes = notes;
        Ok(sequence)
    }

    /// Puts the end-of-sequence token last, unless an end is there.
    pub(super) fn put_end(&self, tokens: &mut Vec<u32>) {
        if tokens.last().is_none_or(|&last| !self.tokenizer.is_eog(last)) {
            tokens.extend(self.tokenizer.eos());
        }
    }
}
