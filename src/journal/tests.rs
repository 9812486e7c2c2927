//! The file that people edit and power cuts tear, what counts of it, and what is made of it.

use std::collections::HashSet;
use std::fs;
use std::io::Write;

use super::*;

fn entry(question: &str, answer: &str, feedback: Feedback) -> Entry {
    Entry {
        time: "2026-11-25T03:04:11Z".into(),
        model: "tiny".into(),
        base: "0123456789ab".into(),
        system: Some("be brief".into()),
        messages: vec![Said::user("hi"), Said::assistant("hello"), Said::user(question)],
        answer: answer.into(),
        feedback,
        ..Entry::default()
    }
}

fn samples() -> Vec<Entry> {
    let edit = |better: &str| Feedback::Edit { better: better.into() };
    let choice = |other: &str, chosen| Feedback::Choice { other: other.into(), other_cut: true, chosen };
    vec![
        entry("a?", "a", Feedback::Good),
        Entry {
            adapter: "poet:0.5".into(),
            cut: true,
            ..entry("b?", "b\n\"ü\"", Feedback::Bad { why: None })
        },
        entry("c?", "c", Feedback::Bad { why: Some("too long".into()) }),
        entry("d?", "d", edit("D")),
        entry("e?", "e", choice("E", Chosen::Other)),
        Entry { system: None, ..entry("f?", "f", choice("F", Chosen::Answer)) },
    ]
}

/// A journal of the entries, and the folder it lies in.
fn journal(entries: &[Entry]) -> (tempfile::TempDir, Journal) {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(folder.path().join("deep/journal.jsonl")).unwrap();
    for (entry, id) in entries.iter().zip(1..) {
        assert_eq!(journal.append(entry).unwrap(), id);
    }
    (folder, journal)
}

fn numbered(entries: Vec<Entry>) -> Vec<Entry> {
    entries.into_iter().zip(1..).map(|(entry, id)| Entry { id, ..entry }).collect()
}

fn ids(reading: &Reading) -> Vec<u64> {
    reading.entries.iter().map(|entry| entry.id).collect()
}

#[test]
fn entries_come_back_one_a_line() {
    let (_folder, journal) = journal(&samples());
    let reading = journal.read().unwrap();
    assert_eq!(reading.entries, numbered(samples()));
    assert_eq!((reading.problems.len(), reading.replaced, reading.last_id), (0, 0, 6));
    let text = fs::read_to_string(journal.path()).unwrap();
    assert_eq!(text.lines().count(), 6);
    // The documented names, in the documented order.
    let first = text.lines().nth(4).unwrap();
    assert!(
        first.starts_with(r#"{"id":5,"time":"2026-11-25T03:04:11Z","feedback":"choice","model":"tiny""#),
        "{first}"
    );
    for part in [r#""chosen":"other""#, r#""other":"E""#, r#"{"role":"user","content":"e?"}"#] {
        assert!(first.contains(part), "{part}: {first}");
    }
    assert!(text.lines().nth(1).unwrap().contains(r#""cut":true"#));
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(journal.path()).unwrap());
        assert_eq!(mode & 0o077, 0, "for its owner alone");
    }
}

#[test]
fn a_line_torn_at_any_byte_is_sealed_and_reported_and_costs_nothing_else() {
    let (folder, journal) = journal(&samples()[..3]);
    let whole = fs::read(journal.path()).unwrap();
    let last = whole[..whole.len() - 1].iter().rposition(|&b| b == b'\n').unwrap() + 1;
    let path = folder.path().join("torn.jsonl");
    for cut in last..=whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        let mut torn = Journal::open(&path).unwrap();
        // Without its end, but complete, a line says all it has to say.
        let complete = cut >= whole.len() - 1;
        let expected: &[u64] = if complete { &[1, 2, 3] } else { &[1, 2] };
        assert_eq!(ids(torn.opened()), expected, "cut at {cut}");
        let problems = &torn.opened().problems;
        assert_eq!(problems.len(), usize::from(!complete && cut > last), "cut at {cut}");
        assert!(problems.iter().all(|p| p.torn && p.line == 3), "{problems:?}");
        let id = torn.append(&samples()[3]).unwrap();
        assert_eq!(id, if complete { 4 } else { 3 });
        let after = torn.read().unwrap();
        assert_eq!(ids(&after), [expected, &[id]].concat(), "cut at {cut}");
        // Never deleted; reported, though no longer the last.
        assert!(fs::read(&path).unwrap().starts_with(&whole[..cut]));
        assert_eq!(after.problems.len(), problems_expected(cut, last, complete), "cut at {cut}");
        assert!(after.problems.iter().all(|p| !p.torn && p.line == 3));
    }
}

