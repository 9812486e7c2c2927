use proptest::prelude::*;

use super::*;

fn watch(pieces: &[&str]) -> (String, bool) {
    let mut guard = LoopGuard::new(Patience::Short);
    let mut shown = String::new();
    for piece in pieces {
        shown += guard.push(piece);
    }
    shown += guard.finish();
    (shown, guard.found())
}

const SENTENCE: &str = "The quick brown fox jumps over the lazy dog today.";

#[test]
fn a_sentence_for_the_third_time_is_not_shown() {
    let text = format!("{SENTENCE} Why? {SENTENCE} Because.\nthe QUICK brown fox, jumps over the lazy dog");
    for size in [1, 3, 7, 1000] {
        let chars: Vec<char> = text.chars().collect();
        let pieces: Vec<String> = chars.chunks(size).map(|c| c.iter().collect()).collect();
        let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
        let (shown, found) = watch(&pieces);
        assert!(found, "{size}");
        assert_eq!(shown, format!("{SENTENCE} Why? {SENTENCE} Because."));
    }
    // Complete only by the text's end.
    let (shown, found) = watch(&[SENTENCE, " ", SENTENCE, " The quick brown fox jumps over the lazy"]);
    assert!(found && shown == format!("{SENTENCE} {SENTENCE}"), "{shown}");
    let (shown, found) = watch(&[SENTENCE, " ", SENTENCE, " The quick brown fox jumps over the"]);
    assert!(!found && shown.ends_with("over the"), "seven words may come again: {shown}");
}

#[test]
fn earlier_texts_count_but_runs_do_not_cross_them() {
    let mut guard = LoopGuard::new(Patience::Short);
    guard.remember(SENTENCE);
    guard.remember(SENTENCE);
    assert_eq!(guard.push("Well: the quick brown fox"), "Well:");
    assert_eq!(guard.push(" sleeps, "), " the quick brown fox sleeps,");
    assert_eq!(guard.push("the quick brown fox jumps over the lazy dog "), "");
    assert!(guard.finish().is_empty() && guard.found());
    let mut guard = LoopGuard::new(Patience::Short);
    for _ in 0..4 {
        guard.remember("one two three four five");
    }
    let text = "one two three four five one two three four five";
    assert_eq!(guard.push(text), text);
    assert!(guard.finish().is_empty() && !guard.found());
}

#[test]
fn a_numbered_list_that_begins_anew_is_a_circle() {
    let days = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
    let text: String = (0..40).map(|i| format!("{}. {}\n", i + 1, days[i % 7])).collect();
    let (shown, found) = watch(&[&text]);
    assert!(found && shown.ends_with("28. Sunday"), "{shown}");
    let times: String =
        (0..40).map(|i| format!("{i} o'clock: {} times {i} is {}\n", i * 7, i * i * 7)).collect();
    assert!(!watch(&[&times]).1, "numbers that say something count");
}

#[test]
fn what_has_no_end_is_found_in_any_script() {
    for (piece, most) in
        [("ha", 90), ("我很高兴", 90), ("a. ", 90), ("no, ", 90), (SENTENCE, 120), ("na na hey ", 110)]
    {
        let text = piece.repeat(1000 / piece.len());
        let pieces: Vec<&str> = text.split_inclusive(|_| true).collect();
        let (shown, found) = watch(&pieces);
        assert!(found && shown.chars().count() <= most, "{piece}: {}", shown.chars().count());
    }
    let dashes = "-".repeat(1000);
    assert!(watch(&[&dashes]).1, "even dashes end");
}

