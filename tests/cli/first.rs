//! What is asked at the first start of a chat, and never again.
#![cfg(unix)]

use std::io::{Read, Write};
use std::process::Command;

use crate::common::Sandbox;
use crate::hostile;
use crate::terminal::pty;

/// Runs a command with stdin and stderr on a terminal, on which `typed` is typed; what the terminal shows.
fn typed(mut command: Command, typed: &str) -> String {
    let (mut main, side) = pty();
    command.env("NO_COLOR", "1");
    command
        .stdin(side.try_clone().unwrap())
        .stderr(side.try_clone().unwrap())
        .stdout(std::process::Stdio::null());
    main.write_all(typed.as_bytes()).unwrap();
    let mut child = command.spawn().unwrap();
    drop((command, side));
    let (mut shown, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(n @ 1..) = main.read(&mut buffer) {
        shown.extend_from_slice(&buffer[..n]);
    }
    child.wait().unwrap();
    String::from_utf8_lossy(&shown).replace("\r\n", "\n")
}

/// A catalogue with a small default model and a larger one.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    let folder = hostile::tiny().parent().unwrap().to_owned();
    let mut text = "default = \"small\"\n".to_owned();
    for (name, file) in [("small", "llama-tied.gguf"), ("big", "llama-formats.gguf")] {
        let path = folder.join(file);
        let size = path.metadata().unwrap().len();
        text += &format!(
            "[[model]]\nname = \"{name}\"\nabout = \"x\"\nparameters = \"1M\"\nformat = \"F16\"\nfile = \"{name}.gguf\"\nsize = {size}\n\
             licence = \"MIT\"\n[[model.source]]\nkind = \"file\"\npath = {:?}\n",
            path.display().to_string()
        );
    }
    sandbox.write("catalog.toml", text.as_bytes());
    sandbox
}

const CHAT: [&str; 7] = ["chat", "--device", "cpu", "-c", "64", "-n", "2"];
const ASKS: &str = "y fetches it and makes it the default";

#[test]
fn a_better_model_is_offered_once_and_taken_with_one_key() {
    let sandbox = sandbox();
    let shown = typed(sandbox.command(&CHAT), "y\n/quit\n");
    assert!(shown.contains("small (1M parameters) is the default") && shown.contains("big: "), "{shown}");
    assert!(shown.contains("tok/s here; MIT") && shown.contains(ASKS), "{shown}");
    assert!(shown.lines().any(|line| line.contains("big, context 64")), "it is what is talked to: {shown}");
    let again = typed(sandbox.command(&CHAT), "/quit\n");
    assert!(!again.contains(ASKS) && again.contains("big, context 64"), "{again}");
    assert!(sandbox.run(&["models"]).out.contains("Default: big"));
}

#[test]
fn enter_stays_with_the_small_one_and_nobody_is_asked_again() {
    let sandbox = sandbox();
    let shown = typed(sandbox.command(&CHAT), "\n/quit\n");
    assert!(shown.contains(ASKS) && shown.contains("small, context 64"), "{shown}");
    assert!(!sandbox.store("big.gguf").exists());
    let again = typed(sandbox.command(&CHAT), "/quit\n");
    assert!(!again.contains(ASKS) && again.contains("small, context 64"), "{again}");
}

#[test]
fn nobody_is_asked_where_a_model_is_named_or_nobody_can_answer() {
    for more in [&["-m", "small"][..], &["--offline", "-m", "small"]] {
        let sandbox = sandbox();
        let shown = typed(sandbox.command(&[&CHAT[..], more].concat()), "/quit\n");
        assert!(!shown.contains(ASKS), "{more:?}: {shown}");
    }
    let sandbox = sandbox();
    let offline = typed(sandbox.command(&[&CHAT[..], &["--offline"]].concat()), "/quit\n");
    assert!(!offline.contains(ASKS), "{offline}");
    let piped = sandbox.run_with_input(&CHAT, "a\n");
    assert!(piped.code == 0 && !piped.err.contains(ASKS), "{}", piped.err);
    let named = crate::common::ran(sandbox.command(&CHAT).env("EMBER_MODEL", "big").output().unwrap());
    assert!(!named.err.contains(ASKS), "{}", named.err);
    let asked = typed(sandbox.command(&CHAT), "\n/quit\n");
    assert!(asked.contains(ASKS), "the question is still to be asked: {asked}");
}
