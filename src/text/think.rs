//! What a model thinks before it answers, told from the answer.

use super::hold::{Found, find};
use super::template::ChatTemplate;
use super::tokenizer::Tokenizer;

/// What opens and closes thoughts, by model family: Qwen, DeepSeek and most others; Cohere; Mistral; Seed.
const KNOWN: &[(&str, &str)] = &[
    ("<think>", "</think>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("[THINK]", "[/THINK]"),
    ("<seed:think>", "</seed:think>"),
    ("<thinking>", "</thinking>"),
];

/// The texts around a model's thoughts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThinkMarks {
    /// Before them.
    pub open: &'static str,
    /// Behind them.
    pub close: &'static str,
}

impl ThinkMarks {
    /// The marks that the template writes or looks for, or that are tokens of the vocabulary; `None` for a model that knows none.
    pub fn of(template: Option<&ChatTemplate>, tokenizer: &Tokenizer) -> Option<Self> {
        let written = |mark: &str| template.is_some_and(|template| template.source().contains(mark));
        let token = |mark: &str| tokenizer.special_id(mark).is_some();
        let known = KNOWN.iter().find(|(_, close)| written(close));
        let known = known.or_else(|| KNOWN.iter().find(|(open, close)| token(open) && token(close)));
        known.map(|&(open, close)| Self { open, close })
    }

    /// The mark that a token is, if its text is one, whether or not it is a control token.
    pub fn of_token(self, bytes: &[u8]) -> Option<&'static str> {
        [self.open, self.close].into_iter().find(|mark| mark.as_bytes() == bytes)
    }

    /// Whether a prompt leaves thoughts open, so that what the model writes begins within them.
    pub fn left_open(self, prompt: &str) -> bool {
        prompt.trim_end().ends_with(self.open)
    }

    /// The answer without the thoughts before it.
    pub fn answer_of(self, text: &str) -> &str {
        let Some(thoughts) = text.trim_start().strip_prefix(self.open) else { return text };
        thoughts.split_once(self.close).map_or("", |(_, answer)| answer.trim_start())
    }
}

