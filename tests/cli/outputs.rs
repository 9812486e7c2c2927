//! What commands write: finished work stays, links stay, only plain files are written, and what is private is its owner's.

use std::path::Path;

use emberlm::adapter::Adapter;

use crate::adapter::{base, golden, imported};
use crate::common::{Ran, Sandbox};
use crate::prefer::{sandbox, tune};

/// The files of a sandbox, with what is in them.
fn all(sandbox: &Sandbox) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = std::fs::read_dir(sandbox.dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap()))
        .collect();
    files.sort();
    files
}

fn refused(ran: &Ran, says: &str) {
    assert!(ran.code == 1 && ran.err.contains(says), "{says}: {} {}", ran.code, ran.err);
}

/// Runs that are over in a moment, by objective.
fn quick(objective: &str) -> Vec<&'static str> {
    let mut args = match objective {
        "grpo" => {
            vec![
                "--prompts",
                "prompts.jsonl",
                "--max-new",
                "4",
                "--seq",
                "64",
                "--reward",
                "length:3",
                "--group",
                "2",
            ]
        }
        "sft" => vec!["--data", "thumbs.jsonl", "--keep", "0"],
        _ => vec!["--data", "pairs.jsonl"],
    };
    args.extend(["--max-steps", "2"]);
    args
}

#[test]
fn a_finished_adapter_stays() {
    for objective in ["sft", "dpo", "reward", "grpo"] {
        let sandbox = sandbox();
        let run = |more: &[&str]| tune(&sandbox, objective, "mine", &[&quick(objective)[..], more].concat());
        let first = run(&[]);
        assert_eq!(first.code, 0, "{}", first.err);
        let before = all(&sandbox);
        // Another of the same name, by any spelling, and other settings.
        refused(&run(&["--seed", "1"]), "--replace, which keeps the old one as mine.1.gguf");
        refused(&run(&["--restart"]), "is there, and stays");
        refused(&tune(&sandbox, objective, "mine.gguf", &quick(objective)), "is there, and stays");
        let over = run(&["--resume"]);
        assert!(over.code == 0 && over.err.contains("already finished"), "{}", over.err);
        assert!(over.err.contains("after 2 steps"), "{}", over.err);
        refused(&run(&["--resume", "--lr", "0.5"]), "--lr");
        refused(&run(&["--from", "mine.gguf", "--replace"]), "is read, and would be written");
        assert_eq!(all(&sandbox), before, "{objective}");
        assert!(!sandbox.path("mine.state").exists());

        let again = run(&["--seed", "1", "--replace"]);
        assert!(again.code == 0 && again.err.contains("is now mine.1.gguf"), "{}", again.err);
        let old = |name: &str| before.iter().find(|(other, _)| other == name).unwrap().1.clone();
        let read = |name: &str| std::fs::read(sandbox.path(name)).unwrap();
        assert_eq!(read("mine.1.gguf"), old("mine.gguf"));
        assert_eq!(read("mine.1.metrics.jsonl"), old("mine.metrics.jsonl"));
        assert_ne!(read("mine.gguf"), old("mine.gguf"));
        Adapter::open(sandbox.path("mine.gguf")).unwrap();
    }
}

#[test]
fn an_old_adapter_stays_while_a_new_one_is_stopped_and_resumed() {
    let sandbox = sandbox();
    let run = |more: &[&str]| tune(&sandbox, "dpo", "mine", &[&quick("dpo")[..], more].concat());
    assert_eq!(run(&[]).code, 0);
    let old = std::fs::read(sandbox.path("mine.gguf")).unwrap();
    let paused = run(&["--seed", "1", "--replace", "--pause-at", "1"]);
    assert_eq!(paused.code, 0, "{}", paused.err);
    assert_eq!(std::fs::read(sandbox.path("mine.gguf")).unwrap(), old);
    refused(&run(&["--seed", "1", "--replace"]), "begun before");
    let resumed = run(&["--seed", "1", "--resume"]);
    assert_eq!(resumed.code, 0, "{}", resumed.err);
    assert_eq!(std::fs::read(sandbox.path("mine.1.gguf")).unwrap(), old);
    // The state's folder may hold what is not the run's.
    std::fs::create_dir(sandbox.path("other.state")).unwrap();
    sandbox.write("other.state/notes.txt", b"mine");
    let beside = tune(&sandbox, "dpo", "other", &[&quick("dpo")[..], &["--restart"]].concat());
    assert_eq!(beside.code, 0, "{}", beside.err);
    assert_eq!(std::fs::read(sandbox.path("other.state/notes.txt")).unwrap(), b"mine");
    // A file that only has the name of metrics is no record of steps.
    sandbox.write("third.metrics.jsonl", b"{\"prompt\": \"a\"}\n");
    refused(&tune(&sandbox, "dpo", "third", &quick("dpo")), "third.metrics.jsonl");
}

