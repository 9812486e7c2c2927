//! From a row to a question with the answers that are right.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::error::{Reason, RowError, shorten};
use super::fields::{Bounded, is_string, json_error, object, string, wrong};
use super::message::{Turns, conversation};
use super::row::{Chat, Row, from_object};
use crate::text::{Message, TemplateValue};

/// The most choices or accepted answers of a row.
const MAX_ANSWERS: usize = 26;

/// When an answer is right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Match {
    /// It is one of the accepted ones, but for case, white space and final punctuation.
    #[default]
    Exact,
    /// It contains one of them.
    Contains,
}

/// What a row asks.
#[derive(Debug)]
pub(super) enum Question {
    Text(String),
    Open { prompt: Prompt, reply: Option<String>, accepted: Vec<String>, how: Match },
    Choice { prompt: Prompt, choices: Vec<String>, answer: usize },
}

/// What comes before an answer.
#[derive(Debug)]
pub(super) enum Prompt {
    /// `gap` comes after it where there is no chat template.
    Text {
        text: String,
        gap: &'static str,
    },
    Chat {
        messages: Vec<Message>,
        tools: Option<TemplateValue>,
    },
}

#[derive(Deserialize)]
struct RawQuestion<'a> {
    #[serde(borrow)]
    question: Option<&'a RawValue>,
    #[serde(borrow)]
    prompt: Option<&'a RawValue>,
    #[serde(borrow)]
    completion: Option<&'a RawValue>,
    #[serde(borrow)]
    choices: Option<&'a RawValue>,
    #[serde(borrow)]
    answer: Option<&'a RawValue>,
    #[serde(borrow)]
    r#match: Option<&'a RawValue>,
}

/// The answer to be learnt of a question: a text, the first of a list of accepted ones, or one of `choices`.
pub(super) fn right_answer(choices: Option<&RawValue>, answer: &RawValue) -> Result<String, RowError> {
    match choices {
        Some(raw) => {
            let choices = strings(raw, "choices")?;
            let index = index_of(answer, &choices)?;
            Ok(choices.into_iter().nth(index).unwrap_or_default())
        }
        None if is_string(answer) => string(answer, "answer"),
        None => Ok(strings(answer, "answer")?.into_iter().next().unwrap_or_default()),
    }
}

/// Reads a row.
pub(super) fn parse(bytes: &[u8]) -> Result<Question, RowError> {
    let text = object(bytes)?;
    let raw: RawQuestion = serde_json::from_str(text).map_err(json_error)?;
    let answered = raw.answer.is_some() || raw.choices.is_some();
    let (prompt, reply) = match (raw.question, raw.prompt) {
        (Some(question), _) if answered => {
            (Prompt::Text { text: string(question, "question")?, gap: "\n" }, None)
        }
        (None, Some(prompt)) if answered && raw.completion.is_none() => (asked(prompt)?, None),
        _ => match from_object(text)? {
            Row::Text(text) if !answered => return Ok(Question::Text(text)),
            Row::Text(_) => {
                let what = "it has an answer and no question; give a question, a prompt or messages";
                return Err(RowError::new(Reason::UnknownShape, what));
            }
            Row::Pair { prompt, gap, completion } => (Prompt::Text { text: prompt, gap }, Some(completion)),
            Row::Chat(chat) => last_reply(chat, answered)?,
        },
    };
    match raw.choices {
        Some(choices) => choice(&raw, choices, prompt),
        None => open(&raw, prompt, reply),
    }
}

/// A prompt that is a string or a list of messages.
fn asked(prompt: &RawValue) -> Result<Prompt, RowError> {
    if is_string(prompt) {
        return Ok(Prompt::Text { text: string(prompt, "prompt")?, gap: "" });
    }
    Ok(Prompt::Chat { messages: conversation(prompt, "prompt", "user")?.messages, tools: None })
}

/// A conversation up to its last reply, and that reply.
fn last_reply(chat: Chat, answered: bool) -> Result<(Prompt, Option<String>), RowError> {
    let Chat { turns: Turns { mut messages, off }, train_from, tools } = chat;
    let says = |(m, off): (&Message, &bool)| m.role == "assistant" && !m.content.trim().is_empty() && !off;
    let last = messages.iter().zip(&off).rposition(says).filter(|&at| at >= train_from);
    // Where the row has answers of its own, a conversation that ends with the user's turn is the question.
    let last = last.filter(|&at| !answered || at + 1 == messages.len());
    let Some(last) = last else {
        if answered {
            return Ok((Prompt::Chat { messages, tools }, None));
        }
        let what = "the conversation has no reply of the assistant to compare with, and the row no answer";
        return Err(RowError::new(Reason::NothingToTrain, what));
    };
    messages.truncate(last + 1);
    let reply = messages.pop().map(|m| m.content);
    Ok((Prompt::Chat { messages, tools }, reply))
}

