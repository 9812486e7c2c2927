//! The same question in other words, by rule: what a fact is taught with, and what is asked afterwards to see whether it is
//! known. English questions are turned around; others are only written differently.

pub(super) mod answers;
mod fragments;
mod thesaurus;

use std::collections::BTreeSet;

/// Other wordings of a question. No wording is in both lists, and none is the question itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wordings {
    /// To learn with.
    pub taught: Vec<String>,
    /// To ask afterwards.
    pub asked: Vec<String>,
}

/// Words that questions begin with.
const ASKING: [&str; 9] = ["what", "who", "whose", "where", "when", "why", "how", "which", "what's"];
/// Verbs of which a question has one before its subject.
const BEFORE: [&str; 18] = [
    "is", "are", "was", "were", "am", "does", "do", "did", "can", "could", "will", "would", "should", "must",
    "has", "have", "had", "may",
];
const PRONOUNS: [&str; 7] = ["i", "you", "we", "he", "she", "it", "they"];
const DETERMINERS: [&str; 11] =
    ["the", "a", "an", "my", "our", "your", "his", "her", "their", "this", "that"];

/// Where something was put, or lies.
const PUT: [&str; 6] = [
    "where is *",
    "in which place is *",
    "where do I find *",
    "what is the place of *",
    "the place of *",
    "at what spot is *",
];

/// Pieces of a question, with `*` for what they are about, and other ways to ask it.
const TURNS: [(&str, &[&str]); 39] = [
    (
        "what is *'s name",
        &["what is * called", "which name does * have", "the name of *", "who is *", "what do we call *"],
    ),
    (
        "what is my name",
        &["what am I called", "who am I", "my name", "what do people call me", "tell me who I am"],
    ),
    (
        "what is * called",
        &["what is the name of *", "which name does * have", "the name of *", "what do we call *"],
    ),
    ("how old is *", &["what is the age of *", "the age of *", "which age has *", "how many years is * old"]),
    ("what colour is *", &["which colour does * have", "the colour of *", "in which colour is *"]),
    ("what color is *", &["which color does * have", "the color of *", "in which color is *"]),
    (
        "where does * live",
        &[
            "in which place does * live",
            "where is the home of *",
            "which town is * in",
            "what is the address of *",
        ],
    ),
    ("where does * work", &["who employs *", "what is the workplace of *", "which company is * with"]),
    (
        "where do I work",
        &["who employs me", "what is my workplace", "my job is at which place", "which firm am I with"],
    ),
    (
        "what does * do for a living",
        &["what is the job of *", "which work does * do", "how does * earn money"],
    ),
    ("what does * do", &["what is the job of *", "which work does * do"]),
    (
        "what am I allergic to",
        &["which allergy do I have", "what does my body not tolerate", "what must I avoid"],
    ),
    (
        "when does * end",
        &["until which date does * go", "what is the last day of *", "the end of *", "when is * over"],
    ),
    ("when does * start", &["from which date on is *", "what is the first day of *", "the start of *"]),
    (
        "when does * *",
        &["on which day does * *", "at what time does * *", "what is the date on which * will *"],
    ),
    ("which day is * *", &["when is * *", "on what day is * *", "what is the day on which * is *"]),
    ("where is *", &["in which place is *", "where do I find *", "the place of *", "where did we put *"]),
    (
        "when is *",
        &["on which day is *", "what is the date of *", "the date of *", "on what date do I have *"],
    ),
    ("who is *", &["which person is *", "the name of *", "what is the name of *", "tell me the name of *"]),
    ("what is the * of *", &["which * does * have", "*'s * please", "how do I get the * of *"]),
    ("what is *", &["which one is *", "name *", "*", "I forgot *", "please give me *"]),
    ("which * is *", &["what * is *", "what is the * of *"]),
    ("who *", &["what is the name of the person who *", "which person *", "do you know the one who *"]),
    (
        "how many * do I have",
        &[
            "what is the number of my *",
            "what do I count of *",
            "the number of my *",
            "how big is the number of my *",
        ],
    ),
    (
        "how much does * cost",
        &["what is the price of *", "what do I pay for *", "the price of *", "how expensive is *"],
    ),
    (
        "how much do I pay for *",
        &["what is the price of *", "what does * cost me", "the price of *", "how expensive is * for me"],
    ),
    (
        "how much * do I pay for *",
        &["what is the * for *", "what do I pay for *", "the * for *", "which sum of * goes to *"],
    ),
    (
        "how much did I lend *",
        &[
            "what does * owe me",
            "which sum did * get from me",
            "the debt of *",
            "how much do I get back from *",
        ],
    ),
    ("where did I put *", &PUT),
    ("where did I leave *", &PUT),
    ("where did I park *", &PUT),
    ("where did I hide *", &PUT),
    ("where do I keep *", &PUT),
    ("where do I store *", &PUT),
    ("where do I park *", &PUT),
    (
        "which * do I take to *",
        &["what * goes to *", "which is the * to *", "the * to *", "which * brings me to *"],
    ),
    (
        "which * do I take for *",
        &["what is the * for *", "which * helps with *", "the * for *", "what do I take for *"],
    ),
    ("which * does * take", &["what is the * of *", "which * is for *", "the * of *", "which * does * get"]),
    ("how many * are *", &["what number of * is *", "the number of * *"]),
];

