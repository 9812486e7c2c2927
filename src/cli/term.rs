//! The terminal: colour where it is wanted, sizes for people, lines on stderr.

use std::fmt::Display;
use std::io::{IsTerminal, StdoutLock, Write};

use crate::cli::screen::{Screen, painted, shown};
use crate::cli::show::{Guard, Kind};
use crate::cli::wrap;

/// Colours text, or leaves it as it is. What it gives is for what this module prints to.
#[derive(Clone, Copy, Debug)]
pub struct Paint(bool);

impl Paint {
    /// For stdout.
    pub fn stdout() -> Self {
        Self(wants_colour(std::io::stdout().is_terminal()))
    }

    /// For stderr.
    pub fn stderr() -> Self {
        Self(wants_colour(std::io::stderr().is_terminal()))
    }

    /// Leaves text as it is.
    pub fn none() -> Self {
        Self(false)
    }

    /// Whether there are colours.
    pub fn colours(self) -> bool {
        self.0
    }

    fn wrap(self, code: &str, text: impl Display) -> String {
        if self.0 { painted(code, &text.to_string()) } else { text.to_string() }
    }

    /// Errors.
    pub fn red(self, text: impl Display) -> String {
        self.wrap("1;31", text)
    }

    /// Warnings.
    pub fn yellow(self, text: impl Display) -> String {
        self.wrap("33", text)
    }

    /// What is well.
    pub fn green(self, text: impl Display) -> String {
        self.wrap("32", text)
    }

    /// What to type.
    pub fn cyan(self, text: impl Display) -> String {
        self.wrap("36", text)
    }

    /// What matters less.
    pub fn dim(self, text: impl Display) -> String {
        self.wrap("2", text)
    }

    /// Headings.
    pub fn bold(self, text: impl Display) -> String {
        self.wrap("1", text)
    }
}

/// <https://no-color.org>: any non-empty NO_COLOR means none.
fn wants_colour(terminal: bool) -> bool {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|v| v == "dumb");
    terminal && !no_color && !dumb
}

/// Stdout for people: what files and models bring along is shown, not done.
pub fn listing() -> Screen<StdoutLock<'static>> {
    Screen::new(std::io::stdout().lock(), Some(Kind::Names))
}

/// Stdout for answers and data, which pass as they are; a terminal is protected from them.
pub fn data() -> Screen<StdoutLock<'static>> {
    let out = std::io::stdout();
    let kind = out.is_terminal().then_some(Kind::Prose);
    Screen::new(out.lock(), kind)
}

/// Stdout for an answer: as [`data`], and on a terminal its lines are broken between words.
pub fn answer() -> Screen<StdoutLock<'static>> {
    data().wrapped(columns(&std::io::stdout()))
}

/// Stdout for JSON, or for people.
pub fn report(json: bool) -> Screen<StdoutLock<'static>> {
    if json { data() } else { listing() }
}

/// Stderr for people.
pub fn log() -> Screen<std::io::StderrLock<'static>> {
    Screen::new(std::io::stderr().lock(), Some(Kind::Names))
}

/// A line or several on stderr, broken between words on a terminal. A closed stderr is nobody's error.
pub fn say(text: impl Display) {
    let text = shown(&format!("{text}\n"), &mut Guard::new(Kind::Names));
    let broken = columns(&std::io::stderr()).map(|columns| wrap::whole(&text, columns));
    print(broken.as_deref().unwrap_or(&text));
}

/// Text on stderr, without a line's end of its own.
pub fn say_raw(text: &str) {
    print(&shown(text, &mut Guard::new(Kind::Names)));
}

fn print(text: &str) {
    let mut err = std::io::stderr().lock();
    let _ = err.write_all(text.as_bytes());
    let _ = err.flush();
}

/// A warning on stderr.
pub fn warn(text: impl Display) {
    say(format!("{} {text}", Paint::stderr().yellow("warning:")));
}

/// `98.4 MB`: decimal units, as disks and downloads are sold.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{n} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// `98 362 432`: digits in groups of three.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(c);
    }
    out
}

/// Reads `512M`, `1.5GiB`, `800 MB` or a plain number of bytes.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let value: f64 = number.parse().map_err(|_| format!("`{text}` is not a size; write 512M or 1.5G"))?;
    let scale = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "kib" => 1024.0,
        "mib" => 1024.0 * 1024.0,
        "gib" => 1024.0 * 1024.0 * 1024.0,
        other => return Err(format!("`{other}` is not a unit of size; use k, M, G, MB, MiB, GiB")),
    };
    Ok((value * scale) as u64)
}

/// Columns of a terminal: as COLUMNS says, or the terminal itself. None of what is no terminal, or does not tell.
#[cfg(any(unix, windows))]
pub fn columns(of: &(impl IsTerminal + AsStream)) -> Option<usize> {
    let said = || std::env::var("COLUMNS").ok()?.parse().ok().filter(|columns| *columns > 0);
    let asked = || terminal_size::terminal_size_of(of).map(|(width, _)| usize::from(width.0));
    if of.is_terminal() { said().or_else(asked) } else { None }
}

#[cfg(unix)]
pub use std::os::fd::AsFd as AsStream;
#[cfg(windows)]
pub use std::os::windows::io::AsHandle as AsStream;

/// Columns for what is drawn on stdout: those of its terminal, or 80.
pub fn width() -> usize {
    let said = || std::env::var("COLUMNS").ok().and_then(|v| v.parse().ok());
    columns(&std::io::stdout()).or_else(said).unwrap_or(80).clamp(40, 200)
}

/// The process's largest resident set, where the system tells it.
pub fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_round_trip_for_people() {
        assert_eq!(bytes(512), "512 B");
        assert_eq!(bytes(98_362_432), "98.4 MB");
        assert_eq!(bytes(999_960), "1.0 MB");
        assert_eq!(grouped(98_362_432), "98 362 432");
        assert_eq!(grouped(12), "12");
        assert_eq!(parse_bytes("1.5GiB").unwrap(), 1_610_612_736);
        assert_eq!(parse_bytes("512M").unwrap(), 512_000_000);
        assert_eq!(parse_bytes("77").unwrap(), 77);
        assert!(parse_bytes("lots").is_err());
        assert!(parse_bytes("3 bananas").is_err());
    }
}
