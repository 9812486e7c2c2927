//! `/learn`, `/remember` and `/forget` in a conversation.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::input::Input;
use super::turn::writable;
use super::{Terminal, talk};
use crate::chat::Scaled;
use crate::cli::adapt::{self, LearnArgs, What};
use crate::cli::adapter::print_figures;
use crate::cli::error::{CliError, CliResult};
use crate::cli::lora::{self, Loaded};
use crate::cli::store::Home;
use crate::cli::term::{self, Paint};
use crate::cli::{journal, live, memory, show};
use crate::io::private;
use crate::journal::{Entry, Feedback};
use crate::learn::memory::mentions;
use crate::learn::{FactReport, Outcome, recall};

/// Learning that goes on in a process of its own.
pub(super) struct Background {
    child: Child,
    log: PathBuf,
    /// The version that was live when it began.
    before: u64,
}

impl Terminal<'_> {
    /// Learns what was noted and goes on with what came of it; an error is one after which the conversation cannot go on.
    pub(super) fn learn(&mut self, how: &str, input: &mut Input) -> CliResult {
        if how == "background" {
            self.learn_aside().unwrap_or_else(|error| error.print());
            return Ok(());
        }
        if !how.is_empty() {
            term::say("/learn learns now; `/learn background` while the conversation goes on");
            return Ok(());
        }
        let safe = self.keep_safe();
        // Two models at once would need twice the memory.
        self.chat.sleep();
        let learnt = self.learn_from_journal(input);
        let wanted = match learnt {
            Ok(true) => self.with_live(),
            Ok(false) => self.chat.adapters().to_vec(),
            Err(error) => {
                error.print();
                self.chat.adapters().to_vec()
            }
        };
        self.boot_again(wanted)?;
        self.say_adapters();
        if let Some(file) = safe {
            drop(file);
            // The conversation goes on.
            let _ = interrupted().map(std::fs::remove_file);
        }
        Ok(())
    }

    /// Whether there is something new.
    fn learn_from_journal(&mut self, input: &mut Input) -> CliResult<bool> {
        let path = journal::place(self.args.journal.as_deref())?;
        let (what, args) = (What::default(), LearnArgs::default());
        let learner = adapt::open(self.chat.model(), &self.base, path, &what, &args)?;
        adapt::say_summary(learner.lesson());
        if let Some(why) = adapt::why_not(&learner, &what) {
            term::say(why);
            return Ok(false);
        }
        term::say(
            Paint::stderr().dim(format!("{}; Ctrl-C ends it and changes nothing", adapt::takes(&args))),
        );
        let few = learner.lesson().fresh() < adapt::FEW && learner.lesson().forget.is_empty();
        if few && input.interactive() && !yes(input, "that is little to learn from; learn now? [Y/n] ", true)?
        {
            return Ok(false);
        }
        match adapt::learn(learner, &args, &self.args.device)? {
            Outcome::Learnt(report) => {
                let mut log = term::log();
                adapt::print_facts(&mut log, &report.facts)?;
                print_figures(&mut log, &report.version.figures)?;
                adapt::say_learnt(&report);
                self.offer_memory(&report.facts, input)?;
                Ok(true)
            }
            Outcome::Refused(refusal) => {
                let facts = refusal.facts.clone();
                adapt::unlearnt(Outcome::Refused(refusal))?.print();
                self.offer_memory(&facts, input)?;
                Ok(false)
            }
            Outcome::Ended => {
                term::say("stopped: nothing was changed");
                Ok(false)
            }
        }
    }

    /// What could not be learnt can be remembered word for word.
    fn offer_memory(&mut self, facts: &[FactReport], input: &mut Input) -> CliResult {
        for fact in adapt::missed(facts) {
            let fact = show::line(&fact.answer);
            if !input.interactive() {
                term::say(format!("not learnt; `/remember {fact}` puts it into the prompt"));
            } else if yes(input, &format!("not learnt: {fact} Keep it in the prompt instead? [Y/n] "), true)?
            {
                self.remember(&fact);
            }
        }
        Ok(())
    }

    /// The adapters of the chat, with what is live now in the place of what was.
    fn with_live(&self) -> Vec<Scaled> {
        let others = self.chat.adapters().iter().filter(|(adapter, _)| !adapter.name.starts_with(live::NAME));
        let live: Vec<Loaded> = live::by_default(self.chat.model().file()).into_iter().collect();
        lora::scales(live).into_iter().chain(others.cloned()).collect()
    }

    /// Learns in a process of its own, at a third of the machine, while the conversation goes on.
    fn learn_aside(&mut self) -> CliResult {
        if self.background.is_some() {
            return Err(CliError::failed("it is learning already"));
        }
        let log = Home::find()?.data.join("learn.log");
        if let Some(folder) = log.parent() {
            private::make_folders(folder).map_err(|e| CliError::file(folder, &e))?;
        }
        let open = || private::options().write(true).create(true).truncate(true).open(&log);
        let out = open().map_err(|e| CliError::file(&log, &e))?;
        let err = out.try_clone().map_err(|e| CliError::file(&log, &e))?;
        let path = journal::place(self.args.journal.as_deref())?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("adapt").arg("-m").arg(self.chat.model().path()).arg("--journal").arg(path);
        command.args(["--yes", "--duty", "30%", "--device", &self.args.device.device]);
        if let Some(threads) = self.args.device.threads {
            command.args(["-t", &threads.to_string()]);
        }
        #[cfg(unix)]
        {
            // Ctrl-C in the chat stops an answer, not the learning.
            use std::os::unix::process::CommandExt;
            command.process_group(0);
        }
        let child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn()?;
        let before = live::open(&self.base)?.current().map_or(0, |version| version.number);
        self.background = Some(Background { child, log, before });
        term::say("learning in the background; go on, the new version is offered when it is ready");
        Ok(())
    }

    /// Whether learning in the background has ended; what came of it is said, and a new version offered.
    pub(super) fn look_aside(&mut self, input: &mut Input) -> CliResult {
        let Some(aside) = &mut self.background else { return Ok(()) };
        let Some(status) = aside.child.try_wait()? else { return Ok(()) };
        let (log, before) = (aside.log.clone(), aside.before);
        self.background = None;
        let now = live::open(&self.base)?.current().map_or(0, |version| version.number);
        if now <= before {
            let code = status.code().unwrap_or(-1);
            let ended = if code == 0 { "there was nothing to learn" } else { "nothing was learnt" };
            term::say(format!("{ended}; {} says why", log.display()));
            return Ok(());
        }
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let told = text.lines().rev().find(|line| line.starts_with("recalled ")).map(show::line);
        term::say(format!(
            "version {now} is ready{}",
            told.map_or(String::new(), |told| format!(": {told}"))
        ));
        if input.interactive() && !yes(input, "use it from here on? [Y/n] ", true)? {
            term::say("`/adapter live` switches to it later");
            return Ok(());
        }
        let wanted = self.with_live();
        self.boot_again(wanted)?;
        self.say_adapters();
        Ok(())
    }

    /// Puts a line into the memory, and so into the prompt from the next message on.
    pub(super) fn remember(&mut self, line: &str) {
        let done = (|| -> CliResult<String> {
            if line.is_empty() {
                return Err(CliError::failed("/remember needs what is to be remembered"));
            }
            let mut memory = memory::open()?;
            let new = memory.add(line)?;
            self.put_into_prompt(&memory);
            Ok(if new { "remembered".into() } else { "that is remembered already".into() })
        })();
        match done {
            Ok(said) => term::say(said),
            Err(error) => error.print(),
        }
    }

    /// Forgets what is about something: in the memory now, and in what was learnt when it is learnt next.
    pub(super) fn forget(&mut self, about: &str, input: &mut Input) -> CliResult {
        match self.forget_about(about, input) {
            Ok(said) => term::say(said),
            Err(error) => error.print(),
        }
        Ok(())
    }

    fn forget_about(&mut self, about: &str, input: &mut Input) -> CliResult<String> {
        let about = about.trim().trim_start_matches("that ").trim_end_matches('.');
        if about.is_empty() {
            return Err(CliError::failed("/forget needs a word or two of what is to be forgotten"));
        }
        let mut memory = memory::open()?;
        let gone = memory.forget(about)?;
        self.put_into_prompt(&memory);
        let kept = writable(&mut self.journal)?;
        let base = self.base.short().to_owned();
        let told = |entry: &Entry| -> Option<(u64, String)> {
            let (question, answer) = recall::fact(entry)?;
            let text = format!("{question} {answer}");
            (entry.base == base && (mentions(&text, about) || mentions(about, answer)))
                .then_some((entry.id, text))
        };
        let facts: Vec<(u64, String)> = kept.read()?.entries.iter().filter_map(told).collect();
        let mut withdrawn = 0;
        for (id, text) in facts {
            let text = show::line(&text);
            if input.interactive() && !yes(input, &format!("forget: {text} [Y/n] "), true)? {
                continue;
            }
            let entry = Entry {
                time: journal::now(),
                base: base.clone(),
                feedback: Feedback::Withdrawn,
                supersedes: Some(id),
                ..Entry::default()
            };
            writable(&mut self.journal)?.append(&entry)?;
            withdrawn += 1;
        }
        Ok(match (gone.len(), withdrawn) {
            (0, 0) => "nothing is known about that".into(),
            (lines, 0) => format!("{lines} taken out of the memory"),
            (0, facts) => format!("{facts} taken back; /learn makes the model forget it"),
            (lines, facts) => {
                format!(
                    "{lines} taken out of the memory, {facts} taken back; /learn makes the model forget it"
                )
            }
        })
    }

    /// Writes the conversation where the next start finds it. The file is locked while it is another's.
    fn keep_safe(&self) -> Option<File> {
        let path = interrupted()?;
        let talk = &self.chat.conversation.talk;
        if talk.messages.is_empty() {
            return None;
        }
        let name = &self.chat.model().config().name;
        let kept = talk::save(talk, &path, name).and_then(|()| Ok(File::open(&path)?));
        match kept {
            Ok(file) => {
                let _ = file.try_lock();
                Some(file)
            }
            Err(error) => {
                term::warn(format!("the conversation is not kept: {error}"));
                None
            }
        }
    }

    /// Takes up a conversation that was cut off while the model learnt, unless another was asked for.
    pub(super) fn take_up(&mut self) {
        let Some(path) = interrupted().filter(|path| path.exists()) else { return };
        let in_use = File::open(&path).is_ok_and(|file| file.try_lock().is_err());
        if in_use || !self.chat.conversation.talk.messages.is_empty() {
            return;
        }
        match talk::load(&path) {
            Ok(talk) => {
                let count = talk.messages.len();
                self.chat.conversation.talk = talk;
                term::say(format!(
                    "going on with the conversation that was cut off while learning ({count} messages; /reset forgets it)"
                ));
                let _ = std::fs::remove_file(path);
            }
            Err(error) => term::warn(format!("the conversation that was cut off: {error}")),
        }
    }
}

/// Where a conversation lies while the model learns.
fn interrupted() -> Option<PathBuf> {
    Home::find().ok().map(|home| home.data.join("conversation.json"))
}

fn yes(input: &mut Input, question: &str, default: bool) -> CliResult<bool> {
    let answer = input.ask(question, "")?.map(|text| text.trim().to_lowercase());
    Ok(match answer.as_deref() {
        None => false,
        Some("") => default,
        Some(text) => text.starts_with('y'),
    })
}