/// Other wordings of `question`, always the same ones.
pub fn wordings(question: &str) -> Wordings {
    let question = question.trim();
    let plain = question.trim_end_matches(['?', '.', '!', ' ']);
    let small = small_first(plain);
    let (mut taught, mut asked) = (vec![small.to_lowercase()], vec![plain.to_owned()]);
    if !is_english(plain) {
        taught.push(format!("{plain}??"));
    } else {
        taught.extend([format!("Hi! {question}"), format!("{question} I forgot.")]);
        asked.push(format!("{question} Please answer."));
        let keywords = keywords(plain);
        if !keywords.is_empty() {
            let reversed: Vec<&str> = keywords.iter().rev().copied().collect();
            taught.push(format!("What about {}?", keywords.join(" ")));
            taught.push(format!("I need to know it: {}", reversed.join(", ")));
            taught.push(format!("{}?", large_first(&keywords.join(" "))));
        }
        asked.push(format!("Quick question: {small}?"));
        if let Some(said) = indirect(&small) {
            taught.push(format!("Do you know {said}?"));
            taught.push(format!("Tell me {said}."));
            asked.push(format!("Can you remind me {said}?"));
        }
        for (index, turned) in turned(&small).into_iter().enumerate() {
            let turned = if ASKING.iter().any(|word| turned.starts_with(word)) || turned.starts_with("in ") {
                format!("{}?", large_first(&turned))
            } else {
                large_first(&turned)
            };
            if index % 3 == 1 { asked.push(turned) } else { taught.push(turned) }
        }
        taught.extend(fragments::fragments(&small));
        for (index, other) in thesaurus::variants(&small).into_iter().enumerate() {
            if index % 4 == 3 {
                asked.push(format!("{}?", large_first(&other)));
                continue;
            }
            taught.extend(fragments::fragments(&other).into_iter().skip(index % 3).step_by(3).take(2));
            taught.push(format!("{}?", large_first(&other)));
        }
    }
    distinct(question, taught, asked)
}

/// What a question is about: its words without those that all questions have. `I` and `my` stay: they say whose it is.
fn keywords(plain: &str) -> Vec<&str> {
    const SMALL: [&str; 24] = [
        "the", "a", "an", "of", "to", "in", "on", "at", "for", "by", "with", "from", "as", "and", "or",
        "there", "this", "that", "what's", "am", "it", "me", "please", "you",
    ];
    let common = |word: &str| {
        let word = word.to_lowercase();
        ASKING.contains(&word.as_str()) || BEFORE.contains(&word.as_str()) || SMALL.contains(&word.as_str())
    };
    words(plain).into_iter().filter(|word| !common(word)).collect()
}

