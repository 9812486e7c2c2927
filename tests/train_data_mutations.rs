//! Thousands of damaged data files of every kind: no panic, no hang, and memory in proportion to the file. Its own test binary,
//! because it counts what the allocator gives out.
#![cfg(feature = "train")]
#![allow(clippy::unwrap_used, clippy::expect_used, unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;
use std::time::{Duration, Instant};

use emberlm::text::{ChatTemplate, SpecialIds, TokenKind, Tokenizer, TokenizerConfig, TokenizerModel};
use emberlm::train::data::{
    DataError, Dataset, EncodeOptions, Encoder, Item, Items, Overlong, Pair, Prompt, Random, Report, Thumb,
};

thread_local! {
    static NOW: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

/// Counts, per thread, the bytes in use and the most there ever were.
struct Counting;

fn taken(bytes: usize) {
    let now = NOW.get().wrapping_add(bytes);
    NOW.set(now);
    PEAK.set(PEAK.get().max(now));
}

// SAFETY: every call is passed on to the system's allocator unchanged; the counters are plain thread-local
// cells without destructors, which allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        taken(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.set(NOW.get().saturating_sub(layout.size()));
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Old and new exist side by side while the bytes move.
        taken(size);
        NOW.set(NOW.get().saturating_sub(layout.size()));
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const MUTATIONS: u64 = 5_000;
/// Of the file's size: a token of 5 bytes per byte of text, buffers that double, and the merging of one endless word (38).
const TIMES: usize = 48;
/// The read buffer, what rendering a template takes, and the report.
const SLACK: usize = 512 << 10;
const ONE_FILE: Duration = Duration::from_secs(5);

/// A token per printable byte, and ChatML's two.
fn tokenizer() -> Tokenizer {
    let mut tokens: Vec<Vec<u8>> = (0x21..0x7f).map(|b| vec![b]).collect();
    tokens.extend([b"<|im_start|>".to_vec(), b"<|im_end|>".to_vec()]);
    let count = tokens.len();
    let mut config = TokenizerConfig::new(TokenizerModel::Gpt2, tokens);
    config.kinds = vec![TokenKind::Normal; count];
    config.kinds[count - 2..].fill(TokenKind::Control);
    config.special = SpecialIds { eos: Some(count as u32 - 1), ..SpecialIds::default() };
    Tokenizer::new(config).unwrap()
}

/// Runs `read` on a file, and compares its peak of memory and its time with what they may be.
fn within_bounds<T>(bytes: &[u8], name: &str, read: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let before = NOW.get();
    PEAK.set(before);
    let outcome = read();
    let peak = PEAK.get() - before;
    assert!(
        peak <= TIMES * bytes.len() + SLACK,
        "{name}: {peak} bytes of memory for a file of {}",
        bytes.len()
    );
    assert!(start.elapsed() < ONE_FILE, "{name}: took {:?}", start.elapsed());
    outcome
}

fn read_within_bounds(bytes: &[u8], name: &str, encoder: &Encoder) -> Result<(Dataset, Report), DataError> {
    let (mut dataset, mut report) = (Dataset::default(), Report::default());
    within_bounds(bytes, name, || dataset.read(Path::new(name), bytes, encoder, &mut report))?;
    for example in &dataset.items {
        assert_eq!(example.tokens.len(), example.trained.len());
        assert!(!example.trained[0] && example.trained.contains(&true));
    }
    Ok((dataset, report))
}

/// The same for items of a kind.
fn items_within_bounds<T: Item>(
    bytes: &[u8],
    name: &str,
    encoder: &Encoder,
) -> Result<(Items<T>, Report), DataError> {
    let (mut items, mut report) = (Items::default(), Report::default());
    within_bounds(bytes, name, || items.read(Path::new(name), bytes, encoder, &mut report))?;
    assert!(items.items.iter().all(|item: &T| item.counts().total > 0));
    Ok((items, report))
}

/// ChatML that writes calls of tools, so that rows of them are used.
const CALLS: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}{% if m.tool_calls %}{{ m.tool_calls | tojson }}\
    {% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

const ROWS: [&str; 9] = [
    r#"{"messages": [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "a"}, {"role": "assistant", "content": "b\n\u00e9"}, {"role": "user", "content": [{"type": "text", "text": "c"}]}, {"role": "assistant", "content": "d"}]}"#,
    r#"{"prompt": "p", "completion": "c <|im_end|>"}"#,
    r#"{"prompt": [{"role": "user", "content": "p"}], "completion": [{"role": "assistant", "content": "c"}]}"#,
    r#"{"instruction": "i", "input": "x", "output": "o"}"#,
    r#"{"text": "some text", "other": [1, {"a": null}]}"#,
    r#"{"tools": [{"name": "f", "n": 1.5e3}], "messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": "{\"a\": [1]}"}}]}]}"#,
    r#"{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b", "weight": 1}], "tools": "[{\"name\": \"f\"}]"}"#,
    r#"{"text": "<|im_start|>user\na<|im_end|>"}"#,
    r#"{"question": "q", "choices": ["x", "y"], "answer": "B"}"#,
];

const PREFERENCES: [&str; 5] = [
    r#"{"prompt": "p", "chosen": "good", "rejected": "bad <|im_end|>", "margin": -1.5e0}"#,
    r#"{"prompt": [{"role": "user", "content": "p"}], "chosen": [{"role": "assistant", "content": "a"}], "rejected": [{"role": "assistant", "content": "b\n\u00e9"}]}"#,
    r#"{"chosen": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "a"}], "rejected": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "b"}], "margin": null}"#,
    r#"{"prompt": "p", "chosen": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "a"}], "rejected": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "b"}], "score": 8}"#,
    r#"{"tools": [{"name": "f", "n": 1.5e3}], "prompt": "p", "chosen": [{"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": "{\"a\": [1]}"}}]}], "rejected": "b"}"#,
];

const RATED: [&str; 3] = [
    r#"{"prompt": "p", "completion": "c", "label": true}"#,
    r#"{"prompt": [{"role": "user", "content": "p"}], "completion": [{"role": "assistant", "content": "c"}], "label": false}"#,
    r#"{"prompt": "p", "chosen": "good", "rejected": "bad"}"#,
];

const PROMPTS: [&str; 4] = [
    r#"{"prompt": "p <|im_end|>", "answer": 4, "tests": ["x", {"y": [1, null, 2e3]}]}"#,
    r#"{"prompt": [{"role": "system", "content": "S"}, {"role": "user", "content": "p"}], "answer": "\u00e9"}"#,
    r#"{"messages": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "a"}], "answer": true}"#,
    r#"{"tools": [{"name": "f"}], "messages": [{"role": "user", "content": [{"type": "text", "text": "c"}]}]}"#,
];

fn mutate(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    const PIECES: [&[u8]; 10] =
        [b"\"", b"{", b"]", b"\\", b"\n", b"\xff", b"[[[[[[[[[[[[", b"\\ud800", b"null", b"1e999"];
    let mut out = bytes.to_vec();
    for _ in 0..1 + random.below(4) {
        let at = random.below(out.len().max(1));
        let end = (at + random.below(30)).min(out.len());
        match random.below(5) {
            0 => out[at] ^= 1 << random.below(8),
            1 => drop(out.drain(at..end)),
            2 => drop(out.splice(at..at, PIECES[random.below(PIECES.len())].iter().copied())),
            3 => {
                let piece = out[at..end].to_vec();
                let to = random.below(out.len());
                drop(out.splice(to..to, piece));
            }
            _ => out.truncate(at.max(out.len() / 2)),
        }
    }
    out
}

#[test]
fn damaged_files_cause_no_panic_no_hang_and_no_waste() {
    let t = tokenizer();
    let template = ChatTemplate::new(CALLS).unwrap().with_tokens_of(&t);
    let skip = EncodeOptions { max_len: 200, ..EncodeOptions::default() };
    let cut = EncodeOptions { max_len: 20, overlong: Overlong::Truncate, strict: true, ..skip };
    let encoders = [
        Encoder::new(&t, Some(&template), skip),
        Encoder::new(&t, None, skip),
        Encoder::new(&t, Some(&template), cut),
    ];
    let files = [
        ("a.jsonl", ROWS.join("\n")),
        ("a.json", format!("[{}]", ROWS.join(",\n"))),
        ("a.txt", ROWS.join("\n\n")),
    ];
    let (mut whole, mut refused, mut skipped) = (0, 0, 0u64);
    for seed in 0..MUTATIONS {
        let mut random = Random::new(17, seed);
        let (name, text) = &files[random.below(files.len())];
        let damaged = mutate(text.as_bytes(), &mut random);
        match read_within_bounds(&damaged, name, &encoders[random.below(3)]) {
            Ok((_, report)) => {
                whole += u64::from(report.skipped_count() == 0);
                skipped += report.skipped_count();
            }
            Err(_) => refused += 1,
        }
    }
    println!("{whole} files without loss, {skipped} rows skipped, {refused} files refused in strict mode");
    // The damage must be neither always noticed nor never, or this test would show nothing.
    assert!(whole > MUTATIONS / 20 && skipped > MUTATIONS / 2 && refused > MUTATIONS / 20);
}

/// Damages files of one kind of items: how many came through whole, how many rows were skipped, how many files refused.
fn damage<T: Item>(rows: &[&str], stream: u64, check: impl Fn(&T)) -> (u64, u64, u64) {
    let t = tokenizer();
    let template = ChatTemplate::new(CALLS).unwrap().with_tokens_of(&t);
    let skip = EncodeOptions { max_len: 200, ..EncodeOptions::default() };
    let cut = EncodeOptions { max_len: 30, overlong: Overlong::Truncate, ..skip };
    let encoders = [
        Encoder::new(&t, Some(&template), skip),
        Encoder::new(&t, Some(&template), cut),
        Encoder::new(&t, Some(&template), EncodeOptions { strict: true, ..skip }),
        Encoder::new(&t, None, skip),
    ];
    let files = [("a.jsonl", rows.join("\n")), ("a.json", format!("[{}]", rows.join(",\n")))];
    for (name, text) in &files {
        let (_, report) = items_within_bounds::<T>(text.as_bytes(), name, &encoders[0]).unwrap();
        assert_eq!(report.skipped_count(), 0, "undamaged: {report}");
    }
    let (mut whole, mut refused, mut skipped) = (0, 0, 0u64);
    for seed in 0..MUTATIONS / 2 {
        let mut random = Random::new(stream, seed);
        let (name, text) = &files[random.below(files.len())];
        let damaged = mutate(text.as_bytes(), &mut random);
        match items_within_bounds::<T>(&damaged, name, &encoders[random.below(encoders.len())]) {
            Ok((items, report)) => {
                items.items.iter().for_each(&check);
                whole += u64::from(report.skipped_count() == 0);
                skipped += report.skipped_count();
            }
            Err(_) => refused += 1,
        }
    }
    println!("{whole} files without loss, {skipped} rows skipped, {refused} files refused in strict mode");
    (whole, skipped, refused)
}

/// These rows are mostly keys and brackets: damage is rarely harmless, but neither always noticed nor never.
fn assert_noticed((whole, skipped, refused): (u64, u64, u64)) {
    assert!(whole > MUTATIONS / 250 && skipped > MUTATIONS / 5 && refused > MUTATIONS / 50);
}

#[test]
fn damaged_preferences_cause_no_panic_no_hang_and_no_waste() {
    assert_noticed(damage(&PREFERENCES, 18, |pair: &Pair| {
        assert_eq!(pair.chosen.prompt(), pair.rejected.prompt());
        assert!(!pair.chosen.answer().is_empty() && !pair.rejected.answer().is_empty());
        assert!(pair.margin.is_finite() && pair.chosen.tokens != pair.rejected.tokens);
    }));
    assert_noticed(damage(&RATED, 19, |thumb: &Thumb| assert!(!thumb.example.answer().is_empty())));
}

#[test]
fn damaged_prompts_cause_no_panic_no_hang_and_no_waste() {
    assert_noticed(damage(&PROMPTS, 20, |prompt: &Prompt| {
        // Either there were further columns, or a broken key made one.
        assert!(prompt.row().len() < 8 && !prompt.text.is_empty());
    }));
}

#[test]
fn dear_items_stay_within_the_bound() {
    let t = tokenizer();
    let template = ChatTemplate::builtin("chatml").unwrap().with_tokens_of(&t);
    let encoder = Encoder::new(&t, Some(&template), EncodeOptions::default());
    let n = 300_000;
    let turns = vec![r#"{"role":"assistant","content":"a"}"#; 512].join(",");
    let files = [
        ("values", format!("{{\"prompt\":\"a\",\"x\":[{}0]}}", "0,".repeat(n))),
        (
            "few values",
            format!("{{\"prompt\":\"a\",\"x\":[{}0],\"y\":\"{}\"}}", "0,".repeat(40_000), "a".repeat(n)),
        ),
        ("a word", format!("{{\"prompt\":\"{0}\",\"chosen\":\"{0}\",\"rejected\":\"a\"}}", "a".repeat(n))),
        ("turns", format!("{{\"prompt\":\"a\",\"chosen\":[{turns}],\"rejected\":[{turns}]}}")),
        ("pairs", "{\"prompt\":\"a\",\"chosen\":\"b\",\"rejected\":\"c\"}\n".repeat(n / 100)),
        ("rows", "{\"prompt\":\"ab\"}\n".repeat(n / 10)),
        (
            "keys",
            format!("{{{}\"prompt\":\"a\"}}", (0..n / 10).map(|i| format!("\"{i}\":0,")).collect::<String>()),
        ),
    ];
    for (name, text) in files {
        let name = format!("{name}.jsonl");
        let bytes = text.as_bytes();
        let counts = [
            items_within_bounds::<Prompt>(bytes, &name, &encoder).unwrap().0.items.len(),
            items_within_bounds::<Pair>(bytes, &name, &encoder).unwrap().0.items.len(),
            items_within_bounds::<Thumb>(bytes, &name, &encoder).unwrap().0.items.len(),
        ];
        println!("{name}: {} bytes, {counts:?} prompts, pairs, rated answers", text.len());
    }
}

#[test]
fn dear_files_stay_within_the_bound() {
    let t = tokenizer();
    let template = ChatTemplate::builtin("chatml").unwrap().with_tokens_of(&t);
    let encoder = Encoder::new(&t, Some(&template), EncodeOptions::default());
    let n = 300_000;
    let files = [
        ("brackets", "[".repeat(n)),
        ("objects", "{\"a\":".repeat(n)),
        ("messages", format!("{{\"messages\":[{}{{}}]}}", "{},".repeat(n))),
        ("tools", format!("{{\"messages\":[],\"tools\":[{}0]}}", "0,".repeat(n))),
        (
            "few tools",
            format!("{{\"messages\":[],\"tools\":[{}0],\"x\":\"{}\"}}", "0,".repeat(40_000), "a".repeat(n)),
        ),
        ("ignored", format!("{{\"text\":\"ab\",\"x\":[{}0]}}", "[],".repeat(n))),
        ("keys", format!("{{{}\"z\":0}}", (0..n / 4).map(|i| format!("\"{i}\":0,")).collect::<String>())),
        ("rows", "{\"text\":\"ab\"}\n".repeat(n / 10)),
        ("empty rows", "\n".repeat(n)),
        (
            "turns",
            format!("{{\"messages\":[{}]}}", vec![r#"{"role":"assistant","content":"a"}"#; 512].join(",")),
        ),
        ("a word", format!("{{\"prompt\":\"{}\",\"completion\":\"a\"}}", "a".repeat(n))),
    ];
    for (name, text) in files {
        let outcome = read_within_bounds(text.as_bytes(), &format!("{name}.jsonl"), &encoder);
        let (dataset, report) = outcome.unwrap_or_else(|e| panic!("{name}: {e}"));
        println!(
            "{name}: {} bytes, {} sequences, {} skipped",
            text.len(),
            dataset.items.len(),
            report.skipped_count()
        );
        assert!(report.rows > 0, "{name}");
    }
}