fn problems_expected(cut: usize, last: usize, complete: bool) -> usize {
    usize::from(!complete && cut > last)
}

#[test]
fn the_last_word_on_an_answer_counts() {
    let good = |q| entry(q, "x", Feedback::Good);
    let bad = |q, supersedes| Entry { supersedes, ..entry(q, "x", Feedback::Bad { why: None }) };
    let edit = Entry { supersedes: Some(2), ..entry("a?", "x", Feedback::Edit { better: "y".into() }) };
    let withdrawn = |supersedes| Entry { supersedes, ..entry("b?", "x", Feedback::Withdrawn) };
    let of = |entries: &[Entry]| journal(entries).1.read().unwrap();
    let reading = of(&[good("a?"), bad("a?", Some(1)), edit.clone(), good("b?")]);
    assert_eq!((ids(&reading), reading.replaced), (vec![3, 4], 2));
    assert_eq!(ids(&of(&[good("b?"), withdrawn(Some(1))])), [0u64; 0]);
    assert_eq!(ids(&of(&[good("b?"), withdrawn(Some(7)), withdrawn(None)])), [1]);
    // A line in between that the user deleted does not bring the first back.
    assert_eq!(ids(&of(&[good("a?"), Entry { supersedes: Some(9), ..edit }])), [2]);
    // Of another day, without a number.
    assert_eq!(ids(&of(&[good("a?"), bad("a?", None)])), [2]);
    // Choices stand beside judgements; the same one twice is one.
    let choice =
        entry("a?", "x", Feedback::Choice { other: "y".into(), other_cut: false, chosen: Chosen::Other });
    assert_eq!(ids(&of(&[good("a?"), choice.clone(), choice.clone(), good("a?")])), [2, 4]);
    // The same words of another model are another matter.
    let other = Entry { base: "other".into(), ..bad("a?", None) };
    assert_eq!(ids(&of(&[good("a?"), other])), [1, 2]);
    // Only earlier entries can be superseded.
    assert_eq!(ids(&of(&[bad("a?", Some(2)), good("b?")])), [1, 2]);
}

