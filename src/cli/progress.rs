//! Progress on stderr: a bar on a terminal, a few plain lines elsewhere.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::cli::pace::{self, Pace};
use crate::cli::show;
use crate::cli::store::Progress;
use crate::cli::term;

const BYTES: &str = "  {bar:BAR.cyan/dim} {decimal_bytes}/{decimal_total_bytes}  {wide_msg}";
const UNKNOWN: &str = "  {spinner} {decimal_bytes}  {elapsed}  {wide_msg}";
const ITEMS: &str = "  {phase}{bar:BAR.cyan/dim} {pos}/{len} {left}{wide_msg}";
/// Columns of a bar, by those of the terminal.
const BAR: [(usize, &str); 3] = [(110, "30"), (72, "16"), (0, "8")];
/// Plain lines come no more often than this.
const QUIET: Duration = Duration::from_secs(5);

/// A bar, or lines.
#[derive(Debug)]
pub struct Bar {
    bar: ProgressBar,
    terminal: bool,
    /// What is going on.
    phase: String,
    total: Option<u64>,
    pace: Arc<Mutex<Pace>>,
    last_line: Instant,
}

impl Bar {
    /// Nothing to show yet.
    pub fn new() -> Self {
        let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
        let now = Instant::now();
        Self {
            bar: ProgressBar::hidden(),
            terminal,
            phase: String::new(),
            total: None,
            pace: Arc::new(Mutex::new(Pace::new(0, now))),
            last_line: now,
        }
    }

    /// Counts things that are not bytes, such as tensors or windows, of one of several things that are done one after
    /// another; by its name.
    pub fn phase(name: &str, total: u64) -> Self {
        let mut bar = Self { phase: name.to_owned(), ..Self::new() };
        bar.show(Some(total), ITEMS);
        bar
    }

    fn show(&mut self, total: Option<u64>, template: &str) {
        self.total = total;
        self.last_line = Instant::now();
        self.begin_at(0);
        if !self.terminal {
            return;
        }
        let columns = term::columns(&std::io::stderr()).unwrap_or(80);
        let wide = BAR.iter().find(|(least, _)| columns >= *least).map_or("8", |(_, wide)| wide);
        self.bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template(&template.replace("BAR", wide)) {
            let (pace, phase) = (Arc::clone(&self.pace), self.phase.clone());
            let left = move |state: &ProgressState, out: &mut dyn std::fmt::Write| {
                let left = state.len().and_then(|total| held(&pace).left(total, Instant::now()));
                let _ = left.map_or(Ok(()), |left| write!(out, " {} left  ", pace::in_words(left)));
            };
            let phase = move |_: &ProgressState, out: &mut dyn std::fmt::Write| {
                let _ = if phase.is_empty() { Ok(()) } else { write!(out, "{phase} ") };
            };
            self.bar.set_style(style.with_key("left", left).with_key("phase", phase).progress_chars("█▌·"));
        }
        self.bar.enable_steady_tick(Duration::from_millis(120));
    }

    fn begin_at(&mut self, done: u64) {
        *held(&self.pace) = Pace::new(done, Instant::now());
    }

    /// So many are done now; what is said of the time left.
    fn passed(&mut self, done: u64) -> Option<String> {
        let now = Instant::now();
        let mut pace = held(&self.pace);
        pace.at(done, now);
        let left = self.total.and_then(|total| pace.left(total, now));
        left.map(|left| format!("{} left", pace::in_words(left)))
    }

    /// So many are done, and what is going on.
    pub fn item(&mut self, done: u64, message: &str) {
        let left = self.passed(done);
        self.bar.set_position(done);
        self.bar.set_message(show::line(message));
        if !self.terminal && self.last_line.elapsed() >= QUIET {
            self.last_line = Instant::now();
            let words =
                [self.phase.clone(), format!("{done}/{}", self.total.unwrap_or(done)), message.to_owned()];
            let said = words.into_iter().chain(left.map(|left| format!("({left})")));
            let said: Vec<String> = said.filter(|word| !word.is_empty()).collect();
            term::say(format!("  {}", said.join(" ")));
        }
    }

    /// What was done before counts as neither time nor rate.
    pub fn start_from(&mut self, done: u64) {
        self.bar.set_position(done);
        self.begin_at(done);
    }

    /// A line that stays, above the bar.
    pub fn say(&self, text: impl std::fmt::Display) {
        self.bar.suspend(|| term::say(text));
    }

    /// Takes the bar away.
    pub fn clear(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn held(pace: &Mutex<Pace>) -> MutexGuard<'_, Pace> {
    // It holds numbers alone: nobody leaves it in disorder.
    pace.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Default for Bar {
    fn default() -> Self {
        Self::new()
    }
}

impl Progress for Bar {
    fn begin(&mut self, from: &str, done: u64, total: Option<u64>) {
        let resumed = if done > 0 { format!(", from byte {done} on") } else { String::new() };
        term::say(format!("fetching from {from}{resumed}"));
        self.show(total, if total.is_some() { BYTES } else { UNKNOWN });
        self.start_from(done);
    }

    fn at(&mut self, done: u64) {
        let left = self.passed(done);
        let rate = held(&self.pace).rate().map(|rate| format!("{}/s", term::bytes(rate as u64)));
        let said: Vec<String> = rate.into_iter().chain(left).collect();
        self.bar.set_message(said.join("  "));
        self.bar.set_position(done);
        if !self.terminal && self.last_line.elapsed() >= QUIET {
            self.last_line = Instant::now();
            let of = self.total.map(|t| format!(" of {}", term::bytes(t))).unwrap_or_default();
            term::say(format!("  {}{of}  {}", term::bytes(done), said.join("  ")).trim_end());
        }
    }

    fn end(&mut self) {
        self.clear();
    }

    fn note(&mut self, text: &str) {
        self.bar.suspend(|| term::say(format!("  {text}")));
    }
}
