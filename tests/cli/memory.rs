//! `ember memory`, `/remember` and `/forget`; a conversation that is cut off while the model learns.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::time::Duration;

use emberlm::journal::read;

use crate::adapt::{live, note, old_or_next};
use crate::adapter::base;
use crate::common::Sandbox;
use crate::fuzz::from_env;

fn chat(sandbox: &Sandbox, said: &str) -> crate::common::Ran {
    let model = base();
    let args = ["chat", "-m", &model, "-n", "4", "--device", "cpu", "-t", "1", "--temp", "0"];
    sandbox.run_with_input(&args, said)
}

#[test]
fn what_is_remembered_is_listed_edited_and_forgotten() {
    let sandbox = Sandbox::new();
    let empty = sandbox.run(&["memory", "list"]);
    assert!(empty.code == 0 && empty.out.is_empty() && empty.err.contains("nothing is remembered"));
    assert_eq!(sandbox.run(&["memory", "add", "The key is under the pot."]).code, 0);
    assert!(sandbox.run(&["memory", "add", "the key is under the pot."]).err.contains("already"));
    assert_eq!(sandbox.run(&["memory", "add", "  "]).code, 2);
    assert_eq!(sandbox.run(&["memory", "add", "Tea \u{1b}[31mat five"]).code, 0);
    let list = sandbox.run(&["memory", "list"]).out;
    assert!(list.starts_with("The key is under the pot.\nTea") && !list.contains('\u{1b}'), "{list}");
    let file = sandbox.path("home/memory.txt");
    assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 2);
    let gone = sandbox.run(&["memory", "forget", "KEY", "pot"]);
    assert!(gone.err.contains("forgotten: The key is under the pot."), "{}", gone.err);
    assert!(sandbox.run(&["memory", "forget", "key"]).err.contains("no line has all of these words"));
    let none =
        sandbox.command(&["memory", "edit"]).env_remove("VISUAL").env_remove("EDITOR").output().unwrap();
    assert!(String::from_utf8_lossy(&none.stderr).contains("memory.txt"));
    #[cfg(unix)]
    {
        let edit = sandbox.command(&["memory", "edit"]).env("VISUAL", "cp /dev/null").output().unwrap();
        assert!(edit.status.success() && std::fs::read(&file).unwrap().is_empty());
    }
}

/// What is in the prompt changes what is answered; the context that a question takes is told by `--stats`.
#[test]
fn what_is_remembered_in_a_chat_goes_into_the_prompt() {
    let sandbox = Sandbox::new();
    let plain = chat(&sandbox, "/stats\nhello\n");
    let told = chat(&sandbox, "/stats\n/remember The key is under the blue flowerpot.\nhello\n");
    assert!(told.err.contains("remembered"), "{}", told.err);
    let prompt = |text: &str| {
        let line = text.lines().find(|line| line.contains("prompt")).unwrap_or_else(|| panic!("{text}"));
        line.split(|c: char| !c.is_ascii_digit()).find_map(|n| n.parse::<u32>().ok()).unwrap()
    };
    assert!(prompt(&told.err) > prompt(&plain.err) + 10, "{}\n{}", plain.err, told.err);
    assert!(chat(&sandbox, "/forget flowerpot\n").err.contains("1 taken out of the memory"));
    assert!(chat(&sandbox, "/forget flowerpot\n").err.contains("nothing is known about that"));
    let missing = chat(&sandbox, "/remember\n/forget\n").err;
    assert!(missing.contains("needs what is to be remembered") && missing.contains("needs a word or two"));
}

#[test]
fn a_fact_is_taken_back_by_its_words() {
    let sandbox = Sandbox::new();
    let said = "Who is my dentist?\n/edit Your dentist is Dr Ito.\n/forget that my dentist is Dr Ito.\n";
    let ran = chat(&sandbox, said);
    assert!(ran.err.contains("1 taken back; /learn makes the model forget it"), "{}", ran.err);
    let reading = read(sandbox.path("home/journal.jsonl")).unwrap();
    assert_eq!((reading.entries.len(), reading.withdrawn.len()), (0, 1));
    // It was never learnt: there is nothing to forget.
    assert!(chat(&sandbox, "/learn\n").err.contains("nothing new to learn"));
}

/// How many times a chat is stopped while it learns: `EMBER_KILLS` (`scripts/test long` says 200).
fn kills() -> u32 {
    from_env("EMBER_KILLS", 40) as u32
}

/// A chat that has begun to learn, and a moment of that: its child, what it reads, and whether it was learning at all.
fn learning(sandbox: &Sandbox, n: u32, seed: &mut u64) -> (Child, ChildStdin) {
    // There is always something new to learn.
    note(sandbox, n..n + 1);
    let model = base();
    let args = ["chat", "-m", &model, "-n", "4", "--device", "cpu", "-t", "1"];
    let mut command = sandbox.command(&args);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"hello there\n/learn\n").unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    // The conversation is there from the moment on that learning begins.
    assert!(lines.any(|line| line.contains("to learn") || line.contains("just this was")));
    std::thread::spawn(move || lines.for_each(drop));
    *seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    std::thread::sleep(Duration::from_micros((*seed >> 33) % 1_500_000));
    (child, stdin)
}

/// Killed at any moment of `/learn`, the chat goes on with its conversation when it is started again.
#[test]
fn a_conversation_outlives_a_kill_while_it_learns() {
    let sandbox = Sandbox::new();
    let (mut cut, mut seed) = (0, 4321u64);
    for n in 0..kills() {
        let before = live(&sandbox);
        let (mut child, stdin) = learning(&sandbox, n, &mut seed);
        child.kill().unwrap();
        child.wait().unwrap();
        drop(stdin);
        let there = sandbox.path("home/conversation.json").exists();
        let next = chat(&sandbox, "");
        assert_eq!(next.err.contains("going on with the conversation"), there, "{}", next.err);
        assert_eq!(next.err.contains("(2 messages"), there, "{}", next.err);
        assert!(!sandbox.path("home/conversation.json").exists(), "it is taken up once");
        old_or_next(&before, &live(&sandbox));
        cut += u32::from(there);
    }
    assert!(cut > kills() / 4, "no kill came while it learnt");
    println!("{cut} of {} kills while it learnt", kills());
}

/// Ctrl-C at any moment of `/learn` ends learning, not the chat.
#[cfg(unix)]
#[test]
fn a_conversation_outlives_ctrl_c_while_it_learns() {
    let sandbox = Sandbox::new();
    let (mut cut, mut seed) = (0, 9876u64);
    for n in 0..kills() {
        let before = live(&sandbox);
        let (mut child, mut stdin) = learning(&sandbox, n, &mut seed);
        let learns = sandbox.path("home/conversation.json").exists();
        std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        let said = sandbox.path(&format!("said-{n}.json"));
        // Where learning was over, Ctrl-C was the prompt's, and may have ended the chat.
        let _ = stdin.write_all(format!("/save {}\n", said.display()).as_bytes());
        drop(stdin);
        let status = child.wait().unwrap();
        if learns && said.exists() {
            let talk: serde_json::Value = serde_json::from_slice(&std::fs::read(&said).unwrap()).unwrap();
            assert_eq!(talk["messages"].as_array().unwrap().len(), 2, "{talk}");
            assert!(status.success(), "{status}");
            cut += 1;
        }
        assert!(!sandbox.path("home/conversation.json").exists());
        old_or_next(&before, &live(&sandbox));
    }
    assert!(cut > kills() / 4, "Ctrl-C never came while it learnt");
    println!("{cut} of {} times Ctrl-C while it learnt", kills());
}
