//! A chat on a terminal, with a person who types.
#![cfg(unix)]

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::common::Sandbox;
use crate::hostile;
use crate::terminal::pty;

/// Longest time until something is seen.
const PATIENCE: Duration = Duration::from_secs(120);

/// A command on a terminal of its own.
struct Terminal {
    child: Child,
    keys: std::fs::File,
    seen: Arc<Mutex<Vec<u8>>>,
    reader: std::thread::JoinHandle<()>,
}

impl Terminal {
    fn begin(mut command: Command, columns: u16) -> Self {
        use rustix::termios::{Winsize, tcsetwinsize};
        let (keys, side) = pty();
        tcsetwinsize(&keys, Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let end = || Stdio::from(side.try_clone().unwrap());
        command.env("TERM", "xterm").env_remove("COLUMNS").stdin(end()).stdout(end()).stderr(end());
        let child = command.spawn().unwrap();
        drop((command, side));
        let (mut screen, seen) = (keys.try_clone().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let kept = Arc::clone(&seen);
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = screen.read(&mut buffer) {
                kept.lock().unwrap().extend_from_slice(&buffer[..n]);
            }
        });
        Self { child, keys, seen, reader }
    }

    fn keys(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap()).into_owned()
    }

    /// Waits until so much more than `from` bytes is seen, and `what` in it.
    fn wait(&self, from: usize, what: &str) -> usize {
        let begun = Instant::now();
        loop {
            let seen = self.seen.lock().unwrap().clone();
            if seen.len() > from && String::from_utf8_lossy(&seen[from..]).contains(what) {
                return seen.len();
            }
            assert!(begun.elapsed() < PATIENCE, "no `{what}` in {:?}", self.text());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// What was seen, and the exit code.
    fn end(mut self) -> (String, Option<i32>) {
        let begun = Instant::now();
        let code = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status.code();
            }
            if begun.elapsed() > PATIENCE {
                self.child.kill().unwrap();
                panic!("it does not end: {:?}", self.text());
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        self.reader.join().unwrap();
        let text = String::from_utf8_lossy(&self.seen.lock().unwrap()).into_owned();
        (text, code)
    }
}

fn chat(sandbox: &Sandbox, more: &[&str]) -> Command {
    let model = hostile::tiny().display().to_string();
    let args = ["chat", "-m", &model, "--device", "cpu", "--no-journal", "--seed", "3"];
    sandbox.command(&[&args[..], more].concat())
}

#[test]
fn what_is_typed_ahead_is_answered_in_order() {
    let sandbox = Sandbox::new();
    let mut terminal = Terminal::begin(chat(&sandbox, &["-n", "2"]), 80);
    terminal.keys("one\rtwo\rthree\r/save talk.json\r/quit\r");
    let (text, code) = terminal.end();
    assert_eq!(code, Some(0), "{text:?}");
    let saved: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(sandbox.path("talk.json")).unwrap()).unwrap();
    let said = |index: usize| saved["messages"][index]["content"].as_str().map(str::to_owned);
    assert_eq!([0, 2, 4].map(|index| said(index).unwrap()), ["one", "two", "three"], "{text:?}");
}

#[test]
fn what_is_typed_during_an_answer_is_not_within_it() {
    let sandbox = Sandbox::new();
    let mut terminal = Terminal::begin(chat(&sandbox, &["-n", "400", "-c", "0"]), 80);
    let ready = terminal.wait(0, "> ");
    terminal.keys("tell me\r");
    // What the editor shows ends with the line that was typed; the answer follows.
    let begun = terminal.wait(ready, "tell me");
    terminal.wait(begun + 24, "");
    terminal.keys("zqzqz\r/quit\r");
    let (text, code) = terminal.end();
    assert_eq!(code, Some(0), "{text:?}");
    let at = text.find("zqzqz").expect("it was shown");
    let before = &text[..at];
    let line = before.rfind('\n').map_or(before, |end| &before[end..]);
    assert!(line.contains("> "), "typed at the prompt alone: {line:?} in {text:?}");
}

