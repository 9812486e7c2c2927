use sha2::{Digest, Sha256};

use super::*;

fn chat_encoder_test(
    options: EncodeOptions,
    name: &str,
    bytes: &[u8],
) -> Result<(Dataset, Report), DataError> {
    let t = tokenizer();
    let template = chatml(&t);
    read(&Encoder::new(&t, Some(&template), options), name, bytes)
}

/// Every kind of bad row, with what its message must say.
fn bad_rows() -> Vec<(Vec<u8>, Reason, &'static str)> {
    let deep = format!("{{\"x\": {}{}}}", "[".repeat(5000), "]".repeat(5000));
    let deep_string = format!("{{\"text\": \"{}\"}}", "[".repeat(5000));
    assert!(
        chat_encoder_test(
            EncodeOptions { max_len: 6000, ..EncodeOptions::default() },
            "a.jsonl",
            deep_string.as_bytes()
        )
        .unwrap()
        .1
        .skipped
        .is_empty()
    );
    let many =
        format!("{{\"messages\": [{}]}}", vec!["{\"role\":\"user\",\"content\":\"\"}"; 2000].join(","));
    let values = format!("{{\"messages\": [], \"tools\": [{}]}}", "0,".repeat(60_000) + "0");
    let row = |text: &str| text.as_bytes().to_vec();
    vec![
        (row(" \t"), Reason::Empty, "nothing"),
        (b"{\"text\": \"\xff\"}".to_vec(), Reason::NotUtf8, "bytes from 11 on"),
        (row("{\"text\": \"a\""), Reason::BadJson, "EOF"),
        (row("{\"text\": \"\\ud800\"}"), Reason::BadJson, "hex escape"),
        (row(&deep), Reason::BadJson, "nested deeper than 100"),
        (row("[{\"text\": \"a\"}]"), Reason::WrongType, "a list, not an object (an array"),
        (row("\"text\""), Reason::WrongType, "a string, not an object"),
        (row("nonsense"), Reason::WrongType, "null, not an object"),
        (row("{\"text\": 1}"), Reason::WrongType, "text is a number, not a string"),
        (row("{\"prompt\": \"a\", \"completion\": {}}"), Reason::WrongType, "completion is an object"),
        (
            row("{\"instruction\": \"a\", \"output\": \"b\", \"input\": []}"),
            Reason::WrongType,
            "input is a list",
        ),
        (row("{\"text\": \"a\", \"text\": \"b\"}"), Reason::WrongType, "duplicate field"),
        (row("{\"messages\": {}}"), Reason::WrongType, "messages is an object, not a list"),
        (row("{\"messages\": [1]}"), Reason::WrongType, "invalid type"),
        (row("{\"messages\": [{\"content\": \"a\"}]}"), Reason::WrongType, "messages[0] has no role"),
        (row("{\"messages\": [{\"role\": \"user\"}]}"), Reason::WrongType, "messages[0] has no content"),
        (
            row("{\"messages\": [{\"role\": \"<|im_end|>\", \"content\": \"\"}]}"),
            Reason::WrongType,
            "<|im_end|>` cannot be",
        ),
        (
            row("{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"image\"}]}]}"),
            Reason::WrongType,
            "`image`",
        ),
        (row(&many), Reason::WrongType, "more than 512"),
        (row("{\"messages\": [], \"tools\": {}}"), Reason::WrongType, "tools is an object"),
        (row(&values), Reason::UnsafeTools, "50000"),
        (row("{\"prompt\": \"a\", \"chosen\": \"b\"}"), Reason::UnknownShape, "`prompt`, `chosen`"),
        (row("{}"), Reason::UnknownShape, "no keys"),
        (row("{\"messages\": []}"), Reason::NothingToTrain, "empty"),
        (
            row("{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}"),
            Reason::NothingToTrain,
            "no reply",
        ),
        (row("{\"prompt\": \"a\", \"completion\": \" \"}"), Reason::NothingToTrain, "empty"),
        (row("{\"text\": \"\"}"), Reason::NothingToTrain, "empty"),
    ]
}

