//! Conversations: finds what the model must say.

use std::ops::Range;

use super::encode::{Encoder, Overlong, Sequence, TrainOn};
use super::error::{Reason, RowError, shorten};
use super::message::{ROLES, STANDARD};
use super::note::{Note, Notes, note};
use super::place::{Place, after_thought};
use super::row::Chat;
use crate::text::{ChatTemplate, Message, Segment, TemplateValue, TemplateVars};

impl Encoder<'_> {
    pub(super) fn chat(&self, mut chat: Chat) -> Result<Vec<Sequence>, RowError> {
        let template = self.template_for_chats()?;
        let mut notes = Notes::new();
        self.check_messages(template, &mut chat.turns.messages, chat.tools.as_ref(), &mut notes)?;
        let vars = vars_of(chat.tools.as_ref());
        let all = self.options.train_on == TrainOn::All;
        if chat.turns.messages.is_empty() {
            return Err(RowError::new(Reason::NothingToTrain, "the conversation is empty"));
        }
        if self.put_system(&mut chat.turns.messages) > 0 {
            chat.turns.off.insert(0, false);
            chat.train_from += 1;
        }
        self.leave_out_unreachable(&mut chat)?;
        let replies = if all { Vec::new() } else { self.learnt_replies(&chat, &mut notes)? };
        if let Some(last) = replies.last() {
            chat.turns.truncate(last + 1);
        }
        let one = Conversation { encoder: self, template, vars: &vars };
        one.check_written(&chat.turns.messages, &mut notes)?;
        let mut sequences = if all {
            vec![one.everything(&chat, &mut notes)?]
        } else {
            one.replies(&chat.turns.messages, &replies, &mut notes)?
        };
        if let Some(first) = sequences.first_mut() {
            first.notes = notes;
        }
        Ok(sequences)
    }

    pub(super) fn template_for_chats(&self) -> Result<&ChatTemplate, RowError> {
        let what = "the model has no chat template for conversations; name one that is to be used";
        self.template.ok_or_else(|| RowError::new(Reason::NoTemplate, what))
    }

    /// Whether the template can be given these messages and tools; roles get the names that it knows.
    pub(super) fn check_messages(
        &self,
        template: &ChatTemplate,
        messages: &mut [Message],
        tools: Option<&TemplateValue>,
        notes: &mut Notes,
    ) -> Result<(), RowError> {
        settle_roles(template, messages)?;
        self.refuse_control_texts(messages, tools)?;
        for (i, message) in messages.iter().enumerate() {
            let Some(text) = self.control_text_in(&message.content) else { continue };
            let text = shorten(text, 40);
            if self.is_templated(&message.content) {
                let what = format!(
                    "message {i} already went through a chat template (it has `{text}`); give its turns as `messages`, or \
                     the whole as `text`"
                );
                return Err(RowError::new(Reason::Templated, what));
            }
            note(notes, Note::ControlTexts, || format!("`{text}` in message {i}"));
        }
        Ok(())
    }

    /// Tools and tool calls are the template's text, in which control tokens are made.
    fn refuse_control_texts(
        &self,
        messages: &[Message],
        tools: Option<&TemplateValue>,
    ) -> Result<(), RowError> {
        let of_messages = messages.iter().flat_map(|m| m.extra.values());
        for value in tools.into_iter().chain(of_messages) {
            if let Some(text) = find_text(value, &self.reserved, 0) {
                let what =
                    format!("they contain `{}`, which would become a control token", shorten(&text, 40));
                return Err(RowError::new(Reason::UnsafeTools, what));
            }
        }
        Ok(())
    }

    /// The indices of messages that are learnt; one at least.
    fn learnt_replies(&self, chat: &Chat, notes: &mut Notes) -> Result<Vec<usize>, RowError> {
        let mut replies = Vec::new();
        let turns = chat.turns.messages.iter().zip(&chat.turns.off).enumerate().skip(chat.train_from);
        for (i, (message, off)) in turns.filter(|(_, (m, _))| m.role == "assistant") {
            if *off {
                note(notes, Note::MarkedOff, || format!("message {i}"));
            } else if self.says(message) {
                replies.push(i);
            } else {
                note(notes, Note::EmptyReply, || format!("message {i}"));
            }
        }
        if !replies.is_empty() {
            return Ok(replies);
        }
        if notes.iter().any(|(kind, _)| *kind == Note::MarkedOff) {
            return Err(RowError::new(Reason::NotToLearn, "so is every reply of the conversation"));
        }
        let what = "the conversation has no reply of the assistant, or empty ones alone";
        Err(RowError::new(Reason::NothingToTrain, what))
    }

    /// Whether a reply has anything to be learnt: a thought without an answer, or the text of an end token, is silence.
    fn says(&self, message: &Message) -> bool {
        if message.extra.contains_key("tool_calls") {
            return true;
        }
        let answer = after_thought(&message.content).trim();
        !answer.is_empty() && !self.is_end_text(answer)
    }

    /// Long conversations are not rendered again and again only to find that they are too long, or to cut off most.
    fn leave_out_unreachable(&self, chat: &mut Chat) -> Result<(), RowError> {
        let visible = |m: &Message| m.content.bytes().filter(|b| !b.is_ascii_whitespace()).count();
        let mut sum = 0usize;
        let reached = chat.turns.messages.iter().position(|m| {
            sum = sum.saturating_add(visible(m));
            sum > self.surely_too_long
        });
        let Some(reached) = reached else { return Ok(()) };
        if self.options.overlong == Overlong::Skip {
            let max = self.options.max_len;
            return Err(RowError::new(
                Reason::Overlong,
                format!("more than the {max} tokens that are allowed"),
            ));
        }
        chat.turns.truncate(reached + 1);
        Ok(())
    }
}

