//! Documents to begin with: text of many kinds, in which the held-out wordings do not occur.

use super::asked::{Asked, FACTOR, SUMMAND, ask, ask_all, is_talk, list_of, thing};
use super::frames::{Kind, kinds};
use super::numbers::{Time, duration, said, words};
use super::rng::Rng;
use super::stories;

/// A document of some kind.
pub fn document(rng: &mut Rng) -> String {
    match rng.below(100) {
        0..10 => stories::story(rng),
        10..15 => stories::room(rng),
        15..20 => stories::facts(rng),
        20..23 => stories::list(rng),
        23..32 => names(rng),
        32..47 => same(rng),
        47..66 => talk(rng),
        66..76 => sums(rng),
        76..86 => times(rng),
        86..94 => notes(rng),
        _ => records(&mut |rng| Some(some(Kind::taught, rng)), 4, rng),
    }
}

impl Kind {
    /// Wordings for fine-tuning.
    pub fn taught(&self) -> Vec<&'static str> {
        self.sft.to_vec()
    }

    /// Wordings for learning from rewards.
    pub fn rewarded(&self) -> Vec<&'static str> {
        [self.rl, self.more].concat()
    }

    /// All wordings but those held out.
    pub fn every(&self) -> Vec<&'static str> {
        [self.sft, self.rl, self.more].concat()
    }

    /// Wordings of the corpus.
    pub fn open(&self) -> Vec<&'static str> {
        [self.sft, self.rl].concat()
    }
}

fn kind(rng: &mut Rng) -> &'static Kind {
    let all: Vec<&Kind> = kinds().collect();
    rng.pick(&all)
}

fn some(frames: fn(&Kind) -> Vec<&'static str>, rng: &mut Rng) -> Asked {
    let kind = kind(rng);
    ask(kind, rng.pick(&frames(kind)), rng)
}

/// Records of what was said and what was done, as a few-shot prompt has them.
pub fn records(next: &mut dyn FnMut(&mut Rng) -> Option<Asked>, count: usize, rng: &mut Rng) -> String {
    let record = |asked: Asked| format!("say: {}\ndo: {}", asked.text, asked.action.json());
    (0..count).filter_map(|_| next(rng)).map(record).collect::<Vec<_>>().join("\n")
}

/// The same in other words.
fn same(rng: &mut Rng) -> String {
    let kind = kind(rng);
    let mut frames: Vec<&'static str> = kind.open().into_iter().filter(|f| list_of(f).is_none()).collect();
    rng.shuffle(&mut frames);
    frames.truncate(rng.range(2, 5) as usize);
    let asked = ask_all(kind, &frames, rng);
    let texts: Vec<&str> = asked.iter().map(|asked| asked.text.as_str()).collect();
    match rng.below(3) {
        0 => format!("These all mean the same:\n- {}", texts.join("\n- ")),
        1 => format!("\"{}\" means the same as \"{}\"", texts[0], texts[1..].join("\" or \"")),
        _ => format!("{}\nIn other words: {}", texts[0], texts[1..].join("\nIn other words: ")),
    }
}

/// Somebody talks to the house, which says what it does.
fn talk(rng: &mut Rng) -> String {
    let name = rng.pick(super::words::NAMES);
    let mut lines = Vec::new();
    for _ in 0..rng.range(1, 4) {
        let asked = some(Kind::open, rng);
        lines.push(format!("{name}: {}\nEmber: {}", asked.text, in_words(&asked)));
    }
    lines.join("\n")
}

