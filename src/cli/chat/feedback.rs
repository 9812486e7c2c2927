//! `/good`, `/bad`, `/edit`, `/again`, `/withdraw` and `/journal`.

use super::input::Input;
use super::turn::{JournalOrWhy, Shown, Turn, writable};
use super::{ChatArgs, Terminal};
use crate::cli::error::{CliError, CliResult};
use crate::cli::term::{self, Paint};
use crate::cli::{journal, live, lora, show};
use crate::journal::{Chosen, Entry, Feedback, Journal, Said};

const NOTHING: &str = "there is no answer to judge yet";
const OWN: &str = "this answer is your own; /withdraw brings the model's back";

/// The journal of a chat. The default one may be missing: the chat works without.
pub(super) fn open(args: &ChatArgs) -> CliResult<JournalOrWhy> {
    if args.no_journal {
        return Ok(Err("--no-journal was given".into()));
    }
    let opened = journal::place(args.journal.as_deref()).and_then(|path| Ok(Journal::open(path)?));
    match opened {
        Ok(opened) => {
            journal::warn_of_problems(opened.path(), opened.opened());
            Ok(Ok(opened))
        }
        Err(error) if args.journal.is_some() => Err(error),
        Err(error) => {
            term::warn(format!("without a journal: {error}"));
            Ok(Err(error.what))
        }
    }
}