/// Drops what is there already.
fn distinct(question: &str, taught: Vec<String>, asked: Vec<String>) -> Wordings {
    let mut seen = BTreeSet::from([question.to_owned()]);
    let mut new = |texts: Vec<String>| -> Vec<String> {
        texts.into_iter().filter(|text| !text.trim().is_empty() && seen.insert(text.clone())).collect()
    };
    Wordings { taught: new(taught), asked: new(asked) }
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

fn is_english(plain: &str) -> bool {
    let first = words(plain).first().map(|word| word.to_lowercase());
    first.is_some_and(|word| ASKING.contains(&word.as_str()) || BEFORE.contains(&word.as_str()))
}

/// `where does Ada live` as it stands in a sentence: `where Ada lives`; `None` where the rules do not reach.
fn indirect(question: &str) -> Option<String> {
    let words = words(question);
    if words.len() > 2
        && words[0].eq_ignore_ascii_case("who")
        && !BEFORE.contains(&words[1].to_lowercase().as_str())
    {
        return Some(question.to_owned());
    }
    let before = words.iter().position(|word| BEFORE.contains(&word.to_lowercase().as_str()))?;
    if before == 0 || words.len() < before + 2 {
        return None;
    }
    let (asking, verb, rest) = (words[..before].join(" "), words[before], &words[before + 1..]);
    let pronoun = PRONOUNS.contains(&rest[0].to_lowercase().as_str());
    match verb.to_lowercase().as_str() {
        "do" if pronoun => Some(format!("{asking} {}", rest.join(" "))),
        "does" => {
            let subject = if DETERMINERS.contains(&rest[0].to_lowercase().as_str()) { 2 } else { 1 };
            let [verb] = rest.get(subject..)? else { return None };
            Some(format!("{asking} {} {}", rest[..subject].join(" "), third_person(verb)))
        }
        "do" | "did" => None,
        _ if pronoun => Some([&asking, rest[0], verb, &rest[1..].join(" ")].join(" ").trim_end().to_owned()),
        _ => {
            let last = rest[rest.len() - 1];
            let participle = rest.len() > 1 && last.len() > 4 && last.ends_with("ed");
            let cut = rest.len() - usize::from(participle);
            Some(
                [&asking, &rest[..cut].join(" "), verb, &rest[cut..].join(" ")]
                    .join(" ")
                    .trim_end()
                    .to_owned(),
            )
        }
    }
}

fn third_person(verb: &str) -> String {
    let ends = |all: &[&str]| all.iter().any(|end| verb.ends_with(end));
    if ends(&["s", "sh", "ch", "x", "z", "o"]) {
        return format!("{verb}es");
    }
    match verb.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'i', 'o', 'u']) => format!("{stem}ies"),
        _ if verb == "have" => "has".into(),
        _ => format!("{verb}s"),
    }
}

/// The question by the first of the patterns that fits it.
fn turned(question: &str) -> Vec<String> {
    let found = TURNS.iter().find_map(|(pattern, ways)| Some((caught(question, pattern)?, *ways)));
    let Some((about, ways)) = found else { return vec![] };
    let fill = |way: &&str| {
        let mut parts = way.split('*');
        let mut text = parts.next().unwrap_or_default().to_owned();
        for (index, part) in parts.enumerate() {
            text += about.get(index.min(about.len() - 1)).map_or("", String::as_str);
            text += part;
        }
        text
    };
    ways.iter().map(fill).collect()
}

