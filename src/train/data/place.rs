//! Where a reply lies in the text of its conversation.
//!
//! Mostly the prompt that the model is given is how the conversation with the reply begins. Templates of models that think part
//! the two: the prompt opens a thought (`<think>`) which the conversation does not have, or thoughts are taken out of
//! replies. Then the sequence is put together of what the model reads and what the row says comes next.

use std::ops::Range;

use super::chat::{Conversation, same_text};
use super::error::{Reason, RowError, shorten};
use super::note::{Note, Notes, note};
use crate::text::{Message, Segment};

/// A reply's place.
pub(super) struct Place {
    /// Its bytes in `through`.
    pub(super) reply: Range<usize>,
    /// The conversation up to the reply's end.
    pub(super) through: String,
    /// The same in parts, where it is not what the template writes.
    pub(super) built: Option<Vec<Segment>>,
}

impl Place {
    fn built(segments: Vec<Segment>, start: usize) -> Self {
        let through: String = segments.iter().map(|s| s.text.as_str()).collect();
        Self { reply: start..through.len(), through, built: Some(segments) }
    }
}

impl Conversation<'_, '_> {
    /// The place of a reply in the conversation up to it.
    pub(super) fn place(
        &self,
        messages: &[Message],
        reply: usize,
        notes: &mut Notes,
    ) -> Result<Place, RowError> {
        let with = messages.get(..=reply).unwrap_or(messages);
        let (Some(said), upto) = (with.last(), with.get(..reply).unwrap_or_default()) else {
            return Err(RowError::new(Reason::NothingToTrain, "the conversation is empty"));
        };
        let (before, through) = (self.render(upto, true)?, self.render(with, false)?);
        let Some(written) = through.strip_prefix(before.as_str()) else {
            return self.parted(with, &before, &through);
        };
        if leaves_out_thought(&said.content, written)
            && let Some(end) = self.after_reply(with)
        {
            return self.continued(with, &before, &said.content, &end);
        }
        let thought = thought(said);
        if thought.is_some_and(|thought| !written.contains(thought.trim())) {
            note(notes, Note::ThoughtsNotWritten, || format!("message {reply}"));
        }
        Ok(Place { reply: before.len()..through.len(), through, built: None })
    }

    /// Where the prompt is not how the conversation begins.
    fn parted(&self, with: &[Message], before: &str, through: &str) -> Result<Place, RowError> {
        let Some(said) = with.last() else { return Err(RowError::new(Reason::NothingToTrain, "")) };
        let stand_in = self.with_stand_in(with);
        // The reply's own text must not count as the template's.
        let same = common(before, through);
        let same = stand_in.as_ref().map_or(same, |text| same.min(common(before, text)));
        let (added, rest) = (before.get(same..).unwrap_or_default(), through.get(same..).unwrap_or_default());
        let opening = added.trim();
        let answer = parts(&said.content).map_or(said.content.as_str(), |(_, answer)| answer).trim();
        if opening.is_empty() {
            return self.joined(with, before, through, same);
        }
        let end = self.after_reply(with);
        let goes_on =
            |rest: &str, end: &str| self.continued(with, before, without_line_feed(rest, added), end);
        match (said.content.trim_start().strip_prefix(opening), end) {
            // The reply opens what the prompt has opened already.
            (Some(rest), Some(end)) => goes_on(rest, &end),
            (None, Some(end)) if open_tag(opening).is_some() && thought(said).is_some() => {
                let closing = open_tag(opening).map(closing).unwrap_or_default();
                let thought = thought(said).unwrap_or_default().trim();
                goes_on(&format!("{thought}\n{closing}\n\n{}", said.content.trim_start()), &end)
            }
            _ if open_tag(opening).is_none()
                && !answer.is_empty()
                && rest.trim_start().starts_with(answer) =>
            {
                self.joined(with, before, through, same)
            }
            _ => Err(RowError::new(Reason::PrefixBroken, difference(before, through, with.len() - 1))),
        }
    }

    /// The prompt, and what the conversation has from byte `same` on.
    fn joined(&self, with: &[Message], before: &str, through: &str, same: usize) -> Result<Place, RowError> {
        let mut segments = self.segments(with.get(..with.len() - 1).unwrap_or_default(), true)?;
        same_text(&segments, before)?;
        let of_reply = self.segments(with, false)?;
        same_text(&of_reply, through)?;
        let mut skip = through.len() - through.get(same..).unwrap_or_default().trim_start().len();
        for Segment { text, message } in of_reply {
            let rest = text.get(skip.min(text.len())..).unwrap_or_default().to_owned();
            skip = skip.saturating_sub(text.len());
            if !rest.is_empty() {
                segments.push(Segment { text: rest, message });
            }
        }
        Ok(Place::built(segments, before.len()))
    }