/// Roles that neither most templates nor this one know would be written into the prompt as they are, or left out.
fn settle_roles(template: &ChatTemplate, messages: &mut [Message]) -> Result<(), RowError> {
    let source = template.source();
    let mentions =
        |role: &str| ["'", "\""].iter().any(|quote| source.contains(&[quote, role, quote].concat()));
    for (i, message) in messages.iter_mut().enumerate() {
        if message.role == "developer" && !mentions("developer") {
            message.role = "system".to_owned();
        }
        if !STANDARD.contains(&message.role.as_str()) && !mentions(&message.role) {
            let role = shorten(&message.role, 40);
            let what = format!(
                "the role of message {i} is `{role}`; known are {ROLES}, and what the chat template names"
            );
            return Err(RowError::new(Reason::WrongType, what));
        }
    }
    Ok(())
}

/// What a template sees beside the messages.
pub(super) fn vars_of(tools: Option<&TemplateValue>) -> TemplateVars {
    tools.map(|tools| ("tools".to_owned(), tools.clone())).into_iter().collect()
}

/// The first string in `value` that contains one of `texts`.
fn find_text(value: &TemplateValue, texts: &[&str], depth: usize) -> Option<String> {
    if let Some(string) = value.as_str() {
        return texts.iter().find(|t| string.contains(**t)).map(|t| (*t).to_owned());
    }
    if depth > 128 {
        return Some("deep nesting".to_owned());
    }
    let items = value.try_iter().ok()?;
    for item in items {
        // Of a map, the items are its keys.
        let held = value.as_object().and_then(|object| object.get_value(&item));
        let found = find_text(&item, texts, depth + 1);
        let found = found.or_else(|| held.and_then(|v| find_text(&v, texts, depth + 1)));
        if found.is_some() {
            return found;
        }
    }
    None
}

/// What it takes to render conversations.
pub(super) struct Conversation<'a, 'm> {
    pub(super) encoder: &'a Encoder<'m>,
    pub(super) template: &'a ChatTemplate,
    pub(super) vars: &'a TemplateVars,
}

impl Conversation<'_, '_> {
    pub(super) fn render(&self, messages: &[Message], prompt: bool) -> Result<String, RowError> {
        let rendered = self.template.render(messages, prompt, self.vars);
        rendered.map_err(|e| RowError::new(Reason::Template, e))
    }