#[test]
fn what_people_do_to_a_file_does_no_harm() {
    let (_folder, mut journal) = journal(&samples());
    let text = fs::read_to_string(journal.path()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let keys: HashSet<Key> = journal.read().unwrap().entries.iter().map(Entry::key).collect();
    assert_eq!(keys.len(), 6);
    let edited = [
        &format!("\u{feff}{}\r", lines[5]),
        "",
        "  ",
        lines[0],
        "# a note",
        "[1]",
        "{\"id\":1}",
        r#"{"id":9007199254740992,"feedback":"good","messages":[{"role":"user","content":"x"}],"answer":"y"}"#,
        r#"{"id":2,"feedback":"good","messages":[{"role":"assistant","content":"x"}],"answer":"y"}"#,
        r#"{"id":2,"feedback":"edit","messages":[{"role":"user","content":"x"}],"answer":"y"}"#,
        r#"{"mine":[[1]],"id":2,"feedback":"good","messages":[{"role":"user","content":"x"}],"answer":"y"}"#,
    ];
    fs::write(journal.path(), edited.join("\n")).unwrap();
    let reading = journal.read().unwrap();
    assert_eq!(ids(&reading), [6, 1, 2]);
    let bad: Vec<u64> = reading.problems.iter().map(|p| p.line).collect();
    assert_eq!(bad, [5, 6, 7, 8, 9, 10], "{:?}", reading.problems);
    for (problem, says) in
        reading.problems.iter().zip(["expected", "invalid", "missing", "number", "user", "better"])
    {
        assert!(problem.why.contains(says) && !problem.why.contains("at line"), "{problem:?}");
    }
    assert!(keys.contains(&reading.entries[0].key()) && keys.contains(&reading.entries[1].key()));
    // The file ends without a line feed; the number goes on from the largest ever seen.
    assert_eq!(journal.append(&samples()[2]).unwrap(), 7);
    assert_eq!(ids(&journal.read().unwrap()), [6, 1, 2, 7]);
    // The file deleted, or replaced by an editor while the journal is open.
    fs::remove_file(journal.path()).unwrap();
    assert_eq!(journal.append(&samples()[2]).unwrap(), 8);
    assert_eq!(ids(&journal.read().unwrap()), [8]);
}

#[test]
fn two_writers_take_different_numbers() {
    let (_folder, mut one) = journal(&samples()[..1]);
    let mut two = Journal::open(one.path()).unwrap();
    let numbers = [two.append(&samples()[1]), one.append(&samples()[2]), one.append(&samples()[3])];
    assert_eq!(numbers.map(Result::unwrap), [2, 3, 4]);
    assert_eq!(two.append(&samples()[4]).unwrap(), 5);
    assert_eq!(ids(&one.read().unwrap()), [1, 2, 3, 4, 5]);
}

#[test]
fn hostile_files_are_bounded() {
    let long = [&vec![b'['; MAX_LINE + 1][..], b"\n"].concat();
    let reading = read_from(&long[..]).unwrap();
    assert!(reading.problems[0].why.contains("bytes") && reading.entries.is_empty());
    let deep = read_from(&vec![b'['; 100_000][..]).unwrap();
    assert_eq!((deep.problems.len(), deep.problems[0].torn), (1, true));
    let many = read_from(&b"{}\n".repeat(1000)[..]).unwrap();
    assert_eq!((many.problems.len(), many.more_problems), (MAX_PROBLEMS, 900));
    let not_text = read_from(&b"\xff\xfe\n\0\0\0"[..]).unwrap();
    assert_eq!(not_text.problems.len(), 2);
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(read(folder.path()), Err(JournalError::File(crate::io::IoError::NotAFile { .. }))));
    assert!(Journal::open(folder.path()).is_err());
    assert_eq!(read(folder.path().join("missing")).unwrap(), Reading::default());
    let (_folder, mut journal) = journal(&[]);
    let huge = entry("a?", &"x".repeat(MAX_LINE), Feedback::Good);
    assert!(matches!(journal.append(&huge), Err(JournalError::TooLong { .. })));
    let mut file = fs::File::create(journal.path()).unwrap();
    let last = Entry { id: MAX_ID, ..entry("a?", "x", Feedback::Good) };
    writeln!(file, "{}", serde_json::to_string(&last).unwrap()).unwrap();
    assert!(matches!(journal.append(&samples()[0]), Err(JournalError::NoIdLeft)));
}

#[test]
fn keys_are_of_what_is_said() {
    let samples = samples();
    let all: HashSet<Key> = samples.iter().map(Entry::key).collect();
    assert_eq!(all.len(), samples.len());
    let first = &samples[2];
    let other_time = Entry { id: 77, time: "never".into(), model: "x".into(), ..first.clone() };
    assert_eq!(other_time.key(), first.key());
    let changed = [
        Entry { answer: "C".into(), ..first.clone() },
        Entry { base: "other".into(), ..first.clone() },
        Entry { system: None, ..first.clone() },
        Entry { system: Some(String::new()), ..first.clone() },
        Entry { feedback: Feedback::Good, ..first.clone() },
        Entry { messages: first.messages[2..].to_vec(), ..first.clone() },
    ];
    let keys: HashSet<Key> = changed.iter().chain([first]).map(Entry::key).collect();
    assert_eq!(keys.len(), 7);
    let text = first.key().to_string();
    assert_eq!(text.parse(), Ok(first.key()));
    for wrong in ["", &text[1..], &text.replace(&text[..2], "+1"), &"é".repeat(16)] {
        assert!(wrong.parse::<Key>().is_err(), "{wrong}");
    }
}