/// A piece of what a model wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Utterance {
    /// Of its thoughts.
    Thought(String),
    /// Of its answer.
    Answer(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Where {
    /// Nothing but white space yet.
    Beginning,
    /// Behind the opening mark, before the first word.
    Opened,
    Thinking,
    /// Behind the closing mark, before the first word.
    Closed,
    Answer,
}

/// Tells thoughts from the answer in a text that comes in pieces. Only marks at the beginning count: an answer may speak of
/// `<think>`. The marks and the white space around them are left out.
#[derive(Debug, Clone)]
pub struct Thoughts {
    marks: Option<ThinkMarks>,
    at: Where,
    held: String,
}

impl Thoughts {
    /// `marks`: without them all is answer. `open`: the prompt has opened the thoughts already.
    pub fn new(marks: Option<ThinkMarks>, open: bool) -> Self {
        let at = match marks {
            None => Where::Answer,
            Some(_) if open => Where::Opened,
            Some(_) => Where::Beginning,
        };
        Self { marks, at, held: String::new() }
    }

    /// Whether thoughts have begun and not ended.
    pub fn thinking(&self) -> bool {
        matches!(self.at, Where::Opened | Where::Thinking)
    }

    /// Adds text; what is now told apart goes to `parts`.
    pub fn push(&mut self, text: &str, parts: &mut Vec<Utterance>) {
        self.held.push_str(text);
        while self.step(parts) {}
    }

    /// Ends the text: what was held back is what it seemed to be.
    pub fn finish(&mut self, parts: &mut Vec<Utterance>) {
        let held = std::mem::take(&mut self.held);
        match self.at {
            Where::Thinking => give(held.trim_end(), Utterance::Thought, parts),
            Where::Beginning | Where::Answer => give(&held, Utterance::Answer, parts),
            Where::Opened | Where::Closed => {}
        }
    }

    /// Goes one state on; false if more text is needed for that.
    fn step(&mut self, parts: &mut Vec<Utterance>) -> bool {
        let Some(marks) = self.marks else { return self.rest_is_answer(parts) };
        let words = self.held.trim_start();
        let begun = !words.is_empty();
        match self.at {
            Where::Beginning => {
                if let Some(after) = words.strip_prefix(marks.open) {
                    self.held = after.to_owned();
                    self.at = Where::Opened;
                    return true;
                }
                let may_open = marks.open.starts_with(words);
                if !may_open {
                    self.at = Where::Answer;
                }
                !may_open
            }
            Where::Opened | Where::Closed => {
                self.held = words.to_owned();
                match (begun, self.at) {
                    (false, _) => return false,
                    (true, Where::Opened) => self.at = Where::Thinking,
                    (true, _) => self.at = Where::Answer,
                }
                true
            }
            Where::Thinking => self.thought(marks, parts),
            Where::Answer => self.rest_is_answer(parts),
        }
    }

    fn rest_is_answer(&mut self, parts: &mut Vec<Utterance>) -> bool {
        give(&self.held, Utterance::Answer, parts);
        self.held.clear();
        false
    }

    /// Gives out thoughts up to the closing mark, or to where it, or white space before it, may have begun.
    fn thought(&mut self, marks: ThinkMarks, parts: &mut Vec<Utterance>) -> bool {
        let (end, after) = match find(&self.held, [marks.close].into_iter()) {
            Found::At(start, end) => (start, Some(end)),
            Found::From(at) => (at, None),
        };
        let thought = self.held.get(..end).unwrap_or_default().trim_end();
        let given = thought.len();
        give(thought, Utterance::Thought, parts);
        self.held.drain(..after.unwrap_or(given));
        if after.is_some() {
            self.at = Where::Closed;
        }
        after.is_some()
    }
}

fn give(text: &str, part: fn(String) -> Utterance, parts: &mut Vec<Utterance>) {
    if !text.is_empty() {
        parts.push(part(text.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THINK: ThinkMarks = ThinkMarks { open: "<think>", close: "</think>" };

    /// Thoughts and answer, with the text cut into pieces of `size` characters.
    fn apart(marks: Option<ThinkMarks>, open: bool, text: &str, size: usize) -> (String, String) {
        let mut thoughts = Thoughts::new(marks, open);
        let mut parts = Vec::new();
        let chars: Vec<char> = text.chars().collect();
        for piece in chars.chunks(size) {
            thoughts.push(&piece.iter().collect::<String>(), &mut parts);
        }
        thoughts.finish(&mut parts);
        let (mut thought, mut answer) = (String::new(), String::new());
        for part in parts {
            match part {
                Utterance::Thought(text) => thought.push_str(&text),
                Utterance::Answer(text) => answer.push_str(&text),
            }
        }
        (thought, answer)
    }

    #[test]
    fn thoughts_are_told_apart_wherever_pieces_end() {
        for size in 1..30 {
            let of = |open, text| apart(Some(THINK), open, text, size);
            let both = |thought: &str, answer: &str| (thought.to_owned(), answer.to_owned());
            assert_eq!(
                of(false, "<think>\nHm, é <b> \n\nso.\n</think>\n\nYes.\n"),
                both("Hm, é <b> \n\nso.", "Yes.\n")
            );
            assert_eq!(of(true, "Hm.</thin</think>Yes"), both("Hm.</thin", "Yes"));
            assert_eq!(of(false, "\n<think>\n\n</think>\n\nYes"), both("", "Yes"));
            assert_eq!(of(false, "<think>no end </th"), both("no end </th", ""));
            assert_eq!(
                of(false, "<thing> is no <think>x</think>"),
                both("", "<thing> is no <think>x</think>")
            );
            assert_eq!(of(false, "  plain"), both("", "  plain"));
            assert_eq!(of(false, "<thi"), both("", "<thi"));
            assert_eq!(apart(None, false, "<think>a</think>b", size), both("", "<think>a</think>b"));
        }
    }

    #[test]
    fn other_marks_and_their_answers() {
        let mistral = ThinkMarks { open: "[THINK]", close: "[/THINK]" };
        assert_eq!(apart(Some(mistral), false, "[THINK]a[/THINK]b", 2), ("a".into(), "b".into()));
        assert_eq!(THINK.answer_of("<think>\na\n</think>\n\nb c"), "b c");
        assert_eq!(THINK.answer_of("b <think>"), "b <think>");
        assert_eq!(THINK.answer_of("<think>never done"), "");
        assert!(THINK.left_open("<|assistant|><think>\n") && !THINK.left_open("<think>\n\n</think>\n\n"));
        assert_eq!(THINK.of_token(b"</think>"), Some("</think>"));
        assert_eq!(THINK.of_token(b"</think"), None);
    }
}