#[test]
fn models_and_exports_stay() {
    let sandbox = imported();
    let model = base();
    let peft = golden("adapter/peft");
    let cases: [(&[&str], &[&str]); 4] = [
        (&["quantize", &model, "out.gguf", "q8_0"], &["out.gguf"]),
        (&["adapter", "merge", "-m", &model, "--adapter", "a", "-o", "merged.gguf"], &["merged.gguf"]),
        (&["adapter", "import", &peft, "-m", &model, "-o", "in.gguf"], &["in.gguf"]),
        (
            &["adapter", "export", "a.gguf", "-m", &model, "--to", "peft", "-o", "folder"],
            &["folder/adapter_model.safetensors", "folder/adapter_config.json"],
        ),
    ];
    for (args, written) in cases {
        let first = sandbox.run(args);
        assert_eq!(first.code, 0, "{args:?}: {}", first.err);
        let read = |name: &str| std::fs::read(sandbox.path(name)).unwrap();
        for name in written {
            std::fs::write(sandbox.path(name), b"precious").unwrap();
        }
        refused(&sandbox.run(args), "--replace");
        for name in written {
            assert_eq!(read(name), b"precious", "{name}");
        }
        let replaced = sandbox.run(&[args, &["--replace"]].concat());
        assert_eq!(replaced.code, 0, "{args:?}: {}", replaced.err);
        for name in written {
            let (stem, end) = name.rsplit_once('.').unwrap();
            assert_eq!(read(&format!("{stem}.1.{end}")), b"precious", "{name}");
            assert_ne!(read(name), b"precious");
        }
    }
}

#[test]
fn what_is_read_is_not_written() {
    let sandbox = imported();
    std::fs::copy(base(), sandbox.path("model.gguf")).unwrap();
    std::fs::copy(sandbox.path("a.gguf"), sandbox.path("b.gguf")).unwrap();
    sandbox.write("c.metrics.jsonl", b"{\"step\": 1, \"prompt\": \"red\", \"completion\": \" blue\"}\n");
    let before = all(&sandbox);
    let cases: [&[&str]; 6] = [
        &["quantize", "model.gguf", "model.gguf", "q8_0"],
        &["quantize", "model.gguf", "./model.gguf", "f16"],
        &["adapter", "merge", "-m", "model.gguf", "--adapter", "a.gguf", "-o", "model.gguf"],
        &["adapter", "merge", "-m", "model.gguf", "--adapter", "a", "-o", "a.gguf"],
        &["adapter", "import", "b.gguf", "-m", "model.gguf", "-o", "b.gguf"],
        &["tune", "sft", "-m", "model.gguf", "--data", "c.metrics.jsonl", "-o", "c"],
    ];
    for args in cases {
        refused(&sandbox.run(args), "is read, and would be written");
        refused(&sandbox.run(&[args, &["--replace"]].concat()), "is read, and would be written");
    }
    assert_eq!(all(&sandbox), before);
}