#[test]
fn bad_rows_are_named_and_counted() {
    let good = b"{\"prompt\": \"a\", \"completion\": \"b\"}\n".to_vec();
    let mut file = good.clone();
    for (row, _, _) in bad_rows() {
        file.extend(row);
        file.push(b'\n');
    }
    file.extend(&good);
    let (dataset, report) = chat_encoder_test(EncodeOptions::default(), "a.jsonl", &file).unwrap();
    let lines: Vec<u64> = dataset.items.iter().map(|e| e.source.line).collect();
    assert_eq!(lines, [1, bad_rows().len() as u64 + 2]);
    assert_eq!(report.skipped_count() as usize, bad_rows().len());
    assert!(report.to_string().contains("duplicate field") || report.skipped[&Reason::WrongType].count > 3);

    let strict = EncodeOptions { strict: true, ..EncodeOptions::default() };
    for (row, reason, words) in bad_rows() {
        let mut file = good.clone();
        file.extend(&row);
        let error = chat_encoder_test(strict, "a.jsonl", &file).unwrap_err();
        let shown = String::from_utf8_lossy(&row[..row.len().min(80)]).into_owned();
        let DataError::Row(problem) = &error else { panic!("{shown}: {error}") };
        assert_eq!((problem.line, problem.reason), (2, reason), "{shown}: {error}");
        let text = error.to_string();
        assert!(text.contains("a.jsonl:2: ") && text.contains(words), "{shown}: {text}");
        assert!(text.len() < 1000, "{}", text.len());
    }
}

#[test]
fn arrays_are_cut_into_rows() {
    let text = "\u{feff} [\n {\"text\": \"a,]\\\"}\"}\n,\n\n{\"text\":\n\"b\"}, 3,\n{\"text\": [}}, {\"text\": \"c\"}]\n";
    let (dataset, report) = chat_encoder_test(EncodeOptions::default(), "a.json", text.as_bytes()).unwrap();
    let lines: Vec<u64> = dataset.items.iter().map(|e| e.source.line).collect();
    assert_eq!(lines, [2, 5, 7]);
    let problems: Vec<(u64, Reason)> =
        report.skipped.values().flat_map(|s| &s.first).map(|p| (p.line, p.reason)).collect();
    assert_eq!(problems, [(7, Reason::BadJson), (6, Reason::WrongType)]);
    for (text, words) in
        [("[{\"text\": \"ab\"}", "before the array's `]`"), ("[{\"text\": \"ab\"}]\n[", "after the array's")]
    {
        let (dataset, report) =
            chat_encoder_test(EncodeOptions::default(), "a.json", text.as_bytes()).unwrap();
        assert_eq!(dataset.items.len(), 1);
        assert!(report.skipped[&Reason::BadJson].first[0].detail.contains(words), "{report}");
    }
    let (_, report) = chat_encoder_test(EncodeOptions::default(), "a.json", b"[]").unwrap();
    assert_eq!(report, Report::default());
}

#[test]
fn formats() {
    let of = |name: &str, first: &[u8]| Format::of(Path::new(name), first);
    assert_eq!(of("a.jsonl", b"[1"), Ok(Format::Array));
    assert_eq!(of("a.jsonl", b"nonsense"), Ok(Format::Lines));
    assert_eq!(of("a.JSON", b" \n[1"), Ok(Format::Array));
    assert_eq!(of("a.json", b"{"), Ok(Format::Lines));
    assert_eq!(of("a.txt", b"{"), Ok(Format::Text));
    assert_eq!(of("a", b"{"), Ok(Format::Lines));
    assert_eq!(of("a", b"Hello"), Ok(Format::Text));
    assert!(of("a.jsonl", b"\x1f\x8b\x08").unwrap_err().contains("gzip"));
    let error = chat_encoder_test(EncodeOptions::default(), "a.parquet", b"PAR1....").unwrap_err();
    assert!(error.to_string().contains("Parquet") && error.to_string().contains("JSON lines"), "{error}");
}