/// The same while the model loads, which a software GPU does for some time.
#[cfg(feature = "gpu")]
#[test]
fn what_is_typed_while_the_model_loads_is_not_shown_before_the_prompt() {
    use rustix::termios::{LocalModes, tcgetattr};
    let sandbox = Sandbox::new();
    let model = hostile::tiny().display().to_string();
    let args = ["chat", "-m", &model, "--device", "gpu", "--no-journal", "-n", "2"];
    let mut terminal = Terminal::begin(sandbox.command(&args), 80);
    let begun = Instant::now();
    while tcgetattr(&terminal.keys).unwrap().local_modes.contains(LocalModes::ECHO) {
        assert!(begun.elapsed() < PATIENCE, "keys are shown: {:?}", terminal.text());
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(!terminal.text().contains("> "), "it was ready before anything was typed: {:?}", terminal.text());
    terminal.keys("zqzqz\r/quit\r");
    let (text, code) = terminal.end();
    assert_eq!(code, Some(0), "{text:?}");
    let before = &text[..text.find("zqzqz").expect("it was shown")];
    let line = before.rfind('\n').map_or(before, |end| &before[end..]);
    assert!(line.contains("> "), "typed at the prompt alone: {line:?} in {text:?}");
}

#[test]
fn a_path_is_a_message_and_an_unknown_command_is_not_sent() {
    let sandbox = Sandbox::new();
    let ran = |input: &str| {
        let model = hostile::tiny().display().to_string();
        let args = ["chat", "-m", &model, "--device", "cpu", "--no-journal", "-n", "2"];
        let ran = sandbox.run_with_input(&args, &format!("{input}\n/save talk.json\n"));
        assert_eq!(ran.code, 0, "{}", ran.err);
        let saved = std::fs::read_to_string(sandbox.path("talk.json")).unwrap();
        let saved: serde_json::Value = serde_json::from_str(&saved).unwrap();
        (saved["messages"][0]["content"].as_str().unwrap_or_default().to_owned(), ran.err)
    };
    assert_eq!(ran("/usr/bin/env is what?").0, "/usr/bin/env is what?");
    assert_eq!(ran("//help").0, "/help");
    assert_eq!(ran(" /help me").0, "/help me");
    let (message, said) = ran("/frobnicate now");
    assert_eq!(message, "");
    assert!(said.contains("there is no /frobnicate") && said.contains("//frobnicate"), "{said}");
}

#[test]
fn answers_and_notes_fit_a_narrow_terminal() {
    let sandbox = Sandbox::new();
    let pieces: [&[u8]; 6] =
        [b"The quick", b" brown fox ju", b"mps over the", b" lazy dog\n", b"and so", b" on"];
    let (model, seed) = hostile::speaking(&sandbox, "m.gguf", "", &pieces);
    let args = hostile::say(&model, &seed, "6");
    let (text, code) = Terminal::begin(sandbox.command(&[&args[..], &["-q"]].concat()), 20).end();
    assert_eq!(code, Some(0));
    assert_eq!(text.replace("\r\n", "\n"), "The quick brown fox\njumps over the lazy\ndog\nand so on\n");
    let mut terminal = Terminal::begin(chat(&sandbox, &[]), 40);
    let ready = terminal.wait(0, "> ");
    terminal.keys("/help\r");
    terminal.wait(ready, "/quit");
    // The editor reads again: what comes sooner is the terminal's, not its.
    terminal.wait(ready, "\u{1b}[?2004h");
    terminal.keys("\u{4}");
    let (text, _) = terminal.end();
    let help = text.split("/system").nth(1).unwrap();
    let help = help.split("Ctrl-C stops").next().unwrap();
    for line in help.lines() {
        assert!(line.trim_end().chars().count() <= 40, "{line:?} in {text:?}");
    }
    let piped = sandbox.run(&args);
    assert_eq!(piped.out, "The quick brown fox jumps over the lazy dog\nand so on\n");
}

#[test]
fn progress_names_its_phase_and_fits_the_width() {
    let sandbox = crate::prefer::sandbox();
    let model = crate::tune::model();
    let args =
        ["tune", "sft", "-m", &model, "--device", "cpu", "--data", "thumbs.jsonl", "-o", "x", "--keep", "0"];
    let command = sandbox.command(&[&args[..], &["--max-steps", "40", "--rank", "2"]].concat());
    let (text, code) = Terminal::begin(command, 40).end();
    assert_eq!(code, Some(0), "{text}");
    let mut plain = String::new();
    for (index, part) in text.split('\u{1b}').enumerate() {
        // What follows an escape is its code, up to a letter.
        let code = part.find(|c: char| c.is_ascii_alphabetic()).filter(|_| index > 0);
        plain.push_str(code.map_or(part, |end| &part[end + 1..]));
    }
    let lines: Vec<&str> = plain.split(['\r', '\n']).collect();
    let wide = lines.iter().find(|line| line.chars().count() > 40);
    assert!(wide.is_none(), "{wide:?}");
    let bars: Vec<&&str> = lines.iter().filter(|line| line.contains("training ")).collect();
    assert!(!bars.is_empty() && bars.iter().all(|line| !line.contains("y left")), "{plain}");
    assert!(!bars[0].contains("left"), "nothing is foreseen before the first step: {}", bars[0]);
}

#[test]
fn a_message_that_is_too_long_is_said_once() {
    let sandbox = Sandbox::new();
    let model = hostile::tiny().display().to_string();
    let args = ["chat", "-m", &model, "--device", "cpu", "--no-journal", "-c", "64", "-n", "4"];
    let ran = sandbox.run_with_input(&args, &format!("{}\nnext\n", "word ".repeat(400)));
    assert_eq!(ran.code, 1, "{}", ran.err);
    assert_eq!(ran.err.matches("error:").count(), 1, "{}", ran.err);
    assert!(ran.err.contains("larger context with -c") && ran.out.is_empty(), "{} {}", ran.out, ran.err);
}

#[test]
fn a_full_disk_is_named() {
    let sandbox = Sandbox::new();
    if !std::path::Path::new("/dev/full").exists() {
        return;
    }
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = sandbox.command(&["models"]);
    let output = command.stdout(full).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("the disk is full") && said.contains("make room"), "{said}");
}