/// Every command that writes, onto every kind of thing that is no new file; nothing of it may change.
#[cfg(unix)]
#[test]
fn odd_paths_are_refused_and_stay() {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
    let sandbox = imported();
    let at = |name: &str| sandbox.path(name);
    sandbox.write("data.jsonl", b"{\"prompt\": \"red\", \"completion\": \" blue\"}\n");
    sandbox.write("odd/file", b"x");
    std::fs::create_dir(at("odd/folder.gguf")).unwrap();
    let make = |args: &[&str]| {
        let status = std::process::Command::new(args[0]).args(&args[1..]).current_dir(at("odd")).status();
        status.is_ok_and(|status| status.success())
    };
    assert!(make(&["mkfifo", "pipe.gguf"]));
    // Only root makes devices; without it there is a pipe and a socket.
    let device = make(&["mknod", "device.gguf", "c", "1", "3"]);
    let _listening = std::os::unix::net::UnixListener::bind(at("odd/socket.gguf")).unwrap();
    symlink("pipe.gguf", at("odd/link.gguf")).unwrap();
    let model = base();
    let long = format!("odd/{}.gguf", "n".repeat(260));
    let mut cases = vec![
        ("odd/pipe.gguf", "a pipe"),
        ("odd/link.gguf", "a pipe"),
        ("odd/socket.gguf", "a socket"),
        ("odd/folder.gguf", "is a folder"),
        ("odd/file/x.gguf", "a file, not a folder"),
        (&long, "too long"),
    ];
    if device {
        cases.push(("odd/device.gguf", "a device"));
    }
    let into_models = |output: &str| -> [Vec<String>; 4] {
        let words = |args: &[&str]| args.iter().map(|word| (*word).to_owned()).collect();
        let data =
            ["-m", &model, "--device", "cpu", "--data", "data.jsonl", "--keep", "0", "--max-steps", "1"];
        [
            words(&["quantize", &model, output, "q8_0"]),
            words(&["adapter", "merge", "-m", &model, "--adapter", "a", "-o", output]),
            words(&["adapter", "import", "a.gguf", "-m", &model, "-o", output]),
            words(&[&["tune", "sft", "-o", output], &data[..]].concat()),
        ]
    };
    for (output, says) in &cases {
        for args in into_models(output) {
            for more in [&[][..], &["--replace"]] {
                let args = [&args.iter().map(String::as_str).collect::<Vec<_>>()[..], more].concat();
                let ran = sandbox.run(&args);
                assert!(ran.code == 1 && ran.err.contains(says), "{args:?}, {says}: {}", ran.err);
            }
        }
    }
    for output in ["..", ".", "odd/..", "odd/folder/", "..."] {
        let ran = tune(&sandbox, "sft", output, &["--data", "data.jsonl", "--keep", "0"]);
        refused(&ran, "ends in no name");
    }
    let kind = |name: &str| std::fs::symlink_metadata(at(name)).unwrap().file_type();
    assert!(kind("odd/pipe.gguf").is_fifo() && kind("odd/socket.gguf").is_socket());
    assert!(kind("odd/link.gguf").is_symlink() && kind("odd/folder.gguf").is_dir());
    assert!(!device || kind("odd/device.gguf").is_char_device());
    let plot = ["--data", "data.jsonl", "--keep", "0", "--plot", "odd/pipe.gguf"];
    refused(&tune(&sandbox, "sft", "plotted", &plot), "a pipe");
    assert!(!at("plotted.state").exists(), "refused before anything is done");
    // A link stays, and what it names is written, there or not.
    symlink("odd/real", at("link")).unwrap();
    assert_eq!(sandbox.run(&["quantize", &model, "link", "q8_0"]).code, 0);
    refused(&sandbox.run(&["quantize", &model, "link", "f16"]), "--replace");
    assert_eq!(sandbox.run(&["quantize", &model, "link", "f16", "--replace"]).code, 0);
    assert!(kind("link").is_symlink() && at("odd/real").is_file() && at("odd/real.1").is_file());
    // Write protection is an answer too.
    sandbox.write("locked/model.gguf", b"GGUF");
    std::fs::set_permissions(at("locked/model.gguf"), PermissionsExt::from_mode(0o444)).unwrap();
    refused(&sandbox.run(&["quantize", &model, "locked/model.gguf", "f16"]), "is there, and stays");
    assert_eq!(std::fs::read(at("locked/model.gguf")).unwrap(), b"GGUF");
}

#[cfg(unix)]
fn modes(folder: &Path, found: &mut Vec<(String, u32)>) {
    use std::os::unix::fs::PermissionsExt;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let mode = std::fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o777;
        found.push((path.display().to_string(), mode));
        if path.is_dir() {
            modes(&path, found);
        }
    }
}