#[test]
fn endless_rows_are_passed_over() {
    let mut file = b"{\"text\": \"".to_vec();
    file.resize(MAX_ROW + 5, b'a');
    file.extend(b"\"}\n{\"text\": \"bc\"}\n");
    let length = file.iter().position(|&b| b == b'\n').unwrap() + 1;
    let (dataset, report) = chat_encoder_test(EncodeOptions::default(), "a.jsonl", &file).unwrap();
    assert_eq!((dataset.items.len(), dataset.items[0].source.line), (1, 2));
    assert!(report.skipped[&Reason::RowTooLong].first[0].detail.starts_with(&length.to_string()));
    let array = [b"[".as_slice(), &file[..length], b",{\"text\": \"bc\"}]"].concat();
    let (dataset, report) = chat_encoder_test(EncodeOptions::default(), "a.json", &array).unwrap();
    assert_eq!((dataset.items.len(), report.skipped[&Reason::RowTooLong].count), (1, 1));
}

#[test]
fn files_are_hashed_whole() {
    let folder = tempfile::tempdir().unwrap();
    let contents = ["{\"text\": \"ab\"}\n\n", "[{\"text\": \"cd\"}] trailing", "plain\ntext"];
    let paths: Vec<_> = ["a.jsonl", "b.json", "c.txt"].iter().map(|name| folder.path().join(name)).collect();
    for (path, content) in paths.iter().zip(contents) {
        std::fs::write(path, content).unwrap();
    }
    let t = tokenizer();
    let encoder = Encoder::new(&t, None, EncodeOptions::default());
    let (dataset, report) = Dataset::load(&paths, &encoder).unwrap();
    for (file, content) in dataset.files.iter().zip(contents) {
        let digest: String = Sha256::digest(content).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!((file.bytes, &file.sha256), (content.len() as u64, &digest));
    }
    assert_eq!(dataset.items.iter().map(|e| e.source.file).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(report.skipped_count(), 2);

    let missing = folder.path().join("none.jsonl");
    let error = Dataset::load(&[&missing], &encoder).unwrap_err();
    assert!(matches!(error, DataError::Io { .. }) && error.to_string().contains("none.jsonl"), "{error}");
    std::fs::write(&paths[0], "{}\n").unwrap();
    let error = Dataset::load(&paths[..1], &encoder).unwrap_err().to_string();
    assert!(error.contains("no row") && error.contains("a.jsonl:1: it has no keys"), "{error}");
    assert!(matches!(Dataset::load::<&Path>(&[], &encoder), Err(DataError::NoFiles)));
}

#[test]
fn plain_text_is_cut_at_blank_lines() {
    let t = tokenizer();
    let text = "ab\ncd\n\nefgh\n\n\nij\n\nklmnopqrstuvwxyzABCDEFGH\n";
    let encoder = |max_len| Encoder::new(&t, None, EncodeOptions { max_len, ..EncodeOptions::default() });
    let pieces = |max_len, bytes: &[u8]| {
        let (dataset, report) = read(&encoder(max_len), "a.txt", bytes).unwrap();
        let texts: Vec<String> = dataset.items.iter().map(|e| t.decode(&e.tokens, false)).collect();
        (texts, dataset.items.iter().map(|e| e.source.line).collect::<Vec<_>>(), report)
    };
    let (texts, lines, report) = pieces(14, text.as_bytes());
    assert_eq!(texts, ["ab\ncd\n\nefgh\n\n\n", "ij\n\n", "klmnopqrstuvwx", "yzABCDEFGH\n</s>"]);
    assert_eq!((lines, report.skipped_count()), (vec![1, 7, 9, 9], 0));
    for max_len in 2..60 {
        let whole = pieces(max_len, text.as_bytes()).0.concat();
        // A lone token at the end has nothing before it to be predicted from.
        assert!(whole == format!("{text}</s>") || whole == text, "{max_len}: {whole}");
    }
    // Prose with holes is not learnt.
    let error = read(&encoder(100), "a.txt", b"ab\n\xff\ncd").unwrap_err();
    assert!(matches!(error, DataError::NotText { line: 2, .. }), "{error}");
    assert!(pieces(100, b"").0.is_empty());
}

#[test]
fn rows_keep_their_side() {
    let t = tokenizer();
    let template = chatml(&t);
    let encoder = Encoder::new(&t, Some(&template), EncodeOptions::default());
    let rows: Vec<String> =
        (0..1000).map(|i| format!("{{\"prompt\": \"{}\", \"completion\": \"{i}\"}}\n", i % 7)).collect();
    let load = |rows: &[String]| read(&encoder, "a.jsonl", rows.concat()).unwrap().0;
    let sides = |dataset: Dataset, seed| {
        let (kept, held) = dataset.split(0.1, seed);
        let tokens = |d: Dataset| d.items.into_iter().map(|e| e.tokens).collect::<Vec<_>>();
        (tokens(kept), tokens(held))
    };
    let (kept, held) = sides(load(&rows), 1);
    assert_eq!(kept.len() + held.len(), 1000);
    assert!((70..130).contains(&held.len()), "{}", held.len());
    let (_, other) = sides(load(&rows), 2);
    assert_ne!(held, other);
    // Other rows around them, another order, twice: the same side.
    let mut some: Vec<String> = rows[300..700].iter().rev().cloned().collect();
    some.extend_from_within(..);
    let (some_kept, some_held) = sides(load(&some), 1);
    assert!(
        some_held.iter().all(|tokens| held.contains(tokens))
            && some_kept.iter().all(|tokens| kept.contains(tokens))
    );
    // Each side has a row as soon as there are two.
    for (fraction, seed) in [(0.001, 0), (0.001, 1), (0.999, 0), (1.0, 5)] {
        let (kept, held) = load(&rows[..2]).split(fraction, seed);
        assert_eq!((kept.items.len(), held.items.len()), (1, 1));
    }
    assert_eq!(load(&rows[..1]).split(0.5, 0).1.items.len(), 0);
    assert_eq!(load(&rows).split(0.0, 0).1.items.len(), 0);
}

#[test]
fn conversations_in_memory_are_those_of_a_file() {
    use crate::text::Message;
    let tokenizer = tokenizer();
    let template = chatml(&tokenizer);
    let encoder = Encoder::new(&tokenizer, Some(&template), EncodeOptions::default());
    let talk = |question: &str, answer: &str| {
        vec![Message::new("user", question), Message::new("assistant", answer)]
    };
    let rows = [talk("a", "b c"), talk("d", "é 🐈"), vec![Message::new("user", "no answer")]];
    let (made, report) = Dataset::from_rows(&rows, &encoder).unwrap();
    let line = |row: &Vec<Message>| {
        let said: Vec<_> =
            row.iter().map(|m| serde_json::json!({ "role": m.role, "content": m.content })).collect();
        serde_json::json!({ "messages": said }).to_string() + "\n"
    };
    let (of_file, of_lines) = read(&encoder, "x.jsonl", rows.iter().map(line).collect::<String>()).unwrap();
    assert_eq!(made.items, of_file.items);
    assert_eq!((report.rows, report.examples), (of_lines.rows, 2));
    assert!(report.is_notable() && report.to_string().contains("rows in memory"), "{report}");
    assert!(Dataset::from_rows(&rows[2..], &encoder).is_err());
    let strict = EncodeOptions { strict: true, ..EncodeOptions::default() };
    let strict = Encoder::new(&tokenizer, Some(&template), strict);
    assert!(Dataset::from_rows(&rows, &strict).unwrap_err().to_string().contains("rows in memory:3"));
}