/// What an action does, in a sentence.
fn in_words(asked: &Asked) -> String {
    let slot = |name: &str| {
        let found = asked.action.slots.iter().find(|(slot, _)| *slot == name);
        found.map_or_else(String::new, |(_, value)| match value {
            super::action::Value::Text(text) => text.clone(),
            super::action::Value::Number(number) => number.to_string(),
        })
    };
    match asked.action.name {
        "light.set" => format!("The light in the {} is {} now.", slot("room"), slot("state")),
        "light.dim" => format!("The light in the {} is at {} percent.", slot("room"), slot("percent")),
        "heating.set" => format!("The {} will have {} degrees.", slot("room"), slot("degrees")),
        "blinds.set" => format!("The blinds in the {} are {} now.", slot("room"), slot("state")),
        "door.set" => format!("The {} is {} now.", slot("door"), slot("state")),
        "music.play" => format!("Now you can hear this: {}.", slot("what")),
        "music.stop" => "The music is off.".to_owned(),
        "music.volume" => format!("The volume is {} percent.", slot("percent")),
        "timer.start" => format!("The timer will ring in {} minutes.", slot("minutes")),
        "timer.stop" => "The timer is off.".to_owned(),
        "alarm.set" => format!("The alarm will ring at {}.", slot("time")),
        "alarm.stop" => format!("There is no alarm at {} any more.", slot("time")),
        "reminder.set" => format!("At {} you will be told: {}.", slot("time"), slot("what")),
        "list.add" => format!("On the {} list: {}.", slot("list"), slot("item")),
        "list.remove" => format!("No longer on the {} list: {}.", slot("list"), slot("item")),
        "call.start" => format!("I am calling: {}.", slot("who")),
        _ => slot("text"),
    }
}

/// What was done, as notes in JSON.
fn notes(rng: &mut Rng) -> String {
    let mut lines = Vec::new();
    while lines.len() < 3 {
        let asked = some(Kind::open, rng);
        if !is_talk(asked.kind) {
            lines.push(format!("{}\n{}", in_words(&asked), asked.action.json()));
        }
    }
    lines.join("\n")
}

/// What things are called in actions.
fn names(rng: &mut Rng) -> String {
    let mut lines = Vec::new();
    let form = rng.below(3);
    for _ in 0..rng.range(4, 8) {
        let (slot, said, own) = thing(rng);
        lines.push(match form {
            0 => format!("{said} is \"{own}\""),
            1 => format!("{said}: {{\"{slot}\":\"{own}\"}}"),
            _ => format!("{{\"{slot}\":\"{own}\"}} is {said}"),
        });
    }
    lines.join("\n")
}

/// Sums in signs and in words.
fn sums(rng: &mut Rng) -> String {
    let mut lines = Vec::new();
    for _ in 0..rng.range(4, 10) {
        let (a, b) = (rng.range(1, SUMMAND), rng.range(1, SUMMAND));
        let (c, d) = (rng.range(2, FACTOR), rng.range(2, FACTOR));
        lines.push(match rng.below(9) {
            0 => format!("{a} + {b} = {}", a + b),
            1 => format!("{} - {b} = {a}", a + b),
            2 => format!("{c} x {d} = {}", c * d),
            3 => format!("{} plus {} is {}", said(a, rng), said(b, rng), a + b),
            4 => format!("{} minus {} is {a}", said(a + b, rng), said(b, rng)),
            5 => format!("{} times {} is {}", said(c, rng), said(d, rng), c * d),
            6 => format!("The sum of {} and {} is {}", said(a, rng), said(b, rng), a + b),
            7 => format!("The difference of {} and {} is {a}", said(a + b, rng), said(b, rng)),
            _ => format!("The product of {} and {} is {}", said(c, rng), said(d, rng), c * d),
        });
    }
    lines.join("\n")
}

/// Times and lengths of time, in words and in digits.
fn times(rng: &mut Rng) -> String {
    let mut lines = Vec::new();
    for _ in 0..rng.range(4, 10) {
        let time = Time::random(rng);
        let minutes = *rng.one(&super::asked::MINUTES);
        let n = rng.range(1, 100);
        lines.push(match rng.below(6) {
            0 => format!("{} is {}", time.said(rng), time.digits()),
            1 => format!("{} = {}", time.said(rng), time.digits()),
            2 => format!("{} is {}{}", time.digits(), time.on_the_face(), time.part()),
            3 => format!("at {}: {}", time.digits(), time.said(rng)),
            4 if minutes == 1 => "a minute is 1 minute".to_owned(),
            4 => format!("{} is {minutes} minutes", duration(minutes, rng)),
            _ => format!("{} is {n}", words(n)),
        });
    }
    lines.join("\n")
}