#[test]
fn lists_tables_code_and_numbers_pass() {
    let list: String = (1..40).map(|i| format!("{i}. Item number {i} of the list\n")).collect();
    let zeros = "[0, 0, 0, 0, 0, 0],\n".repeat(6);
    let table = format!("| a | b |\n|{}|{}|\n", "-".repeat(40), "-".repeat(40));
    let sums: String = (1..30).map(|i| format!("{i} + {i} = {}\n", 2 * i)).collect();
    let code = format!(
        "```python\n{}```\n",
        (0..5)
            .map(|_| "def test(self):\n    result = self.run(a, b, c, d)\n    assert result == 1\n")
            .collect::<String>()
    );
    let song = "Row, row, row your boat,\nGently down the stream.\nMerrily, merrily, merrily, merrily,\nLife is but a dream.\n";
    for text in [&list, &zeros, &table, &sums, &code, &song.repeat(2)] {
        let (shown, found) = watch(&[text]);
        assert!(!found && shown == *text, "{text}");
    }
    let mut thoughts = LoopGuard::new(Patience::Long);
    let often = format!("{SENTENCE} Hm. But wait. ").repeat(3);
    assert!(thoughts.push(&often).len() <= often.len() && !thoughts.found());
}

#[test]
fn code_is_judged_where_it_is_asked_for() {
    let line = "def test(self, a, b): return self.run(a, b)\n";
    let code = format!("```python\n{}```\n", line.repeat(3));
    for (patience, times) in [(Patience::Short, 3), (Patience::Shortest, 2)] {
        let mut guard = LoopGuard::new(patience);
        let shown = guard.push(&code).to_owned() + guard.finish();
        assert_eq!((shown.matches("def test").count(), guard.found()), (times, times == 2), "{shown}");
        let mut anew = guard.anew();
        anew.push(&code);
        assert_eq!(
            anew.finish().is_empty() && anew.found(),
            times == 2,
            "the same patience, and nothing seen yet"
        );
    }
}

/// Most times that a run of eight words comes in texts, not counting overlaps.
fn most_runs(texts: &[&str]) -> usize {
    let mut seen: std::collections::HashMap<Vec<String>, (usize, usize)> = std::collections::HashMap::new();
    let mut at = 0;
    for text in texts {
        let words: Vec<String> = text
            .to_lowercase()
            .split(|c: char| !c.is_alphanumeric())
            .filter(|w| !w.is_empty())
            .map(Into::into)
            .collect();
        for run in words.windows(8) {
            at += 1;
            let entry = seen.entry(run.to_vec()).or_insert((0, 0));
            if entry.0 == 0 || at - entry.1 >= 8 {
                *entry = (entry.0 + 1, at);
            }
        }
        at += 8;
    }
    seen.values().map(|(times, _)| *times).max().unwrap_or(0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn no_run_is_shown_three_times_and_nothing_else_is_lost(
        words in prop::collection::vec(0usize..5, 0..160),
        cuts in prop::collection::vec(1usize..9, 0..80),
        earlier in prop::collection::vec(0usize..5, 0..30),
    ) {
        let vocabulary = ["alpha ", "beta, ", "gamma. ", "délta\n", "ε "];
        let text: String = words.iter().map(|w| vocabulary[*w]).collect();
        let before: String = earlier.iter().map(|w| vocabulary[*w]).collect();
        let mut guard = LoopGuard::new(Patience::Short);
        guard.remember(&before);
        let (mut shown, mut chars) = (String::new(), text.chars());
        for cut in cuts.iter().chain([&usize::MAX]) {
            let piece: String = chars.by_ref().take(*cut).collect();
            shown += guard.push(&piece);
            prop_assert!(text.starts_with(&shown), "only what was written, in order");
        }
        shown += guard.finish();
        prop_assert!(text.starts_with(&shown));
        prop_assert!(most_runs(&[&before, &shown]) < 3);
        prop_assert_eq!(shown == text, !guard.found() || text[shown.len()..].is_empty());
        if guard.found() {
            // It was time: with the next words there is a third, or a piece without end.
            let again = most_runs(&[&before, &text]) >= 3;
            prop_assert!(again || text.chars().count() > 72);
        }
    }

    #[test]
    fn pieces_make_no_difference(words in prop::collection::vec(0usize..3, 0..120), size in 1usize..12) {
        let text: String = words.iter().map(|w| ["one two ", "three-four. ", "«fünf» "][*w]).collect();
        let chars: Vec<char> = text.chars().collect();
        let pieces: Vec<String> = chars.chunks(size).map(|c| c.iter().collect()).collect();
        let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
        prop_assert_eq!(watch(&pieces), watch(&[&text]));
    }
}
