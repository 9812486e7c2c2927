//! Other words for what people ask their assistants about: pieces of a question, and what others would say instead.

/// Words that stand for each other in a question. Each list reads both ways; the first two that differ from what was said are
/// taken.
const ALIKE: &[&[&str]] = &[
    // Who does what.
    &["leads", "is in charge of", "is the head of", "runs"],
    &["owns", "is the owner of", "has"],
    &["repairs", "fixes", "mends"],
    &["repaired", "fixed", "mended"],
    &["teaches", "is the teacher of", "gives lessons in"],
    &["made", "created", "produced"],
    &["built", "constructed", "put together"],
    &["wrote", "is the author of"],
    &["painted", "is the painter of"],
    &["looks after", "takes care of", "cares for"],
    &["bought", "purchased", "got"],
    &["gave", "handed", "presented"],
    &["lent", "loaned"],
    &["helps", "assists", "supports"],
    &["cleans", "does the cleaning of"],
    &["delivers", "brings"],
    &["plays", "is a player of"],
    &["trains", "coaches", "is the trainer of"],
    &["lives next door", "is the neighbour", "lives beside us"],
    // What happens to things, and when.
    &["collected", "picked up", "taken away"],
    &["delivered", "brought", "handed over"],
    &["end", "finish", "stop", "run out"],
    &["start", "begin", "get going"],
    &["leave", "depart", "go"],
    &["arrive", "come in", "get here"],
    &["open", "open its doors"],
    &["close", "shut"],
    &["meet", "come together", "see each other"],
    &["take place", "happen"],
    &["due", "expected", "to be done"],
    &["expire", "run out", "lose its validity"],
    &["serviced", "checked", "inspected"],
    &["planted", "put into the ground"],
    &["parked", "standing", "left"],
    &["kept", "stored", "put away"],
    &["hidden", "put"],
    &["stay", "sleep", "have a room"],
    &["work", "have my job", "earn my money"],
    &["going", "travelling", "on the way"],
    &["learning", "studying"],
    &["reading", "in the middle of"],
    &["eat", "have for a meal"],
    &["drink", "have in my cup"],
    &["cost", "have as its price"],
    &["weigh", "bring on the scales"],
    &["need", "require", "want"],
    &["called", "named"],
    // What is asked about.
    &["password", "passcode", "secret word"],
    &["pin", "secret number", "code"],
    &["code", "combination", "number to type in"],
    &["phone number", "telephone number", "number to call"],
    &["address", "place to write to", "street and number"],
    &["birthday", "day of birth", "date of birth"],
    &["anniversary", "yearly celebration"],
    &["appointment", "visit", "meeting"],
    &["meeting", "appointment", "get-together"],
    &["deadline", "last day", "due date"],
    &["holiday", "vacation", "trip"],
    &["trip", "journey", "travel"],
    &["flight", "plane"],
    &["train", "railway connection"],
    &["job", "profession", "occupation"],
    &["boss", "manager", "superior"],
    &["colleague", "co-worker"],
    &["neighbour", "person next door"],
    &["landlord", "owner of our flat"],
    &["doctor", "physician", "GP"],
    &["vet", "animal doctor"],
    &["teacher", "instructor", "tutor"],
    &["hairdresser", "barber"],
    &["plumber", "man for the pipes"],
    &["electrician", "man for the wiring"],
    &["gardener", "person who does the garden"],
    &["babysitter", "child minder", "nanny"],
    &["wife", "spouse", "partner"],
    &["husband", "spouse", "partner"],
    &["mother", "mum", "mom"],
    &["father", "dad"],
    &["grandmother", "grandma", "granny"],
    &["grandfather", "grandpa", "granddad"],
    &["sister", "sibling"],
    &["brother", "sibling"],
    &["daughter", "girl"],
    &["son", "boy"],
    &["children", "kids"],
    &["cat", "kitten"],
    &["dog", "hound"],
    &["car", "vehicle", "automobile"],
    &["bike", "bicycle"],
    &["van", "transporter"],
    &["flat", "apartment", "home"],
    &["house", "home", "place"],
    &["sofa", "couch"],
    &["rubbish", "waste", "trash"],
    &["bin", "dustbin", "waste bin"],
    &["heating", "boiler", "heater"],
    &["fridge", "refrigerator"],
    &["laptop", "computer", "notebook"],
    &["phone", "telephone", "mobile"],
    &["printer", "printing machine"],
    &["wifi", "wireless network", "internet at home"],
    &["medicine", "medication", "drug"],
    &["tablets", "pills", "medicine"],
    &["blood type", "blood group"],
    &["shoe size", "size in shoes"],
    &["recipe", "instructions for cooking"],
    &["cake", "pastry"],
    &["book", "novel"],
    &["film", "movie"],
    &["song", "piece of music"],
    &["instrument", "thing to make music on"],
    &["team", "side", "club"],
    &["hobby", "pastime"],
    &["course", "class", "lessons"],
    &["school", "place of learning"],
    &["shop", "store"],
    &["garden", "yard"],
    &["locker", "cabinet"],
    &["budget", "money set aside"],
    &["price", "cost"],
    &["rent", "monthly payment for the flat"],
    &["favourite", "best liked", "most loved"],
    &["favorite", "best liked", "most loved"],
    &["best friend", "closest friend", "dearest friend"],
    &["new", "latest"],
    &["old", "former"],
    &["next", "coming"],
    &["last", "previous"],
    // How a question begins.
    &["which day", "what day", "on which date"],
    &["what time", "when", "at which hour"],
    &["which", "what"],
    &["who", "which person", "what is the name of the one who"],
    &["where", "in which place", "at what spot"],
    &["how many", "what number of"],
    &["how much", "what amount"],
    &["how often", "how many times"],
];

