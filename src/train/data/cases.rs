//! Rows for evaluation: texts to be predicted, questions with their answers, and multiple choice.

use std::fs::File;
use std::path::Path;

use super::encode::{Encoder, Sequence};
use super::error::{DataError, Reason, RowError};
use super::example::{Example, Source};
use super::load::{begin, bytes_of, io_error};
use super::message::Turns;
use super::note::Notes;
use super::question::{self, Match, Prompt, Question};
use super::read::{Elements, Format, Lines, Piece};
use super::report::Report;
use super::row::{Chat, Row};
use crate::text::Message;

/// What a model is to be judged on.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// The line on which its row begins, from 1.
    pub line: u64,
    /// What it asks.
    pub kind: CaseKind,
}

/// Tokens, and which of them count.
pub type Marked = (Vec<u32>, Vec<bool>);

/// Kinds of cases. Of an [`Example`], the tokens marked are those whose probability counts.
#[derive(Clone, Debug, PartialEq)]
pub enum CaseKind {
    /// Windows of a text.
    Text(Vec<Example>),
    /// A question that the model answers in its own words.
    Answer {
        /// The question, for people.
        question: String,
        /// Tokens to be continued.
        prompt: Vec<u32>,
        /// The prompt and the expected reply with its end of turn, where the whole reply is known.
        reply: Option<Example>,
        /// Answers that are right.
        accepted: Vec<String>,
        /// When one is.
        how: Match,
    },
    /// A question with choices.
    Choice {
        /// The question, for people.
        question: String,
        /// Tokens that come before each choice, kept once.
        shared: Vec<u32>,
        /// What follows them with each choice as the reply: its tokens, and which are the choice's own (its end of turn
        /// does not count).
        choices: Vec<Marked>,
        /// The choices, for people.
        texts: Vec<String>,
        /// Which is right, from 0.
        answer: usize,
    },
}

/// Reads at most `limit` cases from JSON lines, or from a JSON array. Rows are those of [`Dataset`](super::Dataset), and
/// `question` (or `prompt`, or `messages`) with `answer` (a string, or a list of accepted ones), `match` (`exact` or
/// `contains`), and `choices`. What is too long for the encoder's greatest length is skipped and reported, or, in strict
/// mode, an error; texts are cut into windows.
///
/// # Errors
/// [`DataError`]: a file that cannot be read; in strict mode, the first bad row.
pub fn read_cases(
    path: &Path,
    encoder: &Encoder<'_>,
    limit: usize,
) -> Result<(Vec<Case>, Report), DataError> {
    let failed = |e| io_error(path, e);
    let (format, reader) = begin(path, File::open(path).map_err(failed)?)?;
    let mut into = Into { path, encoder, cases: Vec::new(), report: Report::default() };
    match format {
        Format::Lines => {
            let mut rows = Lines::new(reader);
            while into.cases.len() < limit
                && let Some((line, piece)) = rows.next().map_err(failed)?
            {
                into.piece(line, piece)?;
            }
        }
        Format::Array => {
            let mut rows = Elements::new(reader);
            while into.cases.len() < limit
                && let Some((line, piece)) = rows.next().map_err(failed)?
            {
                into.piece(line, piece)?;
            }
        }
        Format::Text => return Err(DataError::NotRows { path: path.to_owned() }),
    }
    Ok((into.cases, into.report))
}

/// Where rows of a file go.
struct Into<'a, 'm> {
    path: &'a Path,
    encoder: &'a Encoder<'m>,
    cases: Vec<Case>,
    report: Report,
}

impl Into<'_, '_> {
    fn piece(&mut self, line: u64, piece: Piece<'_>) -> Result<(), DataError> {
        self.report.rows += 1;
        let mut notes = Notes::new();
        let kind = match piece {
            // Blank lines between rows ask nothing.
            Piece::Row(bytes) if bytes.iter().all(u8::is_ascii_whitespace) => return Ok(()),
            piece => {
                bytes_of(piece).and_then(question::parse).and_then(|asked| self.case(asked, line, &mut notes))
            }
        };
        match kind {
            Ok(kind) => {
                self.report.examples += 1;
                self.report.note(self.path, line, notes);
                self.cases.push(Case { line, kind });
            }
            Err(error) => self.report.skip(self.path, line, error, self.encoder.options().strict)?,
        }
        Ok(())
    }