/// What stands at the stars of a pattern, if the question is of that form. A star is at least a word.
fn caught(question: &str, pattern: &str) -> Option<Vec<String>> {
    let mut parts = pattern.split('*');
    let mut rest = strip_prefix_of(question, parts.next()?)?;
    let mut about = Vec::new();
    let parts: Vec<&str> = parts.collect();
    for (index, part) in parts.iter().enumerate() {
        let end = match index + 1 == parts.len() {
            true => rest.len().checked_sub(part.len()).filter(|end| rest.get(*end..) == Some(*part))?,
            false => rest.find(part)?,
        };
        let text = rest.get(..end)?.trim();
        if text.is_empty() {
            return None;
        }
        about.push(text.to_owned());
        rest = rest.get(end + part.len()..)?;
    }
    rest.is_empty()
        .then_some(about)
        .filter(|about| !about.is_empty() || question.eq_ignore_ascii_case(pattern))
        .map(|about| if about.is_empty() { vec![String::new()] } else { about })
}

fn strip_prefix_of<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let head = text.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then(|| text.get(prefix.len()..)).flatten()
}

/// The first letter small, unless the word is a name or `I`.
fn small_first(text: &str) -> String {
    let first = text.split_whitespace().next().unwrap_or_default().to_lowercase();
    if ASKING.contains(&first.as_str()) || BEFORE.contains(&first.as_str()) {
        return text.char_indices().map(|(i, c)| if i == 0 { c.to_ascii_lowercase() } else { c }).collect();
    }
    text.to_owned()
}

fn large_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_turned_around() {
        let said = |question: &str| indirect(&small_first(question));
        assert_eq!(said("Where does Ada live").unwrap(), "where Ada lives");
        assert_eq!(said("Where do I work").unwrap(), "where I work");
        assert_eq!(said("What am I allergic to").unwrap(), "what I am allergic to");
        assert_eq!(said("What is my dog called").unwrap(), "what my dog is called");
        assert_eq!(said("How old is grandmother").unwrap(), "how old grandmother is");
        assert_eq!(said("When does the shop close").unwrap(), "when the shop closes");
        assert_eq!(said("Who carries it").unwrap(), "who carries it", "nothing stands before the subject");
        assert_eq!(said("Where did we go"), None, "the past of a verb is not known");
        assert_eq!(turned("what is my name")[0], "what am I called");
        assert_eq!(turned("where is the spare key")[1], "where do I find the spare key");
        assert!(turned("why not").is_empty());
        for (verb, third) in [("watch", "watches"), ("carry", "carries"), ("say", "says"), ("have", "has")] {
            assert_eq!(third_person(verb), third);
        }
    }

    #[test]
    fn no_pattern_hides_a_later_one() {
        for (pattern, ways) in TURNS {
            let question = pattern.replace('*', "thing");
            let found = TURNS.iter().find(|(other, _)| caught(&question, other).is_some());
            assert_eq!(found, Some(&(pattern, ways)), "{question}");
        }
    }

    #[test]
    fn what_is_taught_and_what_is_asked_are_apart() {
        for question in ["Where does Ada live?", "Wo wohnt Ada?", "Tell me a joke.", "x", "", "何ですか？"]
        {
            let made = wordings(question);
            assert!(made.asked.iter().all(|text| !made.taught.contains(text)), "{question}: {made:?}");
            let all = made.taught.iter().chain(&made.asked);
            assert!(all.clone().all(|text| text != question && !text.trim().is_empty()), "{made:?}");
            assert_eq!(made, wordings(question), "always the same");
        }
        let english = wordings("Where does Ada live?");
        assert!(english.taught.len() >= 7 && english.asked.len() >= 3, "{english:?}");
        // Another language is only written differently.
        let german = wordings("Wo wohnt Ada?");
        assert_eq!(
            (german.taught, german.asked),
            (vec!["wo wohnt ada".into(), "Wo wohnt Ada??".into()], vec!["Wo wohnt Ada".into()])
        );
    }

    proptest::proptest! {
        #[test]
        fn any_text_has_wordings(text in "\\PC{0,60}") {
            let made = wordings(&text);
            proptest::prop_assert!(made.taught.len() + made.asked.len() <= 60);
        }
    }
}
