//! Training data with the default model's tokenizer and chat template: what is learnt is what the assistant said.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::path::Path;
use std::time::Instant;

use common::default_model::default_model;
use common::shared;
use emberlm::cli::term::Paint;
use emberlm::cli::tune::preview;
use emberlm::text::{ChatTemplate, Message, TemplateVars, Tokenizer};
use emberlm::train::data::{
    Batcher, Batching, Dataset, EncodeOptions, Encoder, Example, Overlong, Reason, Report,
};
use serde_json::{Value, json};

struct Model {
    tokenizer: Tokenizer,
    template: ChatTemplate,
}

fn model() -> Model {
    let metadata = &default_model().gguf().metadata;
    let tokenizer = Tokenizer::from_metadata(metadata).unwrap();
    let template = ChatTemplate::from_metadata(metadata, &tokenizer).unwrap().unwrap();
    Model { tokenizer, template }
}

impl Model {
    fn encoder(&self, options: EncodeOptions) -> Encoder<'_> {
        Encoder::new(&self.tokenizer, Some(&self.template), options)
    }

    fn read(&self, rows: &[Value]) -> (Dataset, Report) {
        let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
        let (mut dataset, mut report) = (Dataset::default(), Report::default());
        let encoder = self.encoder(EncodeOptions::default());
        dataset.read(Path::new("rows.jsonl"), lines.as_bytes(), &encoder, &mut report).unwrap();
        (dataset, report)
    }

    fn trained(&self, example: &Example) -> String {
        let pairs = example.tokens.iter().zip(&example.trained);
        let ids: Vec<u32> = pairs.filter(|(_, trained)| **trained).map(|(&id, _)| id).collect();
        self.tokenizer.decode(&ids, false)
    }
}

const REPLIES: [&str; 6] = [
    "Paris.",
    "  indented\n\n\tcode\n",
    "Größe: 5 µm, 漢字 🦙🏽, e\u{301}",
    "<|im_end|> is how a turn ends; <|im_start|> begins one",
    "\n\nbegins with line feeds",
    "a",
];

#[test]
fn what_is_learnt_is_what_the_assistant_said() {
    let model = model();
    let mut rows = Vec::new();
    for system in [None, Some("Be brief.")] {
        for reply in REPLIES {
            let system = system.map(|text| json!({"role": "system", "content": text}));
            let user = json!({"role": "user", "content": "Grüße\n<|im_start|>"});
            let said = json!({"role": "assistant", "content": reply});
            let messages: Vec<Value> = system.into_iter().chain([user, said]).collect();
            rows.push(json!({"messages": messages, "source": "test"}));
        }
    }
    let (dataset, report) = model.read(&rows);
    assert_eq!((dataset.items.len(), report.skipped_count()), (12, 0), "{report}");
    for (example, reply) in dataset.items.iter().zip(REPLIES.iter().cycle()) {
        assert_eq!(model.trained(example), format!("{reply}<|im_end|>"));
        assert_eq!(example.tokens.iter().filter(|&&id| id == 1).count(), 3, "system, user, assistant");
        assert_eq!(example.tokens.iter().filter(|&&id| id == 2).count(), 3);
    }
}

/// What precedes a reply must be, token by token, the prompt that the model gets when it is run.
#[test]
fn prompts_are_those_of_inference() {
    let model = model();
    let turns = ["What is gravity?", "A force.", "Of what?", "\n\nOf mass.", "Why?", " Curvature"];
    let role = |i: usize| if i.is_multiple_of(2) { "user" } else { "assistant" };
    let row: Vec<Value> =
        turns.iter().enumerate().map(|(i, text)| json!({"role": role(i), "content": text})).collect();
    let (dataset, _) = model.read(&[json!({"messages": row})]);
    let example = &dataset.items[0];
    assert_eq!(model.trained(example), "A force.<|im_end|>\n\nOf mass.<|im_end|> Curvature<|im_end|>");
    let starts: Vec<usize> =
        (1..example.tokens.len()).filter(|&i| example.trained[i] && !example.trained[i - 1]).collect();
    assert_eq!(starts.len(), 3);
    let messages: Vec<Message> =
        turns.iter().enumerate().map(|(i, &text)| Message::new(role(i), text)).collect();
    let prompt = |upto: usize| {
        model.template.encode(&model.tokenizer, &messages[..upto], true, &TemplateVars::new()).unwrap()
    };
    assert_eq!(example.tokens[..starts[0]], prompt(1));
    assert_eq!(example.tokens[..starts[1]], prompt(3));
    // The prompt of the third reply has "assistant\n" + "\n\nOf mass." as one text, whose line feeds may be one token.
    let text = |ids: &[u32]| model.tokenizer.decode(ids, false);
    assert_eq!(text(&example.tokens[..starts[2]]), text(&prompt(5)));
}

