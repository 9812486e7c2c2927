//! Conversations: finds what the model must say.

use std::ops::Range;

use super::encode::{Encoder, Overlong, Sequence, TrainOn};
use super::error::{Reason, RowError, shorten};
use super::row::Chat;
use crate::text::{ChatTemplate, Message, TemplateValue, TemplateVars};

impl Encoder<'_> {
    pub(super) fn chat(&self, mut chat: Chat) -> Result<Vec<Sequence>, RowError> {
        let template = self.template_for_chats()?;
        self.refuse_control_texts(&chat.messages, chat.tools.as_ref())?;
        let vars = vars_of(chat.tools.as_ref());
        let all = self.options.train_on == TrainOn::All;
        if chat.messages.is_empty() {
            return Err(RowError::new(Reason::NothingToTrain, "the conversation is empty"));
        }
        chat.train_from += self.put_system(&mut chat.messages);
        self.leave_out_unreachable(&mut chat)?;
        let one = Conversation { encoder: self, template, vars: &vars };
        if all {
            return Ok(vec![one.sequence(&chat.messages, None)?]);
        }
        let replies = replies(&chat);
        let Some(&last) = replies.last() else {
            let what = "the conversation has no reply of the assistant, or empty ones alone";
            return Err(RowError::new(Reason::NothingToTrain, what));
        };
        chat.messages.truncate(last + 1);
        one.replies(&chat.messages, &replies)
    }

    pub(super) fn template_for_chats(&self) -> Result<&ChatTemplate, RowError> {
        let what = "the model has no chat template for conversations; name one with --chat-template";
        self.template.ok_or_else(|| RowError::new(Reason::NoTemplate, what))
    }

    /// Tools and tool calls are the template's text, in which control tokens are made.
    pub(super) fn refuse_control_texts(
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

    /// Long conversations are not rendered again and again only to find that they are too long, or to cut off most.
    fn leave_out_unreachable(&self, chat: &mut Chat) -> Result<(), RowError> {
        let visible = |m: &Message| m.content.bytes().filter(|b| !b.is_ascii_whitespace()).count();
        let mut sum = 0usize;
        let reached = chat.messages.iter().position(|m| {
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
        chat.messages.truncate(reached + 1);
        Ok(())
    }
}

/// What a template sees beside the messages.
pub(super) fn vars_of(tools: Option<&TemplateValue>) -> TemplateVars {
    tools.map(|tools| ("tools".to_owned(), tools.clone())).into_iter().collect()
}

/// The indices of messages that are learnt.
fn replies(chat: &Chat) -> Vec<usize> {
    let says = |m: &Message| !m.content.trim().is_empty() || m.extra.contains_key("tool_calls");
    let indexed = chat.messages.iter().enumerate().skip(chat.train_from);
    indexed.filter(|(_, m)| m.role == "assistant" && says(m)).map(|(i, _)| i).collect()
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
struct Conversation<'a, 'm> {
    encoder: &'a Encoder<'m>,
    template: &'a ChatTemplate,
    vars: &'a TemplateVars,
}

impl Conversation<'_, '_> {
    fn render(&self, messages: &[Message], prompt: bool) -> Result<String, RowError> {
        let rendered = self.template.render(messages, prompt, self.vars);
        rendered.map_err(|e| RowError::new(Reason::Template, e))
    }

    /// One sequence with all replies if the template writes a turn the same way whatever follows, else one for each.
    fn replies(&self, messages: &[Message], replies: &[usize]) -> Result<Vec<Sequence>, RowError> {
        let full = self.render(messages, false)?;
        let mut spans = Vec::with_capacity(replies.len());
        let mut nested = true;
        for &reply in replies {
            let (span, through) = self.span(messages, reply)?;
            nested &= full.starts_with(&through);
            spans.push(span);
        }
        if nested {
            return Ok(vec![self.sequence(messages, Some((&full, &spans)))?]);
        }
        let one = |(&reply, span): (&usize, &Range<usize>)| {
            let messages = messages.get(..=reply).unwrap_or(messages);
            let text = self.render(messages, false)?;
            self.sequence(messages, Some((&text, std::slice::from_ref(span))))
        };
        replies.iter().zip(&spans).map(one).collect()
    }

    /// The bytes of a reply in the conversation up to it, and that conversation.
    fn span(&self, messages: &[Message], reply: usize) -> Result<(Range<usize>, String), RowError> {
        let before = self.render(messages.get(..reply).unwrap_or_default(), true)?;
        let through = self.render(messages.get(..=reply).unwrap_or(messages), false)?;
        if !through.starts_with(&before) {
            return Err(RowError::new(Reason::PrefixBroken, difference(&before, &through, reply)));
        }
        Ok((before.len()..through.len(), through))
    }

    /// Token ids of a conversation; `learnt`: its text and the bytes of the replies, or everything.
    fn sequence(
        &self,
        messages: &[Message],
        learnt: Option<(&str, &[Range<usize>])>,
    ) -> Result<Sequence, RowError> {
        let encoder = self.encoder;
        let segments = self.template.render_segments(messages, false, self.vars, &encoder.reserved);
        let segments = segments.map_err(|e| RowError::new(Reason::Template, e))?;
        let Some((text, spans)) = learnt else {
            let mut tokens = encoder.tokenizer.encode_segments(&segments, false);
            encoder.put_bos(&mut tokens);
            return Ok(encoder.whole(tokens));
        };
        if !segments.iter().map(|s| s.text.as_str()).eq_text(text) {
            let what = "the chat template does not write the same conversation the same way twice";
            return Err(RowError::new(Reason::PrefixBroken, what));
        }
        let cuts: Vec<usize> = spans.iter().flat_map(|s| [s.start, s.end]).collect();
        let (mut tokens, counts) = encoder.tokenizer.encode_cut(&segments, &cuts);
        let mut trained = vec![false; tokens.len()];
        let mut without_end = false;
        for bounds in counts.chunks_exact(2) {
            let &[start, end] = bounds else { continue };
            let reply = tokens.get(start..end).unwrap_or_default();
            // White space and the like after the end of turn is not the model's.
            let stop = reply.iter().rposition(|&id| encoder.tokenizer.is_eog(id));
            without_end |= stop.is_none();
            let end = stop.map_or(end, |stop| start + stop + 1);
            trained.get_mut(start..end).unwrap_or_default().fill(true);
        }
        if encoder.put_bos(&mut tokens) > 0 {
            trained.insert(0, false);
        }
        let mut sequence = Sequence::new(tokens, trained);
        sequence.without_end = without_end;
        Ok(sequence)
    }
}

/// Compares a text in parts with a whole one.
trait EqText {
    fn eq_text(self, text: &str) -> bool;
}

impl<'a, I: Iterator<Item = &'a str>> EqText for I {
    fn eq_text(mut self, text: &str) -> bool {
        let rest = self.try_fold(text, |rest, part| rest.strip_prefix(part));
        rest.is_some_and(str::is_empty)
    }
}

/// Where the text before a reply and the text with it part.
fn difference(before: &str, through: &str, reply: usize) -> String {
    let same = before.chars().zip(through.chars()).take_while(|(a, b)| a == b).count();
    let at = |text: &str| shorten(&text.chars().skip(same).take(40).collect::<String>(), 40);
    format!(
        "before message {reply} the chat template writes `{}` where it writes `{}` with it (after {same} equal characters)",
        at(before),
        at(through)
    )
}
