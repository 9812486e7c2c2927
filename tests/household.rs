//! The household of `examples/from_scratch`: texts and rows are the same for the same seed, right, and what is held out is.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]
#![cfg(feature = "train")]

#[path = "../examples/from_scratch/household/generate/mod.rs"]
#[allow(dead_code)]
mod generate;

use std::collections::{BTreeMap, BTreeSet};

use generate::asked::{Asked, ask, wording};
use generate::corpus::document;
use generate::frame::{all, normal};
use generate::frames::{Kind, kinds};
use generate::mistakes::mistake;
use generate::numbers::{Time, words};
use generate::rng::Rng;
use generate::rows::{self, Sizes};
use serde_json::Value;

const SIZES: Sizes = Sizes { sft: 2000, sft_val: 100, prompts: 1000, pairs: 1000, test: 570 };

struct House {
    corpus: Vec<String>,
    chats: Vec<Value>,
    held_out: Vec<Value>,
    prompts: Vec<Value>,
    pairs: Vec<Value>,
    test: Vec<Value>,
}

impl House {
    fn new(seed: u64) -> Self {
        let rng = |purpose| Rng::new(seed, purpose);
        let mut taken = BTreeSet::new();
        let mut documents = rng("corpus");
        Self {
            corpus: (0..12_000).map(|_| document(&mut documents)).collect(),
            chats: rows::chats(SIZES.sft, &mut taken, &mut rng("sft")),
            held_out: rows::chats(SIZES.sft_val, &mut taken, &mut rng("sft val")),
            prompts: rows::prompts(SIZES.prompts, &mut rng("prompts")),
            pairs: rows::pairs(SIZES.pairs, &mut rng("pairs")),
            test: rows::test(SIZES.test, &mut rng("test")),
        }
    }

    /// Everything but the test.
    fn open(&self) -> Vec<String> {
        let rows = [&self.chats, &self.held_out, &self.prompts, &self.pairs];
        self.corpus.iter().cloned().chain(rows.into_iter().flatten().map(Value::to_string)).collect()
    }

    /// Answers of all rows but the rejected ones.
    fn answers(&self) -> Vec<String> {
        let chats =
            self.chats.iter().chain(&self.held_out).flat_map(|row| row["messages"].as_array().unwrap());
        let said = chats.filter(|m| m["role"] == "assistant").map(|m| &m["content"]);
        let rows = self.prompts.iter().chain(&self.test).map(|row| &row["answer"]);
        let chosen = self.pairs.iter().map(|row| &row["chosen"]);
        said.chain(rows).chain(chosen).map(|a| a.as_str().unwrap().to_owned()).collect()
    }
}

#[test]
fn a_seed_is_a_household() {
    let (one, same, other) = (House::new(1), House::new(1), House::new(2));
    let all = |h: &House| (h.open(), h.test.clone());
    assert!(all(&one) == all(&same));
    assert!(one.corpus != other.corpus && one.test != other.test && one.chats != other.chats);
}

