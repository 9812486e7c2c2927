//! What a question leaves when words are forgotten: somebody else asks for the same thing with few of its words and others of
//! their own. A model that has seen only whole questions gives the answer to whole questions alone.

use super::{DETERMINERS, keywords};

/// Most fragments of a question.
const MOST: usize = 12;

/// How a fragment is asked for, by the word that the question begins with; `*` is the fragment.
const FRAMES: [(&[&str], [&str; 4]); 5] = [
    (
        &["who", "whose", "which person"],
        [
            "Which person was that, *?",
            "Tell me the name: *.",
            "Somebody asks me about *. Who?",
            "* - who was it again?",
        ],
    ),
    (
        &["where"],
        [
            "Which place was that, *?",
            "In what spot, *?",
            "Somebody asks me about *. Where?",
            "* - where was it again?",
        ],
    ),
    (
        &["when", "what time", "which day", "what day", "which date"],
        [
            "Which date or time was that, *?",
            "What does my calendar say: *?",
            "Somebody asks me about *. When?",
            "* - when again?",
        ],
    ),
    (
        &["how many", "how much", "how old", "how long", "how far", "how often"],
        [
            "What number was that, *?",
            "What is the figure for *?",
            "Somebody asks me about *. How much?",
            "* - how much again?",
        ],
    ),
    (
        &["why", "how"],
        [
            "What was the way, *?",
            "Explain to me again: *.",
            "Somebody asks me about *. How?",
            "* - how again?",
        ],
    ),
];
/// And of other questions.
const OTHERS: [&str; 4] = [
    "Which one was that, *?",
    "Tell me again: *.",
    "Somebody asks me about *. What do I say?",
    "* - what was it again?",
];

/// The question with some of its words, in frames of its kind. `question` begins with a small letter and has no mark at its end.
pub(super) fn fragments(question: &str) -> Vec<String> {
    let small = question.to_lowercase();
    let of_kind = FRAMES.iter().find(|(starts, _)| starts.iter().any(|start| small.starts_with(start)));
    let frames = of_kind.map_or(&OTHERS, |(_, frames)| frames);
    let units = units(question);
    let parts = parts(&units);
    // Every part once, and then in another frame.
    let made = parts.iter().chain(&parts).take(MOST).enumerate();
    let turn = |index: usize| (index + index / parts.len().max(1) * 2) % frames.len();
    made.map(|(index, words)| frames[turn(index)].replace('*', &words.join(" "))).collect()
}

/// What the question is about: its words, those that say whose it is with what follows them.
fn units(question: &str) -> Vec<String> {
    let mut units: Vec<String> = Vec::new();
    let mut whose = String::new();
    for word in keywords(question) {
        let small = word.to_lowercase();
        if ["i", "we", "many", "much"].contains(&small.as_str()) {
            continue;
        }
        whose += word;
        if DETERMINERS.contains(&small.as_str()) || small.ends_with("'s") {
            whose.push(' ');
            continue;
        }
        units.push(std::mem::take(&mut whose));
    }
    units
}

/// All but one of the units, then all but two; of two units the one that says more: with a capital letter or whose it is.
fn parts(units: &[String]) -> Vec<Vec<&str>> {
    let count = units.len();
    let without = |gone: &[usize]| -> Vec<&str> {
        units.iter().enumerate().filter(|(i, _)| !gone.contains(i)).map(|(_, unit)| unit.as_str()).collect()
    };
    let says = |unit: &str| unit.contains(' ') || unit.chars().any(char::is_uppercase);
    let mut made: Vec<Vec<&str>> = Vec::new();
    match count {
        0 => {}
        1 => made.push(without(&[])),
        2 => {
            made.push(without(&[]));
            made.extend(
                (0..2).map(|gone| without(&[gone])).filter(|left| left.iter().all(|unit| says(unit))),
            );
        }
        _ => {
            made.extend((0..count).map(|gone| without(&[gone])));
            let pairs = (0..count).flat_map(|a| (a + 1..count).map(move |b| [a, b]));
            let enough = |left: &Vec<&str>| left.len() > 1 || left.iter().all(|unit| says(unit));
            made.extend(pairs.map(|gone| without(&gone)).filter(enough));
        }
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_left_out_in_turn() {
        let made = fragments("what is the unlock code of my phone");
        assert!(
            made.iter().any(|text| text.contains("code my phone") && !text.contains("unlock")),
            "{made:?}"
        );
        assert!(
            made.iter().any(|text| text.contains("unlock my phone") && !text.contains("code")),
            "{made:?}"
        );
        assert!(
            made.iter().any(|text| text.starts_with("my phone -")),
            "what is whose can stand alone: {made:?}"
        );
        assert!(!made.iter().any(|text| text.contains("about code.")), "{made:?}");
        assert!(made.len() <= MOST);
    }

    #[test]
    fn frames_are_of_the_questions_kind() {
        assert!(fragments("who leads the Kestrel project")[0].starts_with("Which person"));
        assert!(fragments("how old is our cat").iter().any(|text| text == "What is the figure for our cat?"));
        assert!(fragments("").is_empty() && fragments("what is it").is_empty());
    }
}