#[test]
fn examples_are_what_trainers_take() {
    let samples = samples();
    let likes: Vec<(String, bool, bool)> =
        thumbs(&samples).into_iter().map(|t| (t.completion, t.good, t.cut)).collect();
    let thumb = |text: &str, good, cut| (text.to_owned(), good, cut);
    assert_eq!(likes, [thumb("a", true, false), thumb("b\n\"ü\"", false, true), thumb("c", false, false)]);
    let pairs: Vec<String> =
        preferences(&samples).iter().map(|p| format!("{}>{}", p.chosen, p.rejected)).collect();
    assert_eq!(pairs, ["D>d", "E>e", "f>F"]);
    let better: Vec<String> = demonstrations(&samples).into_iter().map(|d| d.completion).collect();
    assert_eq!(better, ["D", "E", "f"]);
    let cut: Vec<(bool, bool)> =
        preferences(&samples).iter().map(|p| (p.chosen_cut, p.rejected_cut)).collect();
    assert_eq!(cut, [(false, false), (true, false), (false, true)]);
    let cut: Vec<bool> = demonstrations(&samples).iter().map(|d| d.cut).collect();
    assert_eq!(cut, [false, true, false]);
    let prompt = &preferences(&samples)[0].messages;
    let said: Vec<(&str, &str)> = prompt.iter().map(|m| (m.role.as_str(), m.content.as_str())).collect();
    assert_eq!(said, [("system", "be brief"), ("user", "hi"), ("assistant", "hello"), ("user", "d?")]);
    assert_eq!(preferences(&samples)[2].messages[0].role, "user");
    let row = preferences(&samples)[1].row();
    assert_eq!(row["chosen"][0]["content"], "E");
    assert_eq!(row["prompt"].as_array().unwrap().len(), 4);
    assert_eq!(thumbs(&samples)[1].row()["label"], false);
    assert_eq!(demonstrations(&samples)[0].row()["completion"][0]["role"], "assistant");
    // Nothing is learnt from nothing, or from two equal answers.
    let empty = entry("x?", " ", Feedback::Good);
    let same = entry("x?", "x", Feedback::Edit { better: "x".into() });
    assert!(thumbs([&empty]).is_empty() && preferences([&same]).is_empty());
    assert_eq!(demonstrations([&same]).len(), 1);
}

#[test]
fn a_lesson_holds_some_questions_back_and_keeps_them_there() {
    let entries: Vec<Entry> = (0..200)
        .map(|i| Entry { id: i, ..entry(&format!("{}?", i / 2), &i.to_string(), Feedback::Good) })
        .collect();
    let lesson = Lesson::plan(entries.clone(), &Cursor::default(), false, 0.2);
    assert_eq!((lesson.train.len() + lesson.held_out.len(), lesson.fresh()), (200, 200));
    assert!((20..=40).contains(&lesson.held_out.len()), "{}", lesson.held_out.len());
    let questions = |entries: &[Entry]| entries.iter().map(Entry::prompt_key).collect::<HashSet<Key>>();
    assert!(questions(&lesson.train).is_disjoint(&questions(&lesson.held_out)));
    let standing = |e: &Entry, held: bool| {
        (e.key(), if held { Standing::HeldOut { version: 1 } } else { Standing::Learnt { version: 1 } })
    };
    let known = lesson.train.iter().map(|e| standing(e, false));
    let cursor = Cursor(known.chain(lesson.held_out.iter().map(|e| standing(e, true))).collect());
    // Later: more answers to the same questions go where the questions are.
    let more = entries.iter().map(|e| Entry { answer: format!("{} more", e.answer), ..e.clone() });
    let all: Vec<Entry> = entries.iter().cloned().chain(more).collect();
    assert_eq!(cursor.count_new(&all), 200);
    let later = Lesson::plan(all, &cursor, false, 0.2);
    assert_eq!((later.earlier.len(), later.fresh()), (lesson.train.len(), 200));
    assert_eq!(questions(&later.train), questions(&lesson.train));
    assert_eq!(questions(&later.held_out), questions(&lesson.held_out));
    // What was undone is left alone, unless it is asked for.
    let undone = Cursor(entries.iter().map(|e| (e.key(), Standing::Undone { version: 1 })).collect());
    assert_eq!(Lesson::plan(entries.clone(), &undone, false, 0.2).undone, 200);
    assert_eq!(Lesson::plan(entries.clone(), &undone, true, 0.2), lesson);
    // Few are all learnt, and one is held back as soon as it is not more than its part, of earlier ones as well.
    let few = |count: usize, fraction| {
        let lesson = Lesson::plan(entries[..2 * count].to_vec(), &Cursor::default(), false, fraction);
        (lesson.train.len(), lesson.held_out.len())
    };
    assert_eq!((few(1, 0.2), few(4, 0.2), few(5, 0.2)), ((2, 0), (8, 0), (8, 2)));
    assert_eq!((few(1, 1.0), few(2, 1.0), few(5, 0.0)), ((2, 0), (2, 2), (10, 0)));
    let cursor = Cursor(entries[..8].iter().map(|e| standing(e, false)).collect());
    let later = Lesson::plan(entries[..14].to_vec(), &cursor, false, 0.2);
    assert_eq!((later.earlier.len(), later.train.len(), later.held_out.len()), (8, 4, 2));
}