    pub(super) fn segments(&self, messages: &[Message], prompt: bool) -> Result<Vec<Segment>, RowError> {
        let reserved = &self.encoder.reserved;
        let segments = self.template.render_segments(messages, prompt, self.vars, reserved);
        segments.map_err(|e| RowError::new(Reason::Template, e))
    }

    /// What the template writes of the messages must be all that they say: a call that it leaves out would be learnt as
    /// silence, or as its own introduction.
    pub(super) fn check_written(&self, messages: &[Message], notes: &mut Notes) -> Result<(), RowError> {
        for (i, message) in messages.iter().enumerate() {
            let Some(calls) = message.extra.get("tool_calls") else { continue };
            let with = messages.get(..=i).unwrap_or(messages);
            let mut without = with.to_vec();
            without.iter_mut().skip(i).for_each(|m| drop(m.extra.remove("tool_calls")));
            // A template that fails without the calls looks at them.
            if self.render(&without, false).is_ok_and(|text| self.render(with, false) == Ok(text)) {
                let what = format!(
                    "message {i} calls {}, of which nothing is written; choose a template that writes calls, \
                     or put them into the content",
                    named(calls)
                );
                return Err(RowError::new(Reason::CallsNotWritten, what));
            }
        }
        if self.vars.contains_key("tools") {
            let without = self.template.render(messages, false, &TemplateVars::new());
            if without.is_ok_and(|text| self.render(messages, false) == Ok(text)) {
                note(notes, Note::ToolsNotWritten, String::new);
            }
        }
        Ok(())
    }

    /// One sequence with all replies if the template writes a turn the same way whatever follows, else one for each.
    fn replies(
        &self,
        messages: &[Message],
        replies: &[usize],
        notes: &mut Notes,
    ) -> Result<Vec<Sequence>, RowError> {
        let full = self.render(messages, false)?;
        let mut places = Vec::with_capacity(replies.len());
        let mut nested = true;
        for &reply in replies {
            let mut place = self.place(messages, reply, notes)?;
            nested &= place.built.is_none() && full.starts_with(&place.through);
            // All of them together would take memory with the square of the turns.
            place.through = String::new();
            places.push(place);
        }
        if nested {
            let spans: Vec<Range<usize>> = places.into_iter().map(|place| place.reply).collect();
            return Ok(vec![self.sequence(messages, &full, &spans)?]);
        }
        let one = |(&reply, place): (&usize, Place)| {
            let spans = std::slice::from_ref(&place.reply);
            if let Some(segments) = &place.built {
                return self.encoder.learn(segments, spans);
            }
            let messages = messages.get(..=reply).unwrap_or(messages);
            self.sequence(messages, &self.render(messages, false)?, spans)
        };
        replies.iter().zip(places).map(one).collect()
    }

    /// A sequence of which everything is learnt but what is marked otherwise, and turns that say nothing.
    fn everything(&self, chat: &Chat, notes: &mut Notes) -> Result<Sequence, RowError> {
        let messages = &chat.turns.messages;
        let full = self.render(messages, false)?;
        let mut hidden: Vec<Range<usize>> = Vec::new();
        for (i, (message, off)) in messages.iter().zip(&chat.turns.off).enumerate() {
            let empty = message.role == "assistant" && !self.encoder.says(message);
            if !*off && !empty {
                continue;
            }
            note(notes, if *off { Note::MarkedOff } else { Note::EmptyReply }, || format!("message {i}"));
            let before = if i == 0 {
                String::new()
            } else {
                self.render(messages.get(..i).unwrap_or_default(), false)?
            };
            let through = self.render(messages.get(..=i).unwrap_or(messages), false)?;
            if !through.starts_with(&before) || !full.starts_with(&through) {
                let what = format!("message {i}, which is not to be learnt, cannot be told from what is");
                return Err(RowError::new(Reason::PrefixBroken, what));
            }
            hidden.push(before.len()..through.len());
        }
        if hidden.len() == messages.len() {
            return Err(RowError::new(Reason::NotToLearn, "so is every message, or it says nothing"));
        }
        let segments = match messages.len().checked_sub(1) {
            // What is thought before the last reply is learnt as the rest is.
            Some(last) if hidden.is_empty() && messages.last().is_some_and(|m| m.role == "assistant") => {
                let place = self.place(messages, last, notes);
                place.ok().and_then(|place| place.built).map_or_else(|| self.segments(messages, false), Ok)?
            }
            _ => self.segments(messages, false)?,
        };
        let cuts: Vec<usize> = hidden.iter().flat_map(|s| [s.start, s.end]).collect();
        let (mut tokens, counts) = self.encoder.tokenizer.encode_cut(&segments, &cuts);
        let mut trained = vec![true; tokens.len()];
        for bounds in counts.chunks_exact(2) {
            let &[start, end] = bounds else { continue };
            trained.get_mut(start..end).unwrap_or_default().fill(false);
        }
        if self.encoder.put_bos(&mut tokens) > 0 {
            trained.insert(0, false);
        }
        Ok(Sequence::new(tokens, trained))
    }