    fn case(&self, question: Question, line: u64, notes: &mut Notes) -> Result<CaseKind, RowError> {
        match question {
            Question::Text(text) => self.windows(&text, line),
            Question::Open { prompt, reply, accepted, how } => {
                let prompt = self.as_chat(prompt);
                let reply = match reply.map(|reply| self.reply(&prompt, &reply, line)).transpose() {
                    // Where the model thinks first, an answer alone is not its whole reply.
                    Err(error) if error.reason == Reason::PrefixBroken => None,
                    reply => reply?,
                };
                let tokens = self.encoder.asked(&prompt, notes)?;
                Ok(CaseKind::Answer { question: in_words(&prompt), prompt: tokens, reply, accepted, how })
            }
            Question::Choice { prompt, choices, answer } => {
                let prompt = self.as_chat(prompt);
                let encoded = choices.iter().map(|choice| self.choice(&prompt, choice, line));
                let encoded = encoded.collect::<Result<Vec<_>, _>>()?;
                let (shared, encoded) = without_shared(encoded);
                Ok(CaseKind::Choice {
                    question: in_words(&prompt),
                    shared,
                    choices: encoded,
                    texts: choices,
                    answer,
                })
            }
        }
    }

    /// With a chat template every prompt is a conversation.
    fn as_chat(&self, prompt: Prompt) -> Prompt {
        match prompt {
            Prompt::Text { text, .. }
                if self.encoder.template.is_some() && !self.encoder.is_templated(&text) =>
            {
                Prompt::Chat { messages: vec![Message::new("user", text)], tools: None }
            }
            other => other,
        }
    }

    /// A prompt with a reply, of which the reply counts.
    fn reply(&self, prompt: &Prompt, reply: &str, line: u64) -> Result<Example, RowError> {
        let row = match prompt {
            Prompt::Text { text, gap } => {
                Row::Pair { prompt: text.clone(), gap, completion: reply.to_owned() }
            }
            Prompt::Chat { messages, tools } => {
                let mut turns = Turns::from(messages.clone());
                let train_from = turns.messages.len();
                turns.push(Message::new("assistant", reply), false);
                Row::Chat(Chat { turns, train_from, tools: tools.clone() })
            }
        };
        let sequence = self.encoder.encode(row).into_iter().next();
        let nothing = || Err(RowError::new(Reason::NothingToTrain, "the reply is empty"));
        sequence.unwrap_or_else(nothing).map(|sequence| example(sequence, line))
    }

    /// A prompt with a choice, of which the choice's own tokens count.
    fn choice(&self, prompt: &Prompt, choice: &str, line: u64) -> Result<Example, RowError> {
        let mut example = self.reply(prompt, choice, line)?;
        for (token, marked) in example.tokens.iter().zip(&mut example.trained) {
            *marked &= !self.encoder.tokenizer.is_eog(*token);
        }
        Ok(example)
    }

    /// All of a text in windows, each with something to predict.
    fn windows(&self, text: &str, line: u64) -> Result<CaseKind, RowError> {
        let Sequence { tokens, .. } = self.encoder.text(text)?;
        let windows = tokens.chunks(self.encoder.options().max_len).filter(|window| window.len() >= 2);
        let whole = |window: &[u32]| example(self.encoder.whole(window.to_vec()), line);
        let windows: Vec<Example> = windows.map(whole).collect();
        if windows.is_empty() {
            return Err(RowError::new(Reason::NothingToTrain, "no token of it is predicted from another"));
        }
        Ok(CaseKind::Text(windows))
    }
}

/// What all choices begin with, and the rest of each. The first marked token is never shared.
fn without_shared(choices: Vec<Example>) -> (Vec<u32>, Vec<Marked>) {
    let first = choices.first().map(|example| example.tokens.clone()).unwrap_or_default();
    let common = |example: &Example| {
        let unmarked = example.trained.iter().take_while(|marked| !**marked).count();
        first.iter().zip(&example.tokens).take(unmarked).take_while(|(a, b)| a == b).count()
    };
    let shared = choices.iter().map(common).min().unwrap_or(0);
    let rest = choices.into_iter().map(|mut e| (e.tokens.split_off(shared), e.trained.split_off(shared)));
    let rest = rest.collect();
    (first.into_iter().take(shared).collect(), rest)
}

fn example(sequence: Sequence, line: u64) -> Example {
    Example::new(sequence.tokens, sequence.trained, Source { file: 0, line })
}

/// What is asked last.
fn in_words(prompt: &Prompt) -> String {
    match prompt {
        Prompt::Text { text, .. } => text.clone(),
        Prompt::Chat { messages, .. } => messages.last().map(|m| m.content.clone()).unwrap_or_default(),
    }
}