fn open(raw: &RawQuestion, prompt: Prompt, reply: Option<String>) -> Result<Question, RowError> {
    let how = how(raw)?;
    let accepted = match raw.answer {
        Some(answer) if is_string(answer) => vec![string(answer, "answer")?],
        Some(answer) => strings(answer, "answer")?,
        None => reply.iter().cloned().collect(),
    };
    if accepted.is_empty() || accepted.iter().any(|text| normalized(text).is_empty()) {
        let what = "an accepted answer has no letters or digits, or there is none";
        return Err(RowError::new(Reason::NothingToTrain, what));
    }
    // The whole reply is known where an accepted answer is one.
    let whole = || accepted.first().filter(|_| how == Match::Exact).cloned();
    let reply = reply.or_else(whole);
    Ok(Question::Open { prompt, reply, accepted, how })
}

fn how(raw: &RawQuestion) -> Result<Match, RowError> {
    let Some(wanted) = raw.r#match else { return Ok(Match::default()) };
    match string(wanted, "match")?.as_str() {
        "exact" => Ok(Match::Exact),
        "contains" => Ok(Match::Contains),
        other => {
            let what = format!("match is `{}`; known are exact and contains", shorten(other, 40));
            Err(RowError::new(Reason::WrongType, what))
        }
    }
}

fn choice(raw: &RawQuestion, choices: &RawValue, prompt: Prompt) -> Result<Question, RowError> {
    let choices = strings(choices, "choices")?;
    if choices.len() < 2 || choices.iter().any(|text| text.trim().is_empty()) {
        return Err(RowError::new(Reason::NothingToTrain, "a choice is empty, or there are fewer than two"));
    }
    let Some(raw_answer) = raw.answer else {
        return Err(RowError::new(Reason::UnknownShape, "it has choices and no answer"));
    };
    let answer = index_of(raw_answer, &choices)?;
    Ok(Question::Choice { prompt, choices, answer })
}

/// Which of the choices an answer names: by its text, by its letter, or by its index.
fn index_of(answer: &RawValue, choices: &[String]) -> Result<usize, RowError> {
    let found = if is_string(answer) {
        let text = string(answer, "answer")?;
        choices.iter().position(|choice| choice.trim() == text.trim()).or_else(|| letter(text.trim()))
    } else {
        answer.get().parse().ok()
    };
    found.filter(|&index| index < choices.len()).ok_or_else(|| {
        let (given, last) = (shorten(answer.get(), 40), choices.len().saturating_sub(1));
        let what =
            format!("answer {given} is neither a choice, nor its letter, nor its index from 0 to {last}");
        RowError::new(Reason::WrongType, what)
    })
}

/// `A` is the first choice.
fn letter(text: &str) -> Option<usize> {
    match text.as_bytes() {
        [letter @ b'A'..=b'Z'] => Some(usize::from(letter - b'A')),
        _ => None,
    }
}

fn strings(raw: &RawValue, key: &str) -> Result<Vec<String>, RowError> {
    if !raw.get().starts_with('[') {
        return Err(wrong(key, raw, "a string or a list of strings"));
    }
    let list: Bounded<String, MAX_ANSWERS> = serde_json::from_str(raw.get()).map_err(json_error)?;
    Ok(list.0)
}

/// A text for comparison: lower case, single blanks, without punctuation at its end.
pub fn normalized(text: &str) -> String {
    let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
    words
        .join(" ")
        .trim_end_matches(|c: char| !c.is_alphanumeric() && !matches!(c, ')' | ']' | '}' | '%'))
        .into()
}