    /// Token ids of a conversation; `spans`: the bytes of the replies in `text`, which it is rendered to.
    fn sequence(
        &self,
        messages: &[Message],
        text: &str,
        spans: &[Range<usize>],
    ) -> Result<Sequence, RowError> {
        let segments = self.segments(messages, false)?;
        same_text(&segments, text)?;
        self.encoder.learn(&segments, spans)
    }
}

impl Encoder<'_> {
    /// Token ids of segments, of which the bytes in `spans` are learnt up to the token that ends the turn.
    pub(super) fn learn(&self, segments: &[Segment], spans: &[Range<usize>]) -> Result<Sequence, RowError> {
        let cuts: Vec<usize> = spans.iter().flat_map(|s| [s.start, s.end]).collect();
        let (mut tokens, counts) = self.tokenizer.encode_cut(segments, &cuts);
        let mut trained = vec![false; tokens.len()];
        let mut without_end = false;
        for bounds in counts.chunks_exact(2) {
            let &[start, end] = bounds else { continue };
            let reply = tokens.get(start..end).unwrap_or_default();
            if !self.says_something(reply) {
                let what = "of a reply the chat template writes nothing but its end";
                return Err(RowError::new(Reason::NothingToTrain, what));
            }
            // White space and the like after the end of turn is not the model's.
            let stop = reply.iter().rposition(|&id| self.tokenizer.is_eog(id));
            without_end |= stop.is_none();
            let end = stop.map_or(end, |stop| start + stop + 1);
            trained.get_mut(start..end).unwrap_or_default().fill(true);
        }
        if self.put_bos(&mut tokens) > 0 {
            trained.insert(0, false);
        }
        let mut sequence = Sequence::new(tokens, trained);
        sequence.without_end = without_end;
        Ok(sequence)
    }

    /// Whether tokens are more than white space and ends of turns.
    pub(super) fn says_something(&self, tokens: &[u32]) -> bool {
        let visible = |bytes: &[u8]| bytes.iter().any(|b| !b.is_ascii_whitespace());
        let mut words = tokens.iter().filter(|&&id| !self.tokenizer.is_eog(id));
        words.any(|&id| self.tokenizer.token_bytes(id).is_some_and(visible))
    }
}

/// The functions that are called.
fn named(calls: &TemplateValue) -> String {
    let name = |call: TemplateValue| {
        let holder = call.get_attr("function").ok().filter(|f| !f.is_undefined()).unwrap_or(call);
        holder.get_attr("name").ok().and_then(|name| name.as_str().map(|n| format!("`{}`", shorten(n, 40))))
    };
    let names: Vec<String> = calls.try_iter().into_iter().flatten().take(3).filter_map(name).collect();
    if names.is_empty() { "a tool".to_owned() } else { names.join(", ") }
}

/// Segments that were rendered later must be those of `text`.
pub(super) fn same_text(segments: &[Segment], text: &str) -> Result<(), RowError> {
    let rest = segments.iter().try_fold(text, |rest, segment| rest.strip_prefix(segment.text.as_str()));
    if rest.is_some_and(str::is_empty) {
        return Ok(());
    }
    let what = "the chat template does not write the same conversation the same way twice";
    Err(RowError::new(Reason::PrefixBroken, what))
}
