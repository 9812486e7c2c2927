//! Help, completions and manual pages.

use crate::common::Sandbox;

#[test]
fn short_help_is_the_same_however_it_is_asked_for() {
    let sandbox = Sandbox::new();
    for command in [&["chat"][..], &["tune", "sft"], &["pretrain"]] {
        let said = |more: &[&str]| {
            let ran = sandbox.run(&[command, more].concat());
            assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{command:?} {more:?}");
            ran.out
        };
        let short = said(&["--help"]);
        assert_eq!(said(&["-h"]), short);
        let asked = sandbox.run(&[&["help"], command].concat());
        assert_eq!((asked.code, asked.out), (0, short.clone()), "{}", asked.err);
        let all = said(&["--help-all"]);
        assert!(short.contains("--help-all") && !short.contains("--max-submit-ms"), "{short}");
        assert!(all.contains("--max-submit-ms") && all.lines().count() > 2 * short.lines().count(), "{all}");
    }
}

#[test]
fn completions_have_every_command() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let ran = sandbox.run(&["completions", shell]);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{shell}");
        for word in ["pretrain", "max-submit-ms", "grpo"] {
            assert!(ran.out.contains(word), "{shell} lacks {word}");
        }
    }
    assert_eq!(sandbox.run(&["completions", "dos"]).code, 2);
}

#[cfg(unix)]
#[test]
fn bash_reads_its_completions() {
    let sandbox = Sandbox::new();
    let script = sandbox.run(&["completions", "bash"]).out;
    sandbox.write("ember.bash", script.as_bytes());
    let typed = "source ember.bash && COMP_WORDS=(ember per) COMP_CWORD=1 && _ember ember per ember; echo \"${COMPREPLY[@]}\"";
    let Ok(ran) =
        std::process::Command::new("bash").args(["-c", typed]).current_dir(sandbox.dir.path()).output()
    else {
        return;
    };
    assert_eq!(String::from_utf8_lossy(&ran.stdout).trim(), "perplexity", "{:?}", ran.stderr);
}

#[test]
fn manual_pages_are_made_of_the_commands() {
    let sandbox = Sandbox::new();
    let page = sandbox.run(&["man", "tune", "sft"]);
    assert_eq!(page.code, 0, "{}", page.err);
    assert!(
        page.out.contains(".TH ember-tune-sft 1") && page.out.contains("\\-\\-max\\-submit\\-ms"),
        "{}",
        page.out
    );
    assert!(sandbox.run(&["man"]).out.contains(".TH ember 1"));
    let unknown = sandbox.run(&["man", "tune", "cat"]);
    assert!(unknown.code == 2 && unknown.err.contains("one of: sft"), "{}", unknown.err);
    for _ in 0..2 {
        let all = sandbox.run(&["man", "--all", "man1"]);
        assert_eq!((all.code, all.err.as_str()), (0, ""));
    }
    let pages = std::fs::read_dir(sandbox.path("man1")).unwrap().count();
    assert!(pages > 30 && sandbox.path("man1/ember-adapter-merge.1").exists(), "{pages}");
}
