//! What files and models bring along must not steer a terminal; data in a pipe stays as it is.

use std::io::Read;
use std::process::{Command, Stdio};

use emberlm::cli::show::{Guard, Kind};
use emberlm::gguf::Value;

use crate::common::Sandbox;
use crate::hostile;

/// Tokens that together set a title, clear the screen, go back, and turn text around.
const PIECES: [&[u8]; 7] = [
    b"hi \x1b]0;own",
    b"ed\x07",
    b"\xc2",
    b"\x9b2J\x1b",
    b"[31m\rx\x08",
    "\u{202e}漢🙂é\t".as_bytes(),
    b"end\n\xff.",
];

const NAMES: [&str; 2] = ["evil\u{1b}]0;owned\u{7}\r\u{9b}2J", "x\u{202e}\u{200b}y\u{8}\u{1b}[31m\nerror: z"];

/// A pseudo-terminal: the side that a person has, and the program's.
#[cfg(unix)]
pub fn pty() -> (std::fs::File, std::fs::File) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use std::os::unix::ffi::OsStrExt;
    let main = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&main).unwrap();
    unlockpt(&main).unwrap();
    let name = ptsname(&main, Vec::new()).unwrap();
    let path = std::path::Path::new(std::ffi::OsStr::from_bytes(name.as_bytes()));
    let side = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    (std::fs::File::from(main), side)
}

/// Runs a command with its output, and stderr if `errors`, on a terminal; stdin is empty, or a text.
#[cfg(unix)]
pub fn on_terminal(mut command: Command, input: Option<&str>, errors: bool) -> String {
    let (mut main, side) = pty();
    command.env("TERM", "xterm").stdout(side.try_clone().unwrap());
    command.stderr(if errors { Stdio::from(side.try_clone().unwrap()) } else { Stdio::null() });
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    let mut child = command.spawn().unwrap();
    drop((command, side));
    if let Some(text) = input {
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
    }
    let mut out = Vec::new();
    let mut buffer = [0; 4096];
    // A terminal that nobody has open any more ends with an error.
    while let Ok(n @ 1..) = main.read(&mut buffer) {
        out.extend_from_slice(&buffer[..n]);
    }
    child.wait().unwrap();
    String::from_utf8(out).unwrap().replace("\r\n", "\n")
}

/// Whether nothing but the command's own colours steers the terminal.
pub fn harmless(text: &str) -> bool {
    let own = ["1;31", "33", "32", "36", "2", "1", "0"];
    // A progress bar begins its line anew.
    let text = text.replace("\r\u{1b}[2K", "");
    let plain = own.iter().fold(text, |text, code| text.replace(&format!("\u{1b}[{code}m"), ""));
    let mut shown = String::new();
    Guard::new(Kind::Prose).push_str(&plain, &mut shown);
    shown == plain
}

fn prose(text: &str) -> String {
    let mut shown = String::new();
    Guard::new(Kind::Prose).push_str(text, &mut shown);
    shown
}

#[cfg(unix)]
#[test]
fn answers_are_harmless_on_a_terminal_and_untouched_in_a_pipe() {
    let sandbox = Sandbox::new();
    let (model, seed) = hostile::speaking(&sandbox, "m.gguf", "", &PIECES);
    let args = hostile::say(&model, &seed, "7");
    let piped = sandbox.run(&args);
    assert_eq!(piped.code, 0, "{}", piped.err);
    let all = String::from_utf8_lossy(&PIECES.concat()).into_owned() + "\n";
    assert_eq!(piped.out, all);
    let shown = on_terminal(sandbox.command(&args), None, false);
    assert_eq!(shown, prose(&all));
    assert!(
        harmless(&shown) && shown.contains("hi \\u{1b}]0;owned\\u{7}\\u{9b}2J\\u{1b}[31m\\rx"),
        "{shown}"
    );
    assert!(shown.contains("漢🙂é\tend\n"), "{shown}");
    let mut chat = args.clone();
    chat[0] = "chat";
    chat.retain(|arg| !["-p", "a"].contains(arg));
    let talk = on_terminal(sandbox.command(&chat), Some("a\n/journal\n/save no\u{1b}[2J/x\n"), true);
    assert!(harmless(&talk) && talk.contains("owned\\u{7}"), "{talk}");
    assert!(talk.contains("no\\u{1b}[2J"), "{talk}");
    let piped = sandbox.run_with_input(&chat, "a\n");
    assert!(piped.out.starts_with(&all[..8]) && piped.out.contains('\u{9b}'), "{:?}", piped.out);
}

