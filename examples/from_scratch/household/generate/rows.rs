//! Rows for every stage after pretraining, and those that judge it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::asked::{Asked, ask, is_talk};
use super::corpus::records;
use super::frames::{Kind, kinds};
use super::mistakes::mistake;
use super::rng::Rng;

/// How many rows there are of each kind.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    pub sft: usize,
    pub sft_val: usize,
    pub prompts: usize,
    pub pairs: usize,
    pub test: usize,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { sft: 12_000, sft_val: 300, prompts: 3000, pairs: 3000, test: 570 }
    }
}

/// What has further turns where it takes long to learn: sums, and actions with much to copy.
const HARD: [(&str, usize); 6] = [
    ("answer", 6),
    ("list.add", 1),
    ("list.remove", 1),
    ("reminder.set", 1),
    ("music.play", 1),
    ("alarm.stop", 1),
];

/// What is asked in turn, so that all actions are asked for as often. Sums and clocks, which are many kinds behind one action,
/// have two turns; small talk has one. Where `hard` is set, so has what takes long to learn.
struct Turns {
    groups: Vec<(&'static str, Vec<&'static Kind>, usize)>,
    at: usize,
}

impl Turns {
    fn new(hard: bool, rng: &mut Rng) -> Self {
        let mut groups: Vec<(&str, Vec<&'static Kind>, usize)> = Vec::new();
        for kind in kinds() {
            let name = if is_talk(kind.name) { "talk" } else { ask(kind, kind.sft[0], rng).action.name };
            match groups.iter_mut().find(|(known, ..)| *known == name) {
                Some((_, of, _)) => of.push(kind),
                None => groups.push((name, vec![kind], 0)),
            }
        }
        let hard = if hard { &HARD[..] } else { &[("answer", 1)] };
        let again = |(name, turns): &(&str, usize)| {
            let group = groups.iter().find(|(known, ..)| known == name).cloned();
            // Each turn begins with another kind.
            group
                .into_iter()
                .flat_map(|(name, of, _)| (1..=*turns).map(move |turn| (name, of.clone(), turn)))
                .collect()
        };
        let again: Vec<Vec<_>> = hard.iter().map(again).collect();
        groups.extend(again.into_iter().flatten());
        Self { groups, at: 0 }
    }

    fn next(&mut self) -> &'static Kind {
        let at = self.at % self.groups.len();
        let (_, of, round) = &mut self.groups[at];
        let kind = of[*round % of.len()];
        *round += 1;
        self.at += 1;
        kind
    }
}

/// Requests with different texts, all actions in turn, in the wordings that `frames` gives. What is in `taken` is not asked
/// again where there is something else.
fn requests(
    count: usize,
    frames: fn(&Kind) -> Vec<&'static str>,
    hard: bool,
    taken: &mut BTreeSet<String>,
    rng: &mut Rng,
) -> Vec<Asked> {
    let mut turns = Turns::new(hard, rng);
    let mut all = Vec::new();
    while all.len() < count {
        let kind = turns.next();
        let mut asked = ask(kind, rng.pick(&frames(kind)), rng);
        // Small talk has few texts, so that they come again.
        for _ in 0..30 {
            if !taken.contains(&asked.text) {
                break;
            }
            asked = ask(kind, rng.pick(&frames(kind)), rng);
        }
        taken.insert(asked.text.clone());
        all.push(asked);
    }
    rng.shuffle(&mut all);
    all
}

fn message(role: &str, content: &str) -> Value {
    json!({ "role": role, "content": content })
}

/// Chats for fine-tuning; some have several turns. Their texts are noted in `taken`.
pub fn chats(count: usize, taken: &mut BTreeSet<String>, rng: &mut Rng) -> Vec<Value> {
    let mut asked = requests(count, Kind::taught, true, taken, rng).into_iter();
    let mut rows = Vec::new();
    while let Some(first) = asked.next() {
        let more = if rng.chance(8) { rng.range(1, 2) } else { 0 };
        let turns: Vec<Asked> = std::iter::once(first).chain(asked.by_ref().take(more as usize)).collect();
        let of = |a: &Asked| [message("user", &a.text), message("assistant", &a.action.json())];
        let messages: Vec<Value> = turns.iter().flat_map(of).collect();
        rows.push(json!({ "messages": messages }));
    }
    rows
}

/// Prompts with the right answer, for learning from rewards.
pub fn prompts(count: usize, rng: &mut Rng) -> Vec<Value> {
    let row = |a: Asked| json!({ "prompt": a.text, "answer": a.action.json() });
    requests(count, Kind::rewarded, false, &mut BTreeSet::new(), rng).into_iter().map(row).collect()
}

/// Right and wrong answers.
pub fn pairs(count: usize, rng: &mut Rng) -> Vec<Value> {
    let asked = requests(count, Kind::every, false, &mut BTreeSet::new(), rng);
    let mut row = |a: Asked| {
        let (wrong, _) = mistake(&a, rng);
        json!({ "prompt": a.text, "chosen": a.action.json(), "rejected": wrong })
    };
    asked.into_iter().map(&mut row).collect()
}

/// Questions in the wordings that are held out.
pub fn test(count: usize, rng: &mut Rng) -> Vec<Value> {
    let row = |a: Asked| json!({ "question": a.text, "answer": a.action.json(), "match": "exact" });
    requests(count, |kind| kind.test.to_vec(), false, &mut BTreeSet::new(), rng)
        .into_iter()
        .map(row)
        .collect()
}

/// A chat template that shows a base model three records and begins a fourth.
pub fn fewshot(rng: &mut Rng) -> String {
    let wanted = ["light on", "timer", "list add"];
    let mut shots = kinds().filter(|kind| wanted.contains(&kind.name)).map(|kind| (kind, kind.sft[0]));
    let mut next = |rng: &mut Rng| shots.next().map(|(kind, frame)| ask(kind, frame, rng));
    let shots = records(&mut next, wanted.len(), rng).replace('"', "\\\"").replace('\n', "\\n");
    format!(
        "{{{{ \"{shots}\" }}}}{{% for m in messages %}}{{% if m.role == 'user' %}}{{{{ \"\\nsay: \" + m.content + \"\\ndo:\" }}}}\
         {{% else %}}{{{{ \" \" + m.content + \"<|endoftext|>\" }}}}{{% endif %}}{{% endfor %}}\n"
    )
}
