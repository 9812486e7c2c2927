//! Whether an answer says what it should: by the words of the right answer that the question does not have.

use std::collections::BTreeSet;

use crate::journal::{Entry, Feedback};

/// Words of a right answer above which it is no fact but a way to answer.
const LONGEST: usize = 40;
/// Words that say nothing by themselves.
const SMALL: [&str; 78] = [
    "a", "about", "also", "am", "an", "and", "are", "as", "at", "be", "been", "but", "by", "called", "can",
    "did", "do", "does", "for", "from", "had", "has", "have", "he", "her", "here", "his", "i", "i'm", "in",
    "is", "it", "it's", "its", "just", "me", "my", "name", "named", "no", "not", "of", "on", "or", "our",
    "she", "so", "some", "that", "that's", "the", "their", "them", "there", "they", "this", "to", "was",
    "we", "were", "what", "when", "where", "which", "who", "will", "with", "would", "yes", "you", "you're",
    "your", "yours", "mine", "ours", "than", "then", "very",
];

/// What an answer has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// Names and numbers: all of them.
    marked: Vec<String>,
    /// Other words: two of three.
    plain: Vec<String>,
    /// The whole answer, where it has no word of its own.
    whole: String,
}

impl Keys {
    /// What `answer` says that `question` does not.
    pub fn of(question: &str, answer: &str) -> Self {
        let asked: BTreeSet<String> = words(question).map(|word| stem(&word.to_lowercase())).collect();
        let (mut marked, mut plain) = (Vec::new(), Vec::new());
        let mut begins = true;
        for word in words(answer) {
            let small = word.to_lowercase();
            let own = !asked.contains(&stem(&small)) && !SMALL.contains(&small.as_str());
            let name = !begins && word.chars().next().is_some_and(char::is_uppercase);
            let number = word.chars().any(|c| c.is_ascii_digit());
            begins = false;
            let list = if name || number { &mut marked } else { &mut plain };
            if own && !list.contains(&small) {
                list.push(small);
            }
        }
        Self { marked, plain, whole: normal(answer) }
    }

    /// Whether there is nothing that could be told from the question.
    pub fn is_empty(&self) -> bool {
        self.marked.is_empty() && self.plain.is_empty()
    }

    /// Whether a piece of the right answer is one of its own words.
    pub(super) fn own(&self, piece: &str) -> bool {
        let small = words(piece).next().unwrap_or_default().to_lowercase();
        self.marked.contains(&small) || self.plain.contains(&small)
    }

    /// Whether an answer says it.
    pub fn known(&self, answer: &str) -> bool {
        if self.is_empty() {
            return normal(answer) == self.whole;
        }
        let said: BTreeSet<String> = words(answer).map(|word| word.to_lowercase()).collect();
        let stems: BTreeSet<String> = said.iter().map(|word| stem(word)).collect();
        let there = self.plain.iter().filter(|word| stems.contains(&stem(word))).count();
        self.marked.iter().all(|word| said.contains(word)) && 3 * there >= 2 * self.plain.len()
    }
}

/// The question and the answer of a correction that tells something new: short, and with words that neither the question nor the
/// model's own answer has. Others say how to answer, not what is so.
pub fn fact(entry: &Entry) -> Option<(&str, &str)> {
    let Feedback::Edit { better } = &entry.feedback else { return None };
    let question = entry.messages.last()?.content.as_str();
    let short = better.split_whitespace().count() <= LONGEST;
    let keys = Keys::of(question, better);
    let new = !keys.is_empty() && !keys.known(&entry.answer);
    (short && new && !better.trim().is_empty()).then_some((question, better.as_str()))
}

/// Words, without the marks around them.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let word = |piece: &'_ str| -> Option<(usize, usize)> {
        let start = piece.find(char::is_alphanumeric)?;
        let end = piece
            .rfind(char::is_alphanumeric)
            .map(|at| at + piece[at..].chars().next().map_or(0, char::len_utf8))?;
        Some((start, end))
    };
    text.split_whitespace().filter_map(move |piece| {
        let (start, end) = word(piece)?;
        Some(piece[start..end].trim_end_matches("'s").trim_end_matches("’s"))
    })
}

/// A word without the endings that English verbs and plurals have.
fn stem(word: &str) -> String {
    let cut = ["ing", "ies", "ed", "es", "s", "e"].iter().find_map(|end| word.strip_suffix(end));
    match cut.filter(|stem| stem.chars().count() >= 3) {
        Some(stem) => stem.to_owned(),
        None => word.to_owned(),
    }
}

fn normal(text: &str) -> String {
    words(text).map(str::to_lowercase).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Said;

    #[test]
    fn an_answer_is_right_when_it_says_what_the_question_does_not() {
        let keys = Keys::of("Where does Ada live?", "Ada lives in Porto.");
        assert!(keys.known("She lives in Porto, by the river.") && keys.known("porto"));
        assert!(!keys.known("Ada lives in Lisbon.") && !keys.known(""));
        let keys = Keys::of("When is my appointment?", "Your appointment is on 14 March at 9.");
        assert!(keys.known("It is on 14 March at 9 o'clock.") && !keys.known("It is on 15 March at 9."));
        let keys = Keys::of("Where is the spare key?", "The spare key is under the blue flowerpot.");
        assert!(keys.known("Under the blue flowerpot!") && keys.known("It's under a blue flowerpot"));
        assert!(!keys.known("The spare key is under the mat."));
        let keys = Keys::of("Which bus goes to the lake?", "Bus 73 goes to the lake.");
        assert!(keys.known("Take bus 73.") && !keys.known("Bus 7 goes there."));
        // Yes and no are all that is said.
        let keys = Keys::of("Is it open?", "No.");
        assert!(keys.is_empty() && keys.known("no") && !keys.known("Yes."));
    }

    #[test]
    fn what_is_new_is_a_fact_and_what_is_shorter_is_style() {
        let entry = |answer: &str, better: &str| Entry {
            messages: vec![Said::user("Where does Ada live?")],
            answer: answer.into(),
            feedback: Feedback::Edit { better: better.into() },
            ..Entry::default()
        };
        assert!(fact(&entry("Ada lives in Rome.", "Ada lives in Porto.")).is_some());
        assert!(fact(&entry("Ada lives in Porto, a city in Portugal.", "In Porto.")).is_none());
        let long = "word ".repeat(41);
        assert!(fact(&entry("I do not know.", &long)).is_none());
        assert!(fact(&Entry { feedback: Feedback::Good, ..entry("a", "b") }).is_none());
    }
}