impl Match {
    /// Whether `answer` is right. What a model thinks before it answers (up to `</think>`) does not count.
    pub fn accepts(self, answer: &str, accepted: &[String]) -> bool {
        let said = answer.rsplit_once("</think>").map_or(answer, |(_, said)| said);
        let said = normalized(said);
        accepted.iter().map(|text| normalized(text)).any(|text| match self {
            Match::Exact => said == text,
            Match::Contains => said.contains(&text),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(row: &str) -> Question {
        parse(row.as_bytes()).unwrap()
    }

    fn refused(row: &str) -> String {
        parse(row.as_bytes()).unwrap_err().detail
    }

    #[test]
    fn answers_are_compared_without_case_space_and_final_punctuation() {
        let yes = |how: Match, said: &str, accepted: &str| how.accepts(said, &[accepted.to_owned()]);
        assert!(yes(Match::Exact, " Paris.\n", "paris"));
        assert!(yes(Match::Exact, "The  Eiffel Tower!", "the eiffel\ntower"));
        assert!(!yes(Match::Exact, "It is Paris.", "Paris"));
        assert!(yes(Match::Contains, "It is Paris, of course.", "Paris."));
        assert!(!yes(Match::Contains, "It is Rome.", "Paris"));
        assert!(yes(Match::Exact, "<think>Rome? No.</think>\n\nParis", "Paris"));
        assert!(!yes(Match::Exact, "-5", "5"), "a sign counts");
        assert!(Match::Exact.accepts("NYC", &["New York".into(), "nyc".into()]));
        assert_eq!(normalized("?!"), "");
    }

    #[test]
    fn rows_of_every_shape_become_questions() {
        let open = |row: &str| match of(row) {
            Question::Open { prompt, reply, accepted, how } => (prompt, reply, accepted, how),
            other => panic!("{other:?}"),
        };
        let (prompt, reply, accepted, how) = open(r#"{"prompt": "Q", "completion": "A"}"#);
        assert!(matches!(prompt, Prompt::Text { text, gap: "" } if text == "Q"));
        assert_eq!((reply.as_deref(), accepted.len(), how), (Some("A"), 1, Match::Exact));
        let (_, reply, accepted, how) =
            open(r#"{"question": "Q", "answer": ["A", "B"], "match": "contains"}"#);
        assert_eq!((reply, accepted, how), (None, vec!["A".to_owned(), "B".to_owned()], Match::Contains));
        let (prompt, reply, ..) = open(r#"{"instruction": "I", "input": "J", "output": "A"}"#);
        assert!(matches!(prompt, Prompt::Text { text, gap: "\n" } if text == "I\nJ"));
        assert_eq!(reply.as_deref(), Some("A"));
        let turns = r#"{"role":"user","content":"Q"},{"role":"assistant","content":"A"},{"role":"user","content":"R"}"#;
        let (prompt, reply, ..) = open(&format!(r#"{{"messages": [{turns}]}}"#));
        assert!(matches!(prompt, Prompt::Chat { messages, .. } if messages.len() == 1));
        assert_eq!(reply.as_deref(), Some("A"));
        let (prompt, reply, accepted, _) = open(&format!(r#"{{"messages": [{turns}], "answer": "B"}}"#));
        assert!(matches!(prompt, Prompt::Chat { messages, .. } if messages.len() == 3));
        assert_eq!((reply.as_deref(), accepted), (Some("B"), vec!["B".to_owned()]));
        for answer in ["1", "\"y\"", "\"B\""] {
            let row = format!(r#"{{"question": "Q", "choices": ["x", "y"], "answer": {answer}}}"#);
            assert!(matches!(of(&row), Question::Choice { answer: 1, .. }), "{answer}");
        }
        assert!(matches!(of(r#"{"text": "T"}"#), Question::Text(_)));
    }

    #[test]
    fn rows_that_ask_nothing_say_why() {
        for (row, says) in [
            (r#"{"question": "Q", "choices": ["x", "y"], "answer": 2}"#, "0 to 1"),
            (r#"{"question": "Q", "choices": ["x", "y"], "answer": -1}"#, "0 to 1"),
            (r#"{"question": "Q", "choices": ["x"], "answer": 0}"#, "fewer than two"),
            (r#"{"question": "Q", "choices": ["x", "y"]}"#, "no answer"),
            (r#"{"question": "Q", "answer": "A", "match": "fuzzy"}"#, "fuzzy"),
            (r#"{"question": "Q", "answer": "?"}"#, "accepted"),
            (r#"{"question": "Q", "answer": 5}"#, "a number"),
            (r#"{"question": "Q"}"#, "known are"),
            (r#"{"text": "T", "answer": "A"}"#, "no question"),
            (r#"{"messages": [{"role":"user","content":"Q"}]}"#, "no reply"),
            ("[1]", "not an object"),
        ] {
            assert!(refused(row).contains(says), "{row}: {}", refused(row));
        }
        let many = format!(r#"{{"question": "Q", "answer": ["A"{}]}}"#, r#","A""#.repeat(30));
        assert!(refused(&many).contains("more than 26"), "{}", refused(&many));
    }
}
