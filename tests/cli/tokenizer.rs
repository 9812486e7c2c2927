//! `ember tokenizer train`.

use crate::common::Sandbox;

#[test]
fn a_vocabulary_is_learnt_and_used() {
    let place = Sandbox::new();
    let text = "The quick brown fox jumps over the lazy dog. 12 foxes, 34 dogs!\n<|endoftext|>\n".repeat(50);
    place.write("texts/a.txt", text.as_bytes());
    place.write("texts/b.jsonl", b"{\"text\":\"the fox and the dog\"}\n{\"other\":1}\n");
    let learn = [
        "tokenizer",
        "train",
        "--text",
        "texts",
        "--vocab",
        "290",
        "--chat-template",
        "chatml",
        "-o",
        "mine.gguf",
    ];
    let ran = place.run(&learn);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.contains("290 tokens") && ran.out.contains("bytes per token"), "{}", ran.out);
    assert!(ran.err.contains("1 skipped"), "{}", ran.err);
    let first = std::fs::read(place.path("mine.gguf")).unwrap();
    let ran = place.run(&learn);
    assert!(ran.code == 1 && ran.err.contains("--replace"), "{}", ran.err);
    let again = [&learn[..], &["--replace"]].concat();
    assert_eq!(place.run(&again).code, 0);
    assert!(std::fs::read(place.path("mine.gguf")).unwrap() == first, "the same text gives the same file");
    let ran = place.run(&["tokenize", "-m", "mine.gguf", "--ids", "--special", "<|im_start|>the fox"]);
    let ids: Vec<u32> = serde_json::from_str(&ran.out).unwrap();
    assert!(ran.code == 0 && ids[0] == 1 && ids.len() < 6, "{} {}", ran.out, ran.err);
    let ran = place.run(&["inspect", "mine.gguf"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
}

#[test]
fn what_cannot_be_learnt_is_said() {
    let place = Sandbox::new();
    place.write("a.txt", b"some text");
    place.write("bad.txt", b"caf\xe9");
    for (args, said) in [
        (&["--text", "a.txt", "--vocab", "100"][..], "at least 259"),
        (&["--text", "bad.txt"], "not UTF-8 at byte 4"),
        (&["--text", "nowhere"], "nowhere"),
        (&["--text", "a.txt", "--special", "word"], "could be a word"),
        (&["--text", "a.txt", "--pre", "unheard-of"], "smollm"),
        (&["--text", "a.txt", "-o", "a.txt"], "is read"),
    ] {
        let output: &[&str] = if args.contains(&"-o") { &[] } else { &["-o", "mine.gguf"] };
        let ran = place.run(&[&["tokenizer", "train"], args, output].concat());
        assert!(ran.code != 0 && ran.err.contains(said), "{args:?}: {}", ran.err);
        assert!(!place.path("mine.gguf").exists());
    }
    // Little text: a smaller vocabulary, which is said.
    let ran = place.run(&["tokenizer", "train", "--text", "a.txt", "--vocab", "1000", "-o", "mine.gguf"]);
    assert!(ran.code == 0 && ran.out.contains("fewer than 1 000"), "{} {}", ran.out, ran.err);
}