/// What was said, or was learnt from it, is for its owner alone, whatever the umask and whatever was there before.
#[cfg(unix)]
#[test]
fn private_things_are_their_owners() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = sandbox();
    let model = crate::tune::model();
    let ran = |args: &[&str], input: &str| {
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", "umask 000; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_ember")]).args(args);
        shell
            .current_dir(sandbox.dir.path())
            .env("EMBER_HOME", sandbox.path("home"))
            .env("EMBER_DEVICE", "cpu");
        shell.stdin(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        shell.stdout(std::process::Stdio::null());
        let mut child = shell.spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let data = ["-m", &model, "--data", "pairs.jsonl", "--max-steps", "2", "--rank", "4"];
    ran(&[&["tune", "dpo", "-o", "out/stopped", "--pause-at", "1"], &data[..]].concat(), "");
    ran(&[&["tune", "dpo", "-o", "out/whole", "--plot", "out/loss.svg"], &data[..]].concat(), "");
    ran(&["adapter", "export", "out/whole.gguf", "-m", &model, "--to", "peft", "-o", "out/peft"], "");
    ran(&["adapter", "import", "out/peft", "-m", &model, "-o", "out/in.gguf"], "");
    ran(&["adapter", "merge", "-m", &model, "--adapter", "out/whole", "-o", "out/merged.gguf"], "");
    ran(&["quantize", "out/merged.gguf", "out/merged-q8.gguf", "q8_0"], "");
    ran(&["chat", "-m", &model, "-n", "2", "--journal", "out/journal"], "red\n/good\n/save out/chat\n");
    let live = emberlm::journal::live::Live::open_folder(sandbox.path("out/live/base")).unwrap();
    drop(live);
    let mut found = Vec::new();
    modes(&sandbox.path("out"), &mut found);
    assert!(found.len() > 15, "{found:?}");
    for (path, mode) in found {
        let expected = if Path::new(&path).is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode, expected, "{path} is {mode:o}");
    }
    // What was open to others is not after it was opened.
    let open = |name: &str, mode| {
        std::fs::set_permissions(sandbox.path(name), PermissionsExt::from_mode(mode)).unwrap();
    };
    let left = [
        "out/stopped.state/run.0",
        "out/stopped.metrics.jsonl",
        "out/journal",
        "out/chat",
        "out/live/base/live.0",
    ];
    left.iter().for_each(|name| open(name, 0o644));
    ["out/stopped.state", "out/live", "out/live/base"].iter().for_each(|name| open(name, 0o755));
    ran(&[&["tune", "dpo", "-o", "out/stopped", "--resume", "--pause-at", "1"], &data[..]].concat(), "");
    ran(&["chat", "-m", &model, "-n", "2", "--journal", "out/journal"], "red\n/good\n/save out/chat\n");
    drop(emberlm::journal::live::Live::open_folder(sandbox.path("out/live/base")).unwrap());
    for name in left.iter().chain(&["out/stopped.state", "out/live", "out/live/base"]) {
        let mode = std::fs::metadata(sandbox.path(name)).unwrap().permissions().mode() & 0o077;
        assert_eq!(mode, 0, "{name}");
    }
    // A model that nobody's words made is an ordinary file.
    ran(&["quantize", &model, "ordinary.gguf", "q8_0"], "");
    let mode = std::fs::metadata(sandbox.path("ordinary.gguf")).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o666);
}

#[test]
fn a_chat_is_saved_over_nothing_but_a_chat() {
    let sandbox = sandbox();
    let model = crate::tune::model();
    sandbox.write("diary.txt", b"dear diary");
    let before = all(&sandbox);
    let said = "/save diary.txt\n/save pairs.jsonl\n/save talk.json\nred\n/save talk.json\n/load talk.json\n";
    let ran = sandbox.run_with_input(&["chat", "-m", &model, "-n", "2", "--device", "cpu"], said);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(ran.err.matches("is no saved conversation, and stays").count(), 2, "{}", ran.err);
    assert!(ran.err.contains("loaded 2 messages from talk.json"), "{}", ran.err);
    assert!(before.iter().all(|file| all(&sandbox).contains(file)));
}