#[test]
fn names_keys_and_tensors_are_shown_everywhere() {
    let sandbox = Sandbox::new();
    for (number, name) in NAMES.iter().enumerate() {
        let change = |metadata: &mut emberlm::gguf::Metadata| {
            metadata.set("general.name", Value::Str((*name).into()));
            metadata.set(format!("note.{name}"), Value::Str((*name).into()));
        };
        let model = hostile::model(&sandbox, &format!("{number}.gguf"), change, str::to_owned);
        let renamed =
            hostile::model(&sandbox, "renamed.gguf", change, |tensor| tensor.replace("output_norm", name));
        for args in [
            &["run", "-m", &model, "-p", "a", "-n", "0", "--device", "cpu", "-c", "64"][..],
            &["plan", "-m", &model, "--device", "cpu", "--tensors"],
            &["inspect", &model],
            &["inspect", &model, "--full"],
            &["inspect", &renamed],
            &["run", "-m", &renamed, "-p", "a"],
            &["bench", "-m", &model, "-p", "4", "-n", "2", "-r", "1", "--device", "cpu"],
            &["explain", "-m", &model, "abc", "--device", "cpu"],
        ] {
            let ran = sandbox.run(args);
            assert!(harmless(&ran.out) && harmless(&ran.err), "{args:?}: {} {}", ran.out, ran.err);
            let said = ran.out + &ran.err;
            assert!(!said.contains('\u{1b}') && !said.contains('\u{200b}'), "{args:?}: {said}");
            assert!(said.lines().all(|line| !line.starts_with("error: z")), "{args:?}: {said}");
        }
        // JSON is data: a reader gets the name as it is.
        let json = sandbox.run(&["inspect", &model, "--json"]).out;
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["metadata"]["general.name"], *name);
    }
}

#[cfg(unix)]
#[test]
fn errors_and_file_names_are_shown() {
    let sandbox = Sandbox::new();
    let refusing = |metadata: &mut emberlm::gguf::Metadata| {
        let template = "{{ raise_exception('\u{1b}[2J\u{202e}no') }}";
        metadata.set("tokenizer.chat_template", Value::Str(template.into()));
    };
    let model = hostile::model(&sandbox, "m.gguf", refusing, str::to_owned);
    let file = "a\u{1b}]0;t\u{7}\n.gguf";
    sandbox.write(file, b"no model");
    sandbox.write(
        "rows.jsonl",
        "{\"text\": \"x\u{1b}[2J\"\u{9b}}\n{\"text\": \"ok \u{9b}31m\u{202e}\"}".as_bytes(),
    );
    for args in [
        &["run", "-m", &model, "-p", "a", "--device", "cpu"][..],
        &["run", "-m", file, "-p", "a"],
        &["inspect", file],
        &["inspect", "b\u{1b}[31m.gguf"],
        &["run", "-m", "b\u{9b}31m", "-p", "a"],
        &["run", "-p", "a", "--no\u{1b}[2J"],
        &["run", "--temp", "\u{1b}[2J"],
        &["run", "-m", &model, "-f", "none\u{8}\u{1b}c"],
        &["tune", "sft", "-m", &model, "--data", "rows.jsonl", "--preview"],
        &["eval", "rows.jsonl", "-m", &model, "--device", "cpu", "--show", "1"],
    ] {
        let ran = sandbox.run(args);
        assert!(harmless(&ran.out) && harmless(&ran.err), "{args:?}: {:?} {:?}", ran.out, ran.err);
        let shown = on_terminal(sandbox.command(args), None, true);
        assert!(harmless(&shown), "{args:?}: {shown:?}");
        assert!(!shown.is_empty(), "{args:?}");
    }
}
