//! Progress on stderr: a bar on a terminal, a few plain lines elsewhere.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::show;
use crate::cli::store::Progress;
use crate::cli::term;

const BYTES: &str =
    "  {bar:30.cyan/dim} {decimal_bytes}/{decimal_total_bytes}  {decimal_bytes_per_sec}  {eta} left";
const UNKNOWN: &str = "  {spinner} {decimal_bytes}  {elapsed}";
const ITEMS: &str = "  {bar:30.cyan/dim} {pos}/{len} {msg}  {eta} left";
/// Plain lines come no more often than this.
const QUIET: Duration = Duration::from_secs(5);

/// A bar, or lines.
#[derive(Debug)]
pub struct Bar {
    bar: ProgressBar,
    terminal: bool,
    total: Option<u64>,
    last_line: Instant,
}

impl Bar {
    /// Nothing to show yet.
    pub fn new() -> Self {
        let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
        Self { bar: ProgressBar::hidden(), terminal, total: None, last_line: Instant::now() }
    }

    /// Counts things that are not bytes: tensors, windows.
    pub fn items(total: u64) -> Self {
        let mut bar = Self::new();
        bar.show(Some(total), ITEMS);
        bar
    }

    fn show(&mut self, total: Option<u64>, template: &str) {
        self.total = total;
        self.last_line = Instant::now();
        if !self.terminal {
            return;
        }
        self.bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style.progress_chars("█▌·"));
        }
        self.bar.enable_steady_tick(Duration::from_millis(120));
    }

    /// So many are done, and what is going on.
    pub fn item(&mut self, done: u64, message: &str) {
        self.bar.set_message(show::line(message));
        self.bar.set_position(done);
        if !self.terminal && self.last_line.elapsed() >= QUIET {
            self.last_line = Instant::now();
            let line = format!("  {done}/{} {message}", self.total.unwrap_or(done));
            term::say(line.trim_end());
        }
    }

    /// What was done before counts as neither time nor rate.
    pub fn start_from(&mut self, done: u64) {
        self.bar.set_position(done);
        self.bar.reset_eta();
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
        self.bar.set_position(done);
        self.bar.reset_eta();
    }

    fn at(&mut self, done: u64) {
        self.bar.set_position(done);
        if !self.terminal && self.last_line.elapsed() >= QUIET {
            self.last_line = Instant::now();
            let of = self.total.map(|t| format!(" of {}", term::bytes(t))).unwrap_or_default();
            term::say(format!("  {}{of}", term::bytes(done)));
        }
    }

    fn end(&mut self) {
        self.clear();
    }

    fn note(&mut self, text: &str) {
        self.bar.suspend(|| term::say(format!("  {text}")));
    }
}
