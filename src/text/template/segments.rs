//! Follows the messages' characters through a template.
//!
//! Every character of a message's content but white space is replaced by a private-use character of its own for
//! (message, character). Where it comes out of the template it is recognised and put back.

use std::collections::{HashMap, HashSet};

use super::{Message, TemplateError};
use crate::text::Segment;

/// Planes 15 and 16, less the four code points that are no characters.
fn aliases() -> impl Iterator<Item = char> {
    ('\u{f0000}'..='\u{ffffd}').chain('\u{100000}'..='\u{10fffd}')
}

/// Characters under assumed names.
struct Disguise {
    free: Box<dyn Iterator<Item = char>>,
    alias_of: HashMap<(usize, char), char>,
    original: HashMap<char, (usize, char)>,
}

impl Disguise {
    /// `taken`: characters that already mean themselves.
    fn new(taken: HashSet<char>) -> Self {
        let free = aliases().filter(move |c| !taken.contains(c));
        Self { free: Box::new(free), alias_of: HashMap::new(), original: HashMap::new() }
    }

    /// The alias of a message's character; `None` when there are none left.
    fn alias(&mut self, message: usize, c: char) -> Option<char> {
        if let Some(&alias) = self.alias_of.get(&(message, c)) {
            return Some(alias);
        }
        let alias = self.free.next()?;
        self.alias_of.insert((message, c), alias);
        self.original.insert(alias, (message, c));
        Some(alias)
    }

    /// The text with its own characters, cut where their origin changes. White space between two characters of a
    /// message belongs to that message.
    fn undo(&self, text: &str) -> Vec<Segment> {
        let mut segments: Vec<Segment> = Vec::new();
        let mut gap = String::new();
        for c in text.chars() {
            let (message, c) = match self.original.get(&c) {
                Some(&(message, original)) => (Some(message), original),
                None => (None, c),
            };
            if message.is_none() && c.is_whitespace() {
                gap.push(c);
                continue;
            }
            let same = segments.last().is_some_and(|last| last.message == message);
            let gap_owner = if same { message } else { None };
            push(&mut segments, gap_owner, &gap);
            gap.clear();
            push(&mut segments, message, c.encode_utf8(&mut [0; 4]));
        }
        push(&mut segments, None, &gap);
        segments
    }
}

fn push(segments: &mut Vec<Segment>, message: Option<usize>, text: &str) {
    match segments.last_mut() {
        _ if text.is_empty() => {}
        Some(last) if last.message == message => last.text.push_str(text),
        _ => segments.push(Segment { text: text.to_owned(), message }),
    }
}

/// Renders, and tells the template's text from the messages'. See
/// [`ChatTemplate::render_segments`](super::ChatTemplate::render_segments).
pub(super) fn trace(
    messages: &[Message],
    reserved: &[&str],
    render: impl Fn(&[Message]) -> Result<String, TemplateError>,
) -> Result<Vec<Segment>, TemplateError> {
    let plain = render(messages)?;
    let contents = messages.iter().flat_map(|m| m.content.chars());
    let taken: HashSet<char> = plain.chars().chain(contents).filter(|&c| c >= '\u{f0000}').collect();
    let follow = |choice: &dyn Fn(&Message) -> Vec<bool>| {
        let mut disguise = Disguise::new(taken.clone());
        let disguised = disguise_all(messages, &mut disguise, choice)?;
        Some(render(&disguised).map(|text| disguise.undo(&text)))
    };
    if let Some(Ok(segments)) = follow(&|m| vec![true; m.content.chars().count()])
        && segments.iter().map(|s| s.text.as_str()).collect::<String>() == plain
    {
        return Ok(segments);
    }
    // The template looks into the contents. Without an alias left for even this, nothing is trusted.
    let untrusted = || Ok(vec![Segment { text: plain.clone(), message: Some(0) }]);
    follow(&|m| marks(&m.content, reserved)).unwrap_or_else(untrusted)
}

fn disguise_all(
    messages: &[Message],
    disguise: &mut Disguise,
    choice: &dyn Fn(&Message) -> Vec<bool>,
) -> Option<Vec<Message>> {
    let one = |(index, message): (usize, &Message)| {
        let chosen = choice(message);
        let chars = message.content.chars().zip(chosen);
        let content = chars
            .map(|(c, take)| if take && !c.is_whitespace() { disguise.alias(index, c) } else { Some(c) });
        let content = content.collect::<Option<String>>()?;
        Some(Message { role: message.role.clone(), content, extra: message.extra.clone() })
    };
    messages.iter().enumerate().map(one).collect()
}

/// For every character, whether it is the first visible one of a reserved text.
fn marks(content: &str, reserved: &[&str]) -> Vec<bool> {
    let visible = |text: &str| text.char_indices().find(|(_, c)| !c.is_whitespace()).map(|(i, _)| i);
    let firsts: Vec<(&str, usize)> =
        reserved.iter().filter_map(|text| Some((*text, visible(text)?))).collect();
    let mut marked = vec![false; content.len()];
    for (text, offset) in firsts {
        for (start, _) in content.match_indices(text) {
            if let Some(mark) = marked.get_mut(start + offset) {
                *mark = true;
            }
        }
    }
    content.char_indices().map(|(i, _)| marked.get(i).copied().unwrap_or(false)).collect()
}
