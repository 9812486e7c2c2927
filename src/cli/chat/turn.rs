//! The last answer, what was thought of it, and how that is taken back.

use crate::cli::error::{CliError, CliResult};
use crate::cli::journal;
use crate::journal::{Entry, Feedback, Journal, JournalError};

/// The answer that stands in the conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shown {
    /// As the model gave it.
    pub(super) answer: String,
    /// It ended before its end.
    pub(super) cut: bool,
    /// The adapters that were on.
    pub(super) adapter: String,
    /// What the user wrote in its place.
    pub(super) edited: Option<String>,
    /// The entry with the judgement of it.
    verdict: Option<u64>,
}

impl Shown {
    /// A new answer of the model.
    pub(super) fn new(answer: &str, cut: bool, adapter: String) -> Self {
        Self { answer: answer.trim().to_owned(), cut, adapter, ..Self::default() }
    }

    /// As it stands in the conversation.
    pub(super) fn text(&self) -> &str {
        self.edited.as_deref().unwrap_or(&self.answer)
    }
}

/// An entry that was made of this turn.
#[derive(Debug)]
struct Given {
    id: u64,
    /// What stood in the conversation before.
    before: Shown,
}

/// The last answer in its conversation.
#[derive(Debug)]
pub(super) struct Turn {
    /// The conversation before the answer, as an entry has it.
    context: Entry,
    pub(super) shown: Shown,
    given: Vec<Given>,
}

impl Turn {
    pub(super) fn new(context: Entry, shown: Shown) -> Self {
        Self { context, shown, given: Vec::new() }
    }

    /// Writes a judgement of the answer, in place of the one before; then `edited` stands in its place.
    pub(super) fn judge(
        &mut self,
        journal: &mut Journal,
        feedback: Feedback,
        edited: Option<String>,
    ) -> Result<(), JournalError> {
        let earlier = self.shown.verdict;
        let id = self.write(journal, feedback, earlier)?;
        let replaced = self.given.iter().position(|given| Some(given.id) == earlier);
        let before = match replaced {
            Some(index) => self.given.remove(index).before,
            None => self.shown.clone(),
        };
        self.given.push(Given { id, before });
        (self.shown.edited, self.shown.verdict) = (edited, Some(id));
        Ok(())
    }

    /// Writes which of two answers was preferred; then `shown` stands in the conversation.
    pub(super) fn choose(
        &mut self,
        journal: &mut Journal,
        feedback: Feedback,
        shown: Shown,
    ) -> Result<(), JournalError> {
        let id = self.write(journal, feedback, None)?;
        let before = std::mem::replace(&mut self.shown, shown);
        self.given.push(Given { id, before });
        Ok(())
    }

    /// Takes the last entry back; false if there is none.
    pub(super) fn withdraw(&mut self, journal: &mut Journal) -> Result<bool, JournalError> {
        let Some(id) = self.given.last().map(|given| given.id) else { return Ok(false) };
        self.write(journal, Feedback::Withdrawn, Some(id))?;
        if let Some(given) = self.given.pop() {
            self.shown = given.before;
        }
        Ok(true)
    }

    fn write(
        &self,
        journal: &mut Journal,
        feedback: Feedback,
        supersedes: Option<u64>,
    ) -> Result<u64, JournalError> {
        journal.append(&Entry {
            time: journal::now(),
            feedback,
            supersedes,
            answer: self.shown.answer.clone(),
            cut: self.shown.cut,
            adapter: self.shown.adapter.clone(),
            ..self.context.clone()
        })
    }
}

/// The journal, or why there is none.
pub(super) type JournalOrWhy = Result<Journal, String>;

/// The journal, if there is one.
pub(super) fn writable(kept: &mut JournalOrWhy) -> CliResult<&mut Journal> {
    kept.as_mut().map_err(|why| CliError::failed(format!("there is no journal: {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Chosen, Said};

    fn turn() -> (tempfile::TempDir, Journal, Turn) {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path().join("j.jsonl")).unwrap();
        let context = Entry { messages: vec![Said::user("q")], ..Entry::default() };
        (folder, journal, Turn::new(context, Shown::new(" one\n", false, String::new())))
    }

    fn counting(journal: &Journal) -> Vec<(u64, &'static str, String)> {
        let entries = journal.read().unwrap().entries;
        entries.into_iter().map(|e| (e.id, e.feedback.name(), e.answer)).collect()
    }

    #[test]
    fn judgements_replace_each_other_and_choices_stand() {
        let (_folder, mut journal, mut turn) = turn();
        let edit = |text: &str| Feedback::Edit { better: text.into() };
        turn.judge(&mut journal, Feedback::Bad { why: None }, None).unwrap();
        turn.judge(&mut journal, edit("mine"), Some("mine".into())).unwrap();
        turn.judge(&mut journal, edit("MINE"), Some("MINE".into())).unwrap();
        assert_eq!((turn.shown.text(), turn.shown.answer.as_str()), ("MINE", "one"));
        assert_eq!(counting(&journal), [(3, "edit", "one".into())]);
        assert!(turn.withdraw(&mut journal).unwrap());
        // Back at the model's answer, with nothing thought of it.
        assert_eq!(turn.shown, Shown::new("one", false, String::new()));
        assert!(counting(&journal).is_empty());
        assert!(!turn.withdraw(&mut journal).unwrap());

        turn.judge(&mut journal, Feedback::Good, None).unwrap();
        let choice = Feedback::Choice { other: "two".into(), other_cut: true, chosen: Chosen::Other };
        turn.choose(&mut journal, choice, Shown::new("two", true, "poet".into())).unwrap();
        turn.judge(&mut journal, Feedback::Good, None).unwrap();
        let one = (5, "good", "one".to_owned());
        assert_eq!(counting(&journal), [one.clone(), (6, "choice", "one".into()), (7, "good", "two".into())]);
        assert!(turn.withdraw(&mut journal).unwrap() && turn.withdraw(&mut journal).unwrap());
        assert_eq!((turn.shown.text(), counting(&journal)), ("one", vec![one]));
        // Its judgement is known still: another one replaces it.
        turn.judge(&mut journal, Feedback::Bad { why: Some("no".into()) }, None).unwrap();
        assert_eq!(counting(&journal), [(10, "bad", "one".into())]);
        assert!(turn.withdraw(&mut journal).unwrap() && !turn.withdraw(&mut journal).unwrap());
    }
}