    /// The prompt, a reply that goes on from there, and how the template ends a turn.
    fn continued(&self, with: &[Message], before: &str, reply: &str, end: &str) -> Result<Place, RowError> {
        let mut segments = self.segments(with.get(..with.len() - 1).unwrap_or_default(), true)?;
        same_text(&segments, before)?;
        let message = Some(with.len() - 1);
        // The tags of a thought are the model's own marks, be they control tokens.
        for part in at_tags(reply) {
            let tag = self.encoder.tokenizer.special_id(part).is_some() && is_tag(part);
            segments.push(Segment { text: part.to_owned(), message: if tag { None } else { message } });
        }
        segments.push(Segment { text: end.to_owned(), message: None });
        Ok(Place::built(segments, before.len()))
    }

    /// What the template writes after a reply.
    fn after_reply(&self, with: &[Message]) -> Option<String> {
        let text = self.with_stand_in(with)?;
        let (_, end) = text.split_once(STAND_IN)?;
        (!end.contains(STAND_IN)).then(|| end.to_owned())
    }

    /// The conversation with a character in the place of the last message's text.
    fn with_stand_in(&self, with: &[Message]) -> Option<String> {
        if with.iter().any(|m| m.content.contains(STAND_IN)) {
            return None;
        }
        let mut with = with.to_vec();
        if let Some(last) = with.last_mut() {
            *last = Message::new(last.role.clone(), STAND_IN.to_string());
        }
        self.render(&with, false).ok()
    }
}

/// No text has this character of private use.
const STAND_IN: char = '\u{f8ff}';
/// Tags of thoughts whose texts may be control tokens.
const TAGS: [&str; 6] = ["<think>", "</think>", "[THINK]", "[/THINK]", "<thinking>", "</thinking>"];

fn is_tag(text: &str) -> bool {
    TAGS.contains(&text)
}

/// Cuts a text at tags, which stand alone.
fn at_tags(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut at) = (0, 0);
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if let Some(tag) = TAGS.iter().find(|tag| rest.starts_with(**tag)) {
            parts
                .extend([text.get(start..at).unwrap_or_default(), rest.get(..tag.len()).unwrap_or_default()]);
            at += tag.len();
            start = at;
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    parts.push(text.get(start..).unwrap_or_default());
    parts.retain(|part| !part.is_empty());
    parts
}

/// How many bytes two texts begin alike with.
fn common(a: &str, b: &str) -> usize {
    a.chars().zip(b.chars()).take_while(|(a, b)| a == b).map(|(c, _)| c.len_utf8()).sum()
}

/// The opening tag with which a text ends, if nothing closes it: `<think>`, `[THINK]`.
fn open_tag(text: &str) -> Option<&str> {
    let start = text.rfind(['<', '['])?;
    let tag = text.get(start..)?;
    let name = tag.get(1..tag.len().checked_sub(1)?)?;
    let plain = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '|'));
    (plain && tag.ends_with(['>', ']'])).then_some(tag)
}

fn closing(tag: &str) -> String {
    let (bracket, name) = tag.split_at(1);
    format!("{bracket}/{name}")
}

/// A reply's thought with its tags, and the answer after it.
fn parts(content: &str) -> Option<(&str, &str)> {
    let text = content.trim_start();
    let end = text.find(['>', ']'])? + 1;
    let tag = open_tag(text.get(..end)?).filter(|tag| tag.len() == end)?;
    let closing = closing(tag);
    let close = text.rfind(&closing)? + closing.len();
    Some((text.get(..close)?, text.get(close..)?))
}

/// What a reply says after the thought that it begins with.
pub(super) fn after_thought(content: &str) -> &str {
    match parts(content) {
        Some((thought, answer)) if TAGS.iter().any(|tag| thought.starts_with(tag)) => answer,
        _ => content,
    }
}

/// Whether a reply begins with a thought, of which the template writes only the answer after it.
fn leaves_out_thought(content: &str, written: &str) -> bool {
    parts(content).is_some_and(|(thought, answer)| {
        let answer = answer.trim();
        !answer.is_empty() && !written.contains(thought.trim()) && written.trim_start().starts_with(answer)
    })
}

/// The thought that a message has in a field of its own.
fn thought(message: &Message) -> Option<&str> {
    let thought = message.extra.get("reasoning_content")?.as_str()?;
    (!thought.trim().is_empty()).then_some(thought)
}

/// Without the line feed that the prompt ends with already.
fn without_line_feed<'t>(rest: &'t str, added: &str) -> &'t str {
    if added.ends_with('\n') { rest.strip_prefix('\n').unwrap_or(rest) } else { rest }
}

/// Where the text before a reply and the text with it part, and what to do about it.
fn difference(before: &str, through: &str, reply: usize) -> String {
    let same = before.chars().zip(through.chars()).take_while(|(a, b)| a == b).count();
    let at = |text: &str| shorten(&text.chars().skip(same).take(40).collect::<String>(), 40);
    let parting = format!(
        "before message {reply} the chat template writes `{}` where it writes `{}` with it (after {same} equal characters)",
        at(before),
        at(through)
    );
    let rest: String = before.chars().skip(same).collect();
    match open_tag(rest.trim()) {
        Some(tag) => format!(
            "{parting}; the prompt opens a thought: begin the answer with `{tag}…{}`, give it as `reasoning_content`, or \
             choose another template",
            closing(tag)
        ),
        None => format!("{parting}; choose another template"),
    }
}
