//! What `ember doctor` measures on a GPU: kept, shown, carried to others, gone by.

use std::path::{Path, PathBuf};

use crate::common::{Ran, Sandbox, sha256};

fn model() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/arch");
    folder.join("llama-tied.gguf").display().to_string()
}

fn doctor(sandbox: &Sandbox, more: &[&str]) -> Ran {
    sandbox.run(&[&["doctor", "--device", "gpu"], more].concat())
}

/// The file of what is known of devices that begins so, where there is one.
fn note(sandbox: &Sandbox, begin: &str) -> Option<PathBuf> {
    let entries = std::fs::read_dir(sandbox.path("home").join("devices")).ok()?;
    let begins = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with(begin);
    entries.map(|entry| entry.unwrap().path()).find(begins)
}

fn kept(sandbox: &Sandbox) -> Option<PathBuf> {
    note(sandbox, "tuning-")
}

/// What a model says on the GPU.
fn say(sandbox: &Sandbox, more: &[&str]) -> String {
    let model = model();
    let args = ["run", "--device", "gpu", "-m", &model, "--raw", "-p", "the end", "-n", "6", "--temp", "0"];
    let ran = sandbox.run(&[&args[..], more].concat());
    assert_eq!(ran.code, 0, "{}", ran.err);
    ran.out
}

/// A file of measured times with its checksum.
fn whole(body: &str) -> String {
    let counted = [&(body.len() as u64).to_le_bytes()[..], body.as_bytes()].concat();
    format!("{}\n{body}", sha256(&counted))
}

/// The same measurements with times by the place among the ways of a kind, of so many: the default is the first.
fn with_times(text: &str, time: impl Fn(usize, usize) -> u64) -> String {
    let field = |field: &str| {
        let ways = field.split(' ').filter(|word| word.contains('=')).count();
        let mut at = 0;
        let word = |word: &str| match word.split_once('=') {
            Some((id, _)) => {
                at += 1;
                format!("{id}={}", time(at - 1, ways))
            }
            None => word.to_owned(),
        };
        field.split(' ').map(word).collect::<Vec<_>>().join(" ")
    };
    let lines = text.split_once('\n').unwrap().1.lines();
    let body: String =
        lines.map(|line| line.split('\t').map(field).collect::<Vec<_>>().join("\t") + "\n").collect();
    whole(&body)
}

/// The lines of the table, without its head.
fn table(ran: &Ran) -> Vec<&str> {
    let lines = ran.out.lines().skip_while(|line| !line.contains("fastest way"));
    lines.skip(1).take_while(|line| !line.is_empty()).collect()
}

/// Measured once, shown, and gone by: whichever way is the fastest, a model says the same.
#[test]
fn what_is_measured_is_kept_shown_and_gone_by() {
    let (sandbox, model) = (Sandbox::new(), model());
    let before = say(&sandbox, &[]);
    assert_eq!(kept(&sandbox), None, "a software adapter is measured only when it is asked for");
    let ran = doctor(&sandbox, &["--measure", "-m", &model]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("kinds of calls were measured\n"), "{}", ran.err);
    let shown = table(&ran);
    assert!(shown.len() > 3 && shown.iter().any(|line| line.contains("norm_gate")), "{}", ran.out);
    let file = kept(&sandbox).unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    // As if the last way of each were the fastest.
    std::fs::write(&file, with_times(&text, |at, of| if at + 1 == of { 1000 } else { 3000 + at as u64 }))
        .unwrap();
    let ran = doctor(&sandbox, &["--export-tuning", "out.txt", "--tuning-picture", "out.svg"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(table(&ran).iter().all(|line| line.contains("3.00 times as fast as")), "{}", ran.out);
    assert_eq!(say(&sandbox, &[]), before);
    carried(&sandbox, &before);
}

/// What one machine measured is taken by another like it, and by no other.
fn carried(sandbox: &Sandbox, before: &str) {
    let file = sandbox.path("out.txt").display().to_string();
    let text = std::fs::read_to_string(&file).unwrap();
    let picture = std::fs::read_to_string(sandbox.path("out.svg")).unwrap();
    assert!(picture.starts_with("<svg") && picture.contains("3.00 times as fast"), "{picture}");
    let again = doctor(sandbox, &["--export-tuning", "out.txt"]);
    assert!(again.code == 1 && again.err.contains("--replace"), "{}", again.err);
    let other = Sandbox::new();
    let nothing = doctor(&other, &["--export-tuning", "out.txt"]);
    assert!(nothing.code == 1 && nothing.err.contains("nothing was measured on"), "{}", nothing.err);
    let import = |text: &str| {
        std::fs::write(other.path("in.txt"), text).unwrap();
        doctor(&other, &["--import-tuning", "in.txt"])
    };
    let body = text.split_once('\n').unwrap().1;
    for (bad, why) in [
        (text.replacen("=1000", "=1001", 1), "the file is damaged"),
        (
            whole(&body.replacen("adapter\t", "adapter\tanother ", 1)),
            "it was measured with the adapter `another ",
        ),
        (whole(&body.replacen("driver\t", "driver\tolder ", 1)), "it was measured with the driver `older "),
        (whole(&body.replacen("shaders\t", "shaders\t0 ", 1)), "it was measured with the shaders `0 "),
    ] {
        let refused = import(&bad);
        assert!(refused.code == 1 && refused.err.contains(why), "{}", refused.err);
        assert_eq!(kept(&other), None);
    }
    let ran = import(&text);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("kinds of calls were taken from"), "{}", ran.err);
    assert_eq!(std::fs::read_to_string(kept(&other).unwrap()).unwrap(), text);
    assert_eq!(table(&ran), table(&doctor(sandbox, &["--export-tuning", "again.txt"])));
    // Ways that are not the default's are used once they are proven there, unless nothing of it is wanted.
    let proven = || std::fs::read_to_string(note(&other, "proof-").unwrap()).unwrap().lines().count();
    assert_eq!(say(&other, &["--no-autotune"]), before);
    let defaults = proven();
    assert_eq!(say(&other, &[]), before);
    assert!(proven() > defaults, "{defaults}");
}

#[test]
fn what_cannot_be_measured_is_said() {
    let sandbox = Sandbox::new();
    let cpu = sandbox.run(&["doctor", "--measure", "--device", "cpu"]);
    assert!(cpu.code == 2 && cpu.err.contains("--device gpu"), "{}", cpu.err);
    let none = doctor(&sandbox, &["--measure", "-m", "missing.gguf"]);
    assert!(none.code == 1 && none.err.contains("missing.gguf"), "{}", none.err);
    let empty = doctor(&sandbox, &["--tuning-picture", "x.svg"]);
    assert!(empty.code == 1 && empty.err.contains("nothing was measured"), "{}", empty.err);
}
