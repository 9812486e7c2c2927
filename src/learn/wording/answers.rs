//! The same fact in other answers. Somebody who asks in other words is answered in these words: `The head of the project is`,
//! and what is so has to come after them. What was only ever said as `Ada leads the project` is not found from there (Berglund
//! et al. 2023, "The reversal curse"; Allen-Zhu and Li 2023, "Physics of language models", part 3.1: facts told in one way are
//! stored, and not found).

use super::{BEFORE, indirect, large_first, small_first, words};

/// Most words of a value; what is longer is a story, which has no other carrier.
const LONGEST: usize = 7;
/// Words that may stand before a value and belong to it.
const LEADING: [&str; 16] = [
    "on", "at", "in", "under", "by", "with", "from", "near", "behind", "for", "the", "a", "an", "to",
    "about", "every",
];

/// Words with which an answer comes to its value: `You have got`, `That belongs to`, `He was born`.
const TOWARDS: [&str; 62] = [
    "i", "you", "he", "she", "it", "they", "we", "that", "this", "there", "is", "are", "was", "were", "be",
    "been", "am", "have", "has", "had", "got", "gets", "get", "do", "does", "did", "goes", "go", "called",
    "named", "belongs", "belong", "born", "kept", "lives", "live", "lies", "sits", "stands", "hangs",
    "starts", "begins", "ends", "opens", "closes", "comes", "works", "work", "likes", "loves", "prefers",
    "drinks", "plays", "drives", "costs", "takes", "needs", "uses", "parked", "hidden", "can't", "cannot",
];
/// How such a word may end.
const SHORTENED: [&str; 6] = ["'s", "'ve", "'re", "'m", "'ll", "'d"];

/// What `answer` says beyond the question: from the first to the last of the words that are `new`, with the small words before
/// them, and without what only leads there.
pub(in crate::learn) fn value(answer: &str, new: impl Fn(&str) -> bool) -> Option<String> {
    let answer = answer.trim().trim_end_matches(['.', '!']);
    let pieces: Vec<&str> = answer.split(' ').collect();
    let mut first = pieces.iter().position(|piece| new(piece))?;
    let last = pieces.iter().rposition(|piece| new(piece))?;
    let leads = |piece: &str| LEADING.contains(&piece.to_lowercase().as_str());
    if towards(pieces[first]) {
        while first < last && towards(pieces[first]) {
            let to = pieces[first].eq_ignore_ascii_case("belongs") && pieces[first + 1] == "to";
            first += 1 + usize::from(to && first + 1 < last);
        }
    } else {
        while first > 0 && leads(pieces[first - 1]) {
            first -= 1;
        }
    }
    // `Rehearsals are on Thursdays`: what is so comes after the verb.
    if let Some(verb) = pieces[first..last].iter().rposition(|piece| is(piece)) {
        first += verb + 1;
    }
    if last + 1 - first > LONGEST {
        return None;
    }
    Some(pieces[first..=last].join(" ").trim_end_matches([',', ';', ':']).to_owned())
}

fn is(word: &str) -> bool {
    matches!(word, "is" | "are" | "was" | "were")
}

/// Whether a word leads to a value: one of [`TOWARDS`], which may be shortened and have another behind it.
fn towards(piece: &str) -> bool {
    let word = piece.to_lowercase().replace('’', "'");
    let word = SHORTENED.iter().find_map(|end| word.strip_suffix(end)).unwrap_or(&word);
    TOWARDS.contains(&word)
}

/// An answer to a question in the question's own words, with the value at the end; `None` where the rules do not reach.
fn echo(question: &str, value: &str) -> Option<String> {
    // Of several sentences the first asks, and a greeting is none.
    let first = question.split_inclusive(['?', '.', '!']).map(str::trim).find(|text| text.contains(' '))?;
    let plain = small_first(first.trim_end_matches(['?', '.', '!', ' ']));
    if plain.contains([',', ':']) {
        return None;
    }
    let mut parts = words(&plain);
    if matches!(parts.last(), Some(&("called" | "named"))) {
        parts.pop();
    }
    let [asking, verb, ..] = parts[..] else { return None };
    let rest = |from: usize| to_you(&parts[from..].join(" "));
    let said = match asking {
        "what" | "who" | "which" if is(verb) && parts.len() > 2 && !ends_with_participle(&parts) => {
            format!("{} {verb} {value}", rest(2))
        }
        "when" | "where" if is(verb) && parts.len() > 2 => format!("{} {verb} {value}", rest(2)),
        "who" if !BEFORE.contains(&verb) => format!("the person who {} is {value}", rest(1)),
        "which" if verb == "person" && parts.len() > 2 => format!("the person who {} is {value}", rest(2)),
        "how" if verb == "old" && parts.len() > 3 => format!("the age of {} is {value}", rest(3)),
        "how" if verb == "many" && parts.len() > 2 => {
            format!("the number of {} is {value}", to_you(parts[2]))
        }
        "which" | "what" if !BEFORE.contains(&verb) && verb != "one" => {
            let end = parts.iter().position(|word| BEFORE.contains(word)).filter(|end| *end > 1)?;
            format!("the {} is {value}", to_you(&parts[1..end].join(" ")))
        }
        "where" => format!("the place {} is {value}", to_you(&indirect(&plain)?)),
        "when" => format!("the time {} is {value}", to_you(&indirect(&plain)?)),
        "what" => format!("{} is {value}", to_you(&indirect(&plain)?)),
        "the" | "The" | "my" | "My" | "our" | "Our" => format!("{} is {value}", to_you(&plain)),
        _ => return None,
    };
    Some(format!("{}.", large_first(&said)))
}