impl Terminal<'_> {
    /// Notes the answer just given, so that it can be judged.
    pub(super) fn note(&mut self, messages: Vec<Said>, shown: Shown) {
        let context = Entry {
            model: self.chat.model().config().name.clone(),
            base: self.base.short().to_owned(),
            system: self.chat.conversation.talk.system.clone(),
            messages,
            ..Entry::default()
        };
        self.turn = Some(Turn::new(context, shown));
    }

    /// The adapters that are on, in words.
    pub(super) fn adapters_in_words(&self) -> String {
        self.chat.session().map_or_else(|_| String::new(), |session| lora::in_words(session.adapters()))
    }

    /// What was thought of the last answer; the conversation goes on whatever comes of it.
    pub(super) fn feedback(&mut self, name: &str, rest: &str, input: &mut Input) -> CliResult {
        let done = match name {
            "good" => self.judge(Feedback::Good),
            "bad" => self.judge(Feedback::Bad { why: (!rest.is_empty()).then(|| rest.to_owned()) }),
            "edit" => self.edit(rest, input),
            "again" => return self.again(input),
            _ => self.withdraw(),
        };
        match done {
            Ok(said) => term::say(said),
            Err(error) => error.print(),
        }
        Ok(())
    }

    fn judge(&mut self, feedback: Feedback) -> CliResult<String> {
        let turn = self.turn.as_mut().ok_or_else(|| CliError::failed(NOTHING))?;
        if turn.shown.edited.is_some() {
            return Err(CliError::failed(OWN));
        }
        let said = format!("noted: {}", feedback.name());
        turn.judge(writable(&mut self.journal)?, feedback, None)?;
        Ok(said)
    }

    /// The better answer takes the place of the model's.
    fn edit(&mut self, rest: &str, input: &mut Input) -> CliResult<String> {
        let marks = self.chat.conversation.voice().marks();
        let spoken = |text| marks.map_or(text, |marks| marks.answer_of(text));
        let turn = self.turn.as_mut().ok_or_else(|| CliError::failed(NOTHING))?;
        let kept = writable(&mut self.journal)?;
        let better = match rest {
            "" => input.ask("better: ", spoken(turn.shown.text()))?.unwrap_or_default(),
            text => text.to_owned(),
        };
        let better = better.trim();
        if better.is_empty() || [turn.shown.text(), spoken(turn.shown.text())].contains(&better) {
            return Ok("left as it was".into());
        }
        if [&turn.shown.answer, spoken(&turn.shown.answer)].contains(&better) {
            return Err(CliError::failed(
                "this is the model's own answer; /withdraw brings it back, /good praises it",
            ));
        }
        turn.judge(kept, Feedback::Edit { better: better.to_owned() }, Some(better.to_owned()))?;
        self.chat.conversation.talk.say_instead(better);
        Ok("noted: edit; your answer stands in the conversation".into())
    }

    fn withdraw(&mut self) -> CliResult<String> {
        let turn = self.turn.as_mut().ok_or_else(|| CliError::failed(NOTHING))?;
        if !turn.withdraw(writable(&mut self.journal)?)? {
            return Err(CliError::failed("there is nothing to take back of this answer"));
        }
        self.chat.conversation.talk.say_instead(turn.shown.text());
        Ok("taken back".into())
    }

    /// Answers once more, and asks which answer is better.
    fn again(&mut self, input: &mut Input) -> CliResult {
        let refused = match &self.turn {
            None => Some(NOTHING),
            Some(turn) if turn.shown.edited.is_some() => Some(OWN),
            Some(_) if self.chat.conversation.manner.sampler.temperature == 0.0 => {
                Some("at temperature 0 the answer is always the same; --temp takes a higher one")
            }
            Some(_) => None,
        };
        let refused = refused.map(CliError::failed).or_else(|| writable(&mut self.journal).err());
        if let Some(error) = refused {
            error.print();
            return Ok(());
        }
        let Some(first) = self.chat.conversation.talk.messages.last().cloned() else { return Ok(()) };
        let Some(second) = self.second(&first.content, input.interactive())? else { return Ok(()) };
        match self.choose(second, input) {
            Ok(said) => term::say(said),
            Err(error) => error.print(),
        }
        Ok(())
    }

    /// Another answer to the same question; none if it was stopped or says the same.
    fn second(&mut self, first: &str, interactive: bool) -> CliResult<Option<Shown>> {
        let paint = Paint::stderr();
        let spoken = self.chat.conversation.voice().marks().map_or(first, |marks| marks.answer_of(first));
        term::say(format!("{}\n{spoken}\n{}", paint.bold("answer 1:"), paint.bold("answer 2:")));
        let answer = self.show(interactive, |chat, listener| chat.answer_again(listener))??;
        if answer.interrupted {
            term::say("stopped; the first answer stays");
            return if interactive { Ok(None) } else { Err(CliError::interrupted()) };
        }
        let second = Shown::new(&answer.text, answer.cut(), self.adapters_in_words());
        if second.answer == first {
            term::say("the same answer came again");
            return Ok(None);
        }
        Ok(Some(second))
    }

    fn choose(&mut self, second: Shown, input: &mut Input) -> CliResult<String> {
        let chosen = loop {
            let said = input.ask("which is better, 1, 2 or neither? ", "")?.unwrap_or_default();
            match said.trim().to_lowercase().as_str() {
                "1" => break Chosen::Answer,
                "2" => break Chosen::Other,
                "n" | "neither" | "" => return Ok("neither; the first answer stays".into()),
                other if input.interactive() => term::say(format!("`{other}` is not 1, 2 or neither")),
                other => {
                    let what = format!("`{other}` is not 1, 2 or neither; the first answer stays");
                    return Err(CliError::failed(what));
                }
            }
        };
        let turn = self.turn.as_mut().ok_or_else(|| CliError::failed(NOTHING))?;
        let feedback = Feedback::Choice { other: second.answer.clone(), other_cut: second.cut, chosen };
        let shown = if chosen == Chosen::Other { second } else { turn.shown.clone() };
        turn.choose(writable(&mut self.journal)?, feedback, shown)?;
        self.chat.conversation.talk.say_instead(turn.shown.text());
        Ok(format!("noted: choice; answer {} stands", if chosen == Chosen::Other { 2 } else { 1 }))
    }

    /// Where the journal is and how much of it there is.
    pub(super) fn say_journal(&mut self) -> CliResult {
        let kept = writable(&mut self.journal)?;
        let reading = kept.read()?;
        journal::warn_of_problems(kept.path(), &reading);
        let all = reading.entries.len();
        let mine: Vec<&Entry> = reading.entries.iter().filter(|e| e.base == self.base.short()).collect();
        let others = match all - mine.len() {
            0 => String::new(),
            n => format!(", and {n} of other models"),
        };
        let path = show::path(kept.path());
        let new = match live::open(&self.base) {
            Ok(live) => format!(", {} not learnt yet", live.cursor().count_new(mine.iter().copied())),
            Err(error) => {
                term::warn(format!("what was learnt cannot be read: {error}"));
                String::new()
            }
        };
        term::say(format!("{path}: {} of this model{new}{others}", journal::entries(mine.len())));
        Ok(())
    }
}