/// Most variants of a question.
const MOST: usize = 8;

/// The question with one of its pieces said otherwise: the longest pieces first, each at most twice. `question` begins with a small
/// letter and has no mark at its end.
pub(super) fn variants(question: &str) -> Vec<String> {
    let small = question.to_lowercase();
    // What changes its length in small letters cannot be cut at the same places.
    if small.len() != question.len() {
        return vec![];
    }
    let mut found: Vec<(usize, &str, &[&str])> = Vec::new();
    for list in ALIKE {
        for word in *list {
            if let Some(at) = find_words(&small, word) {
                found.push((at, word, list));
                break;
            }
        }
    }
    found.sort_by_key(|(at, word, _)| (std::cmp::Reverse(word.len()), *at));
    let mut made: Vec<String> = Vec::new();
    for turn in 0..2 {
        for (at, word, list) in &found {
            let other = list.iter().filter(|other| *other != word).nth(turn);
            made.extend(other.map(|other| [&question[..*at], other, &question[at + word.len()..]].concat()));
        }
    }
    made.truncate(MOST);
    made
}

/// Where a piece stands among whole words.
fn find_words(text: &str, piece: &str) -> Option<usize> {
    let word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '-' || c == '\'');
    text.match_indices(piece)
        .map(|(at, _)| at)
        .find(|at| !word(text[..*at].chars().next_back()) && !word(text[at + piece.len()..].chars().next()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_said_otherwise() {
        let made = variants("who repairs our car");
        assert!(made.contains(&"who fixes our car".to_owned()), "{made:?}");
        assert!(made.contains(&"which person repairs our car".to_owned()), "{made:?}");
        assert!(made.contains(&"who repairs our vehicle".to_owned()), "{made:?}");
        assert!(made.len() <= MOST);
    }

    #[test]
    fn only_whole_words_are_pieces() {
        assert!(find_words("the scar heals", "car").is_none());
        assert_eq!(find_words("the car", "car"), Some(4));
        assert!(find_words("car-free", "car").is_none());
        assert!(variants("").is_empty());
    }
}