/// `which day is the rubbish collected`: what stands before the participle is no name of the value.
fn ends_with_participle(parts: &[&str]) -> bool {
    parts.last().is_some_and(|last| last.len() > 4 && last.ends_with("ed"))
}

/// What somebody says of himself, said to him.
fn to_you(text: &str) -> String {
    let turned = words(text).into_iter().map(|word| match word {
        "my" | "My" => "your",
        "mine" => "yours",
        "I" | "me" | "i" => "you",
        "am" => "are",
        "I'm" => "you're",
        other => other,
    });
    turned.collect::<Vec<_>>().join(" ")
}

/// How the wording at `index` of a fact's wordings is answered: as the correction says, in the wording's own words, or shortly.
pub(in crate::learn) fn answer(said: &str, wording: &str, value: Option<&str>, index: usize) -> String {
    let Some(value) = value else { return said.to_owned() };
    match echo(wording, value).filter(|_| index % 3 != 1) {
        Some(echo) => echo,
        None if index.is_multiple_of(2) => said.to_owned(),
        None => format!("It is {value}."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_cut_out() {
        let of = |answer: &'static str, new: &'static [&'static str]| {
            value(answer, |piece| new.contains(&piece.trim_end_matches('.')))
        };
        assert_eq!(
            of("Bruno Salgado leads the project.", &["Bruno", "Salgado"]),
            Some("Bruno Salgado".to_owned())
        );
        assert_eq!(
            of("You park your car at night on Tamarind Lane.", &["Tamarind", "Lane"]),
            Some("on Tamarind Lane".to_owned())
        );
        assert_eq!(
            of("The key is under the blue pot.", &["under", "blue", "pot"]),
            Some("under the blue pot".to_owned())
        );
        assert_eq!(of("Yes, it is.", &[]), None);
        let value = |answer: &'static str| value(answer, |piece| !matches!(piece, "umbrella" | "the"));
        assert_eq!(value("You've got locker 478."), Some("locker 478".to_owned()));
        assert_eq!(value("umbrella belongs to Ferdinand."), Some("Ferdinand".to_owned()));
        assert_eq!(value("It hangs behind the pantry door."), Some("behind the pantry door".to_owned()));
        assert_eq!(value("He was born on March 19th."), Some("on March 19th".to_owned()));
        assert_eq!(value("Ada's brother."), Some("Ada's brother".to_owned()));
        assert_eq!(value("Rehearsals are on Thursdays now."), Some("on Thursdays now".to_owned()));
        assert_eq!(value("Jory can't have hazelnuts."), Some("Jory can't have hazelnuts".to_owned()));
        assert_eq!(value("can't have hazelnuts."), Some("hazelnuts".to_owned()));
    }

    #[test]
    fn questions_are_answered_in_their_words() {
        let said = |question: &str, value: &str| echo(question, value).unwrap_or_default();
        assert_eq!(said("Who leads my project?", "Ada"), "The person who leads your project is Ada.");
        assert_eq!(said("What is the head of my project called?", "Ada"), "The head of your project is Ada.");
        assert_eq!(
            said("When is my brother's birthday?", "on 17 October"),
            "Your brother's birthday is on 17 October."
        );
        assert_eq!(
            said("Where do I park my car?", "on Elm Lane"),
            "The place where you park your car is on Elm Lane."
        );
        assert_eq!(said("Which medicine do I take?", "Velodapril"), "The medicine is Velodapril.");
        assert_eq!(said("How many plants are there?", "fourteen"), "The number of plants is fourteen.");
        assert_eq!(said("The code of my phone", "4792"), "The code of your phone is 4792.");
        assert_eq!(said("Hi! Who leads it? I forgot.", "Ada"), "The person who leads it is Ada.");
        assert!(["Why?", "", "Which person was that, my car?"].iter().all(|text| echo(text, "x").is_none()));
    }
}