/// No wording of the test, in any of its variants, is or lies in one that is taught, nor the other way round.
#[test]
fn wordings_of_the_test_stand_nowhere_else() {
    let of =
        |frames: &[&'static str]| -> Vec<String> { frames.iter().flat_map(|f| all(wording(f).1)).collect() };
    let padded = |text: &String| format!(" {text} ");
    let (mut tests, mut open) = (0, 0);
    let taught: Vec<String> = kinds().flat_map(|kind| of(&kind.every())).collect();
    for kind in kinds() {
        for test in of(kind.test) {
            tests += 1;
            for taught in &taught {
                open += 1;
                let same = *taught == test;
                let long = |text: &str| text.split(' ').count() >= 3;
                let within = long(taught) && padded(&test).contains(&padded(taught));
                let around = long(&test) && padded(taught).contains(&padded(&test));
                assert!(!same && !within && !around, "{}: `{test}` and `{taught}`", kind.name);
            }
        }
    }
    assert!(tests > 130 && open > 50_000, "{tests}, {open}");
}

#[test]
fn questions_of_the_test_stand_in_no_other_text() {
    let house = House::new(3);
    let open: Vec<String> = house.open().iter().map(|text| format!(" {} ", normal(text))).collect();
    let open = open.join("|");
    for row in &house.test {
        let question = format!(" {} ", normal(row["question"].as_str().unwrap()));
        assert!(!open.contains(&question), "`{question}`");
    }
}

/// What is held out are sentences, not words: each is taught somewhere, often.
#[test]
fn words_of_the_test_are_known() {
    let house = House::new(1);
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for text in house.open() {
        normal(&text)
            .split(' ')
            .for_each(|word| *counts.entry(word.trim_matches(':').to_owned()).or_default() += 1);
    }
    for row in &house.test {
        for word in normal(row["question"].as_str().unwrap()).split(' ') {
            let word = word.trim_matches(':');
            let number = word.starts_with(|c: char| c.is_ascii_digit());
            assert!(
                number || counts.get(word).is_some_and(|n| *n >= 5),
                "{word}: {:?} in {row}",
                counts.get(word)
            );
        }
    }
}

#[test]
fn answers_are_actions() {
    const ORDER: [&str; 14] = [
        "action", "room", "door", "list", "time", "state", "percent", "degrees", "minutes", "item", "what",
        "who", "text", "",
    ];
    let answers = House::new(1).answers();
    assert!(answers.len() > 4500);
    for answer in &answers {
        let parsed: BTreeMap<String, Value> = serde_json::from_str(answer).unwrap();
        let at = |key: &String| answer.find(&format!("\"{key}\":")).unwrap();
        let mut keys: Vec<&String> = parsed.keys().collect();
        keys.sort_by_key(|key| at(key));
        let places: Vec<usize> = keys.iter().map(|k| ORDER.iter().position(|o| o == k).unwrap()).collect();
        assert!(places[0] == 0 && places.is_sorted(), "{answer}");
        assert!(parsed.values().all(|v| v.is_u64() || v.as_str().is_some_and(|s| !s.is_empty())), "{answer}");
    }
    // Without spaces outside of texts, so that equal actions are equal strings.
    let bare = |a: &String| a.split('"').step_by(2).all(|part| !part.contains(' '));
    assert!(answers.iter().all(bare));
}

#[test]
fn actions_are_asked_for_as_often() {
    let house = House::new(1);
    for (rows, least) in [(&house.test, 30), (&house.prompts, 50)] {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for row in rows {
            let action: Value = serde_json::from_str(row["answer"].as_str().unwrap()).unwrap();
            *counts.entry(action["action"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        // Sums, clocks and small talk have three turns behind one action.
        let answers = counts.remove("answer").unwrap();
        let (low, high) = (*counts.values().min().unwrap(), *counts.values().max().unwrap());
        assert_eq!(counts.len(), 16, "{counts:?}");
        assert!(low >= least && high <= low + 1 && answers >= 3 * low && answers <= 3 * high, "{counts:?}");
    }
    assert!(house.test.len() >= 400);
    let different: BTreeSet<String> = house.test.iter().map(Value::to_string).collect();
    assert!(different.len() >= 400, "{} different questions", different.len());
}

#[test]
fn texts_are_ascii() {
    let house = House::new(1);
    for text in house.open().iter().chain(&house.test.iter().map(Value::to_string).collect::<Vec<_>>()) {
        assert!(text.chars().all(|c| c == '\n' || (' '..='~').contains(&c)), "{text}");
        assert!(!text.contains(['[', '|']) || text.starts_with('{'), "{text}");
        assert!(!text.contains("{room}") && !text.contains("  "), "{text}");
    }
}

/// Numbers of a text, in digits or in words, by a table of all of them.
fn numbers(text: &str) -> Vec<u32> {
    let names: BTreeMap<String, u32> = (0..=200).map(|n| (words(n), n)).collect();
    // A sign parts two numbers.
    let text = text.replace(['+', '-'], " # ");
    let parts: Vec<&str> = text.split([' ', ',', '.', '?']).filter(|w| !w.is_empty()).collect();
    let (mut found, mut at) = (Vec::new(), 0);
    while at < parts.len() {
        let known = |n: &usize| parts.get(at..at + n).and_then(|of| names.get(&of.join(" ").to_lowercase()));
        let longest = [4, 3, 2, 1].into_iter().find(|n| known(n).is_some());
        match (longest, parts[at].parse()) {
            (Some(n), _) => {
                found.extend(known(&n));
                at += n - 1;
            }
            (None, Ok(number)) => found.push(number),
            _ => {}
        }
        at += 1;
    }
    found
}

fn requests(name: &str, count: usize) -> Vec<Asked> {
    let kind: &'static Kind = kinds().find(|kind| kind.name == name).unwrap();
    let frames = [kind.every(), kind.test.to_vec()].concat();
    let mut rng = Rng::new(9, name);
    (0..count).map(|i| ask(kind, frames[i % frames.len()], &mut rng)).collect()
}

#[test]
fn sums_are_right() {
    type Reckon = fn(u32, u32) -> u32;
    let all: [(&str, Reckon); 3] =
        [("plus", |a, b| a + b), ("minus", |a, b| a.abs_diff(b)), ("times", |a, b| a * b)];
    for (name, reckon) in all {
        for asked in requests(name, 600) {
            let [a, b] = numbers(&asked.text)[..] else { panic!("{}", asked.text) };
            let right = format!(r#"{{"action":"answer","text":"{}"}}"#, reckon(a, b));
            assert_eq!(asked.action.json(), right, "{}", asked.text);
        }
    }
}

/// Minutes after midnight of a time as it is said, read without the generator.
fn minutes(said: &str) -> u32 {
    if said == "noon" {
        return 12 * 60;
    }
    let (face, later) =
        match (said.split_once(" in the "), said.strip_suffix(" pm"), said.strip_suffix(" am")) {
            (Some((face, part)), ..) => (face, part != "morning"),
            (_, Some(face), _) => (face, true),
            (_, _, Some(face)) => (face, false),
            _ => (said, false),
        };
    let tokens: Vec<u32> = face.split(':').filter_map(|part| part.parse().ok()).collect();
    let named = |text: &str| numbers(text)[0];
    let of = |hour: u32, minute: u32| hour * 60 + minute;
    let clock = match (tokens.as_slice(), face.split_once(" past "), face.split_once(" to ")) {
        ([hour, minute], ..) => of(*hour, *minute),
        ([hour], ..) => of(*hour, 0),
        (_, Some(("half", hour)), _) => of(named(hour), 30),
        (_, Some(("quarter", hour)), _) => of(named(hour), 15),
        (_, Some((minute, hour)), _) => of(named(hour), named(minute)),
        // Quarter to one is before one o'clock, which is after twelve.
        (_, _, Some((minute, hour))) => {
            let before = if minute == "quarter" { 15 } else { named(minute) };
            (named(hour) + 11) % 12 * 60 + if named(hour) == 1 { 720 } else { 0 } + 60 - before
        }
        _ => match face.strip_suffix(" o'clock") {
            Some(hour) => of(named(hour), 0),
            None => of(named(face.split(' ').next().unwrap()), named(face.split_once(' ').unwrap().1)),
        },
    };
    if later && clock < 12 * 60 { clock + 12 * 60 } else { clock }
}

#[test]
fn times_are_right() {
    let mut rng = Rng::new(4, "times");
    let mut seen = BTreeSet::new();
    for _ in 0..20_000 {
        let time = Time::random(&mut rng);
        let said = time.said(&mut rng);
        let clock = minutes(&said);
        assert_eq!(format!("{:02}:{:02}", clock / 60, clock % 60), time.digits(), "{said}");
        seen.insert(said);
    }
    assert!(seen.len() > 700, "{}", seen.len());
    let half = Time { hour: 7, minute: 30 };
    assert_eq!((half.on_the_face().as_str(), half.digits().as_str()), ("half past seven", "07:30"));
}

#[test]
fn times_and_numbers_of_requests_are_those_of_their_actions() {
    for name in ["light level", "volume", "heating"] {
        for asked in requests(name, 400) {
            let number = numbers(&asked.text.replace('%', " percent"))[0];
            assert!(
                asked.action.json().ends_with(&format!(":{number}}}")),
                "{} {}",
                asked.text,
                asked.action.json()
            );
        }
    }
    for asked in requests("timer", 400) {
        let text = asked.text.to_lowercase();
        let said = [
            ("quarter of an hour", 15),
            ("half an hour", 30),
            ("hour and a half", 90),
            ("hours", 120),
            ("hour", 60),
        ];
        let named = said.iter().find(|(words, _)| text.contains(words)).map(|(_, n)| *n);
        let number = named.or_else(|| numbers(&text).first().copied()).unwrap_or(1);
        assert!(
            asked.action.json().ends_with(&format!(":{number}}}")),
            "{} {}",
            asked.text,
            asked.action.json()
        );
    }
}

#[test]
fn mistakes_are_none_of_them_right() {
    let mut rng = Rng::new(5, "mistakes");
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for kind in kinds() {
        for frame in kind.every() {
            for _ in 0..20 {
                let asked = ask(kind, frame, &mut rng);
                let (wrong, what) = mistake(&asked, &mut rng);
                assert_ne!(wrong, asked.action.json());
                let parsed: Result<Value, _> = serde_json::from_str(&wrong);
                assert_eq!(parsed.is_err(), matches!(what, "broken" | "chatter"), "{what}: {wrong}");
                *counts.entry(what).or_default() += 1;
            }
        }
    }
    assert!(counts.len() == 6 && counts.values().all(|n| *n > 200), "{counts:?}");
}

/// `ember eval --chat-template` takes the few-shot prompt.
#[test]
fn the_few_shot_prompt_is_a_template() {
    use emberlm::text::{ChatTemplate, Message};
    let template = ChatTemplate::new(&rows::fewshot(&mut Rng::new(1, "fewshot"))).unwrap();
    let question = Message::new("user", "it is dark");
    let text = template.render(&[question], true, &BTreeMap::new()).unwrap();
    assert_eq!(text.matches("say: ").count(), 4, "{text}");
    assert!(text.starts_with("say: ") && text.ends_with("\nsay: it is dark\ndo:"), "{text}");
    for line in text.lines().filter_map(|line| line.strip_prefix("do: ")) {
        assert!(serde_json::from_str::<Value>(line).unwrap()["action"].is_string());
    }
}