#[test]
fn the_preview_shows_what_is_learnt() {
    let model = model();
    let row = json!({"prompt": "Hi \u{1b}[31m", "completion": "Hello."});
    let (dataset, _) = model.read(&[row]);
    let print = |paint| {
        let mut out = Vec::new();
        preview::print(&dataset, &model.tokenizer, 5, paint, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    let plain = print(Paint::none());
    assert!(
        plain.contains(
            "<|im_start|>user\nHi \\u{1b}[31m<|im_end|>\n<|im_start|>assistant\n[[Hello.<|im_end|>]]"
        ),
        "{plain}"
    );
    let counts = dataset.counts();
    assert_eq!(counts.trained, 3);
    assert!(plain.starts_with("rows.jsonl:1: 3 of "), "{plain}");
    assert!(
        plain.ends_with(&format!("1 sequences, {} tokens, 3 of them trained on\n", counts.total)),
        "{plain}"
    );
}

/// Instructions made of the project's own texts: each paragraph is the output of ten rows, enough for a tenth to be about a tenth
/// whatever the texts say; one row has none.
fn own_instructions() -> Vec<Value> {
    let texts = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "examples/README.md"];
    let read = |name: &str| std::fs::read_to_string(common::project().join(name)).unwrap();
    let whole = texts.map(read).join("\n\n");
    let paragraphs = whole.split("\n\n").map(str::trim).filter(|p| !p.is_empty() && p.len() < 2000);
    let rows = |(i, text): (usize, &str)| {
        let row = |n: usize| json!({"instruction": format!("Write paragraph {i}, {n}."), "input": "", "output": text});
        (0..10).map(row).collect::<Vec<_>>()
    };
    paragraphs
        .enumerate()
        .flat_map(rows)
        .chain([json!({"instruction": "Say nothing.", "input": "", "output": ""})])
        .collect()
}

#[test]
fn published_instruction_data_loads_whole() {
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("own.json");
    let rows = own_instructions();
    assert!(rows.len() > 600, "{}", rows.len());
    std::fs::write(&own, serde_json::to_vec(&rows).unwrap()).unwrap();
    loads_whole(&own);
    if let Some(path) = shared().map(|s| s.join("fixtures/data/instruction-data.json")) {
        assert_eq!(loads_whole(&path), 1100);
    }
}

/// All rows that have an output are learnt from; how many rows there are.
fn loads_whole(path: &Path) -> u64 {
    let model = model();
    let rows: Vec<Value> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let start = Instant::now();
    let (dataset, report) = Dataset::load(&[path], &model.encoder(EncodeOptions::default())).unwrap();
    let counts = dataset.counts();
    println!("{report}\n{} of {} tokens, {:?}", counts.trained, counts.total, start.elapsed());
    assert_eq!(report.rows, rows.len() as u64);
    let written: Vec<&Value> =
        rows.iter().filter(|row| !row["output"].as_str().unwrap().trim().is_empty()).collect();
    assert_eq!(dataset.items.len(), written.len(), "{report}");
    for (example, row) in dataset.items.iter().zip(written) {
        assert_eq!(model.trained(example), format!("{}<|im_end|>", row["output"].as_str().unwrap()));
    }
    let (kept, held) = dataset.clone().split(0.1, 1);
    let tenth = dataset.items.len() / 10;
    assert!((tenth / 2..tenth * 3 / 2).contains(&held.items.len()), "{}", held.items.len());
    let packed = Batcher::new(kept.lengths(), Batching::Packed { max_rows: 1024 }, 1).unwrap();
    let batches = packed.batches_in(0);
    let fill = kept.counts().total as f64 / (1024 * batches) as f64;
    println!("{batches} packed batches of 1024 rows, {:.1} % full", 100.0 * fill);
    // The last batch is as full as it happens to be.
    assert!(fill > 0.95 * (batches - 1) as f64 / batches as f64, "{fill}");
    report.rows
}

#[test]
fn published_files_of_other_shapes() {
    let folder = tempfile::tempdir().unwrap();
    let (tasks, prose) = (folder.path().join("tasks.jsonl"), folder.path().join("prose.txt"));
    let row = |i: usize| json!({"id": i, "instruction": "Count.", "instances": [{"input": "", "output": i.to_string()}]});
    std::fs::write(&tasks, (0..9).map(|i| format!("{}\n", row(i))).collect::<String>()).unwrap();
    std::fs::copy(common::project().join("ARCHITECTURE.md"), &prose).unwrap();
    unknown_shapes_are_named(&tasks);
    texts_come_back(&prose);
    if let Some(folder) = shared().map(|s| s.join("fixtures/data")) {
        unknown_shapes_are_named(&folder.join("self-instruct-seed_tasks.jsonl"));
        texts_come_back(&folder.join("wikitext2-valid-head.txt"));
    }
}

/// Outputs in a list of instances are no known shape: every line is named.
fn unknown_shapes_are_named(path: &Path) {
    let model = model();
    let lines = std::fs::read_to_string(path).unwrap().lines().count() as u64;
    let (mut dataset, mut report) = (Dataset::default(), Report::default());
    let encoder = model.encoder(EncodeOptions::default());
    dataset.read(path, std::fs::File::open(path).unwrap(), &encoder, &mut report).unwrap();
    assert_eq!((dataset.items.len(), report.skipped[&Reason::UnknownShape].count), (0, lines));
    assert!(report.to_string().contains("`instances`"), "{report}");
}

/// A text's pieces make the whole again.
fn texts_come_back(path: &Path) {
    let model = model();
    let options = EncodeOptions { max_len: 512, overlong: Overlong::Skip, ..EncodeOptions::default() };
    let (dataset, report) = Dataset::load(&[path], &model.encoder(options)).unwrap();
    assert_eq!(report.skipped_count(), 0, "{report}");
    let ids: Vec<u32> = dataset.items.iter().flat_map(|e| e.tokens.clone()).collect();
    let text = std::fs::read_to_string(path).unwrap();
    assert_eq!(model.tokenizer.decode(&ids, true), text);
    println!("{report}, {} tokens", ids.len());
}
