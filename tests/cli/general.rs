//! Help, errors and exit codes.

use crate::common::Sandbox;

const COMMANDS: [&str; 14] = [
    "chat",
    "run",
    "plan",
    "doctor",
    "inspect",
    "pull",
    "models",
    "tokenize",
    "perplexity",
    "eval",
    "explain",
    "quantize",
    "bench",
    "adapt",
];

#[test]
fn help_lists_every_command() {
    let ran = Sandbox::new().run(&["--help"]);
    assert_eq!(ran.code, 0);
    assert!(ran.err.is_empty());
    for command in COMMANDS {
        assert!(ran.out.lines().any(|l| l.trim_start().starts_with(command)), "{command}: {}", ran.out);
    }
}

#[test]
fn every_command_has_help_with_an_example() {
    let sandbox = Sandbox::new();
    for command in COMMANDS {
        let ran = sandbox.run(&[command, "--help"]);
        assert_eq!(ran.code, 0, "{command}: {}", ran.err);
        assert!(ran.out.contains("Usage: ember"), "{command}");
        assert!(ran.out.contains(&format!("  ember {command}")), "{command} shows no example:\n{}", ran.out);
        assert!(!ran.out.contains('\u{1b}'), "{command} colours a pipe");
    }
}

/// Vulkan's layers look for a display, and complain where the variable is missing.
#[test]
fn nothing_is_said_of_displays() {
    let sandbox = Sandbox::new();
    for folder in [None, Some("")] {
        let mut command = sandbox.command(&["doctor"]);
        command.env_remove("XDG_RUNTIME_DIR").env_remove("WAYLAND_DISPLAY");
        folder.iter().for_each(|folder| _ = command.env("XDG_RUNTIME_DIR", folder));
        let ran = crate::common::ran(command.output().unwrap());
        assert_eq!((ran.code, ran.err.contains("XDG_RUNTIME_DIR")), (0, false), "{}", ran.err);
    }
}

#[test]
fn version_is_the_crates() {
    let ran = Sandbox::new().run(&["--version"]);
    assert_eq!(ran.out.trim(), concat!("ember ", env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_usage_ends_with_2() {
    let sandbox = Sandbox::new();
    for args in [
        &["nonsense"][..],
        &["run", "--no-such-flag"],
        &["run", "--temp", "hot"],
        &["run", "--top-p", "1.5"],
        &["run", "-c", "-5"],
        &["run", "--kv", "f8"],
        &["inspect"],
    ] {
        let ran = sandbox.run(args);
        assert_eq!(ran.code, 2, "{args:?}: {}", ran.err);
        assert!(ran.out.is_empty() && ran.err.starts_with("error:"), "{args:?}: {}", ran.err);
    }
}

#[test]
fn errors_say_what_where_and_what_to_do() {
    let ran = Sandbox::new().run(&["inspect", "nowhere.gguf"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.starts_with("error: "), "{}", ran.err);
    assert!(ran.err.contains("  at: nowhere.gguf"), "{}", ran.err);
    assert!(ran.err.contains("  try: "), "{}", ran.err);
    assert!(!ran.err.contains('\u{1b}'));
}

#[test]
fn an_unknown_model_lists_the_known_ones() {
    let ran = Sandbox::new().run(&["run", "-m", "gpt-9", "-p", "x"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("gpt-9") && ran.err.contains("smollm2-135m-instruct"), "{}", ran.err);
}

#[cfg(unix)]
#[test]
fn a_closed_pipe_ends_quietly() {
    use std::process::Stdio;
    let sandbox = Sandbox::new();
    let mut command = sandbox.command(&["models"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let child = command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}
