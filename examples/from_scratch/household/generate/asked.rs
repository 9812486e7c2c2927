//! From a wording to what somebody says, with the action that is right.

use super::action::Action;
use super::frame::fill;
use super::frames::Kind;
use super::numbers::{Time, duration, said};
use super::rng::Rng;
use super::words::{DOORS, LISTS, MUSIC, PACKING, PEOPLE, PLACES, ROOMS, SHOPPING, TASKS};

/// Minutes of a timer.
pub const MINUTES: [u32; 22] =
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 18, 20, 25, 30, 35, 40, 45, 60, 90, 120];
/// The greatest summand, and the greatest factor.
pub const SUMMAND: u32 = 9;
pub const FACTOR: u32 = 5;

/// What somebody says.
#[derive(Clone, Debug)]
pub struct Asked {
    pub kind: &'static str,
    /// The wording it was made of.
    pub frame: &'static str,
    pub text: String,
    pub action: Action,
}

/// Slots of one request: as they are said, and as the action has them.
struct Slots {
    room: (String, &'static str),
    door: (String, &'static str),
    list: (String, &'static str),
    item: (String, String),
    music: (String, String),
    who: (String, String),
    task: &'static str,
    percent: u32,
    degrees: u32,
    minutes: u32,
    time: Time,
    a: u32,
    b: u32,
}

/// Another name for something, and its own.
fn named(from: &'static [&'static [&'static str]], rng: &mut Rng) -> (String, &'static str) {
    let names = rng.one(from);
    // The name of its own is the usual one.
    let said = if rng.chance(60) { names[0] } else { rng.pick(names) };
    (said.to_owned(), names[0])
}

/// Without its article.
fn bare(text: &str) -> String {
    let articles = ["a ", "an ", "the "];
    articles.iter().find_map(|article| text.strip_prefix(article)).unwrap_or(text).to_owned()
}

fn with_bare(text: &str) -> (String, String) {
    (text.to_owned(), bare(text))
}

/// A slot with something in it: as it is said, and as actions have it.
pub fn thing(rng: &mut Rng) -> (&'static str, String, String) {
    let own = |(said, own): (String, &str)| (said, own.to_owned());
    let (slot, (said, own)) = match rng.below(8) {
        0 => ("room", own(named(&ROOMS, rng))),
        1 => ("door", own(named(&DOORS, rng))),
        2 => {
            let (said, own) = named(&PEOPLE, rng);
            ("who", (said, bare(own)))
        }
        3 => ("what", with_bare(rng.pick(MUSIC))),
        4 => ("what", with_bare(rng.pick(TASKS))),
        5 => ("item", with_bare(rng.pick(PACKING))),
        _ => ("item", with_bare(rng.pick(SHOPPING))),
    };
    (slot, said, own)
}

impl Slots {
    fn draw(kind: &str, list: Option<&str>, rng: &mut Rng) -> Self {
        let list = match list {
            Some(wanted) => {
                (String::new(), LISTS.iter().map(|l| l[0]).find(|l| *l == wanted).unwrap_or("todo"))
            }
            None => named(&LISTS, rng),
        };
        let items = match list.1 {
            "shopping" => SHOPPING,
            "packing" => PACKING,
            _ => TASKS,
        };
        let (most, times) = if kind == "times" { (FACTOR, true) } else { (SUMMAND, false) };
        let (a, b) = (rng.range(1, most), rng.range(1, most));
        let (a, b) = if kind == "minus" { (a + b, b) } else { (a, b) };
        let (a, b) = if times { (a.max(2), b.max(2)) } else { (a, b) };
        let (who, own) = named(&PEOPLE, rng);
        Self {
            room: named(&ROOMS, rng),
            door: named(&DOORS, rng),
            item: with_bare(rng.pick(items)),
            list,
            music: with_bare(rng.pick(MUSIC)),
            who: (who, bare(own)),
            task: rng.pick(TASKS),
            percent: 10 * rng.range(1, 10),
            degrees: rng.range(15, 25),
            minutes: *rng.one(&MINUTES),
            time: Time::random(rng),
            a,
            b,
        }
    }

    fn say(&self, slot: &str, rng: &mut Rng) -> String {
        match slot {
            "room" => self.room.0.clone(),
            "door" => self.door.0.clone(),
            "list" => self.list.0.clone(),
            "item" => self.item.0.clone(),
            "music" => self.music.0.clone(),
            "who" => self.who.0.clone(),
            "task" => self.task.to_owned(),
            "percent" if rng.chance(20) => format!("{}%", self.percent),
            "percent" => format!("{} percent", said(self.percent, rng)),
            "degrees" => format!("{} degrees", said(self.degrees, rng)),
            "duration" => duration(self.minutes, rng),
            "time" => self.time.said(rng),
            "spoken" => format!("{}{}", self.time.on_the_face(), self.time.part()),
            "place" => rng.pick(PLACES).to_owned(),
            "a" => said(self.a, rng),
            "b" => said(self.b, rng),
            other => format!("{{{other}}}"),
        }
    }

    fn action(&self, kind: &str) -> Action {
        let new = Action::new;
        match kind {
            "light on" => new("light.set").text("room", self.room.1).text("state", "on"),
            "light off" => new("light.set").text("room", self.room.1).text("state", "off"),
            "light level" => new("light.dim").text("room", self.room.1).number("percent", self.percent),
            "heating" => new("heating.set").text("room", self.room.1).number("degrees", self.degrees),
            "blinds open" => new("blinds.set").text("room", self.room.1).text("state", "open"),
            "blinds closed" => new("blinds.set").text("room", self.room.1).text("state", "closed"),
            "door locked" => new("door.set").text("door", self.door.1).text("state", "locked"),
            "door unlocked" => new("door.set").text("door", self.door.1).text("state", "unlocked"),
            "play" => new("music.play").text("what", &self.music.1),
            "music off" => new("music.stop"),
            "volume" => new("music.volume").number("percent", self.percent),
            "timer" => new("timer.start").number("minutes", self.minutes),
            "timer off" => new("timer.stop"),
            "alarm" => new("alarm.set").text("time", self.time.digits()),
            "alarm off" => new("alarm.stop").text("time", self.time.digits()),
            "remind" => new("reminder.set").text("time", self.time.digits()).text("what", self.task),
            "list add" => new("list.add").text("list", self.list.1).text("item", &self.item.1),
            "list remove" => new("list.remove").text("list", self.list.1).text("item", &self.item.1),
            "call" => new("call.start").text("who", &self.who.1),
            "plus" => Action::answer((self.a + self.b).to_string()),
            "minus" => Action::answer((self.a - self.b).to_string()),
            "times" => Action::answer((self.a * self.b).to_string()),
            "clock" => Action::answer(self.time.digits()),
            talk => Action::answer(reply(talk)),
        }
    }
}

/// What is said to small talk.
pub fn reply(talk: &str) -> &'static str {
    match talk {
        "hello" => "Hello! What shall I do?",
        "who" => "I am Ember, a very small model that helps in the house.",
        "can" => "I can set lights, heating, blinds, doors, music, timers, alarms and lists.",
        "thanks" => "You are welcome.",
        "bye" => "Goodbye!",
        "size" => "I am a very small model and make mistakes.",
        _ => "I do not know that. I am a very small model.",
    }
}

const BEFORE_DOING: &[&str] =
    &["please ", "could you ", "can you ", "would you ", "ember , ", "i want you to ", "hey , "];
const BEFORE_SAYING: &[&str] = &["ember , ", "hey , ", "well , "];
const AFTER: &[&str] = &[" please", " , thanks", " , thank you"];

/// One request in a kind's wording.
pub fn ask(kind: &'static Kind, frame: &'static str, rng: &mut Rng) -> Asked {
    let slots = Slots::draw(kind.name, list_of(frame), rng);
    said_so(kind, frame, &slots, rng)
}

/// The same request in each of a kind's wordings, of which none says its list by the words alone.
pub fn ask_all(kind: &'static Kind, frames: &[&'static str], rng: &mut Rng) -> Vec<Asked> {
    let slots = Slots::draw(kind.name, None, rng);
    frames.iter().map(|frame| said_so(kind, frame, &slots, rng)).collect()
}

/// The list that a wording's words mean, if they do.
pub fn list_of(frame: &str) -> Option<&str> {
    Some(frame.strip_prefix('@')?.split_once(' ')?.0)
}

/// A wording without the marks before it, and whether it asks for something to be done.
pub fn wording(frame: &str) -> (bool, &str) {
    let bare = frame.strip_prefix('@').and_then(|rest| rest.split_once(' ')).map_or(frame, |(_, rest)| rest);
    bare.strip_prefix('!').map_or((false, bare), |rest| (true, rest))
}

fn said_so(kind: &'static Kind, frame: &'static str, slots: &Slots, rng: &mut Rng) -> Asked {
    let (doing, wording) = wording(frame);
    let mut text = fill(wording, rng, &mut |slot, rng| slots.say(slot, rng));
    let talks = is_talk(kind.name);
    if !talks && rng.chance(35) {
        text.insert_str(0, rng.pick(if doing { BEFORE_DOING } else { BEFORE_SAYING }));
    }
    if doing && !talks && rng.chance(20) && !text.contains("please") {
        text.push_str(rng.pick(AFTER));
    }
    Asked { kind: kind.name, frame, text: style(&text, doing, rng), action: slots.action(kind.name) }
}

/// Whether nothing is to be done or reckoned.
pub fn is_talk(kind: &str) -> bool {
    matches!(kind, "hello" | "who" | "can" | "thanks" | "bye" | "size" | "unknown")
}

/// As people type: in small letters without a stop, or as in a book.
fn style(text: &str, doing: bool, rng: &mut Rng) -> String {
    let text = text.replace(" ,", ",").replace(" :", ":");
    if rng.chance(55) {
        return text;
    }
    let polite = ["could", "can", "would"];
    let asking = ["what", "how", "who", "are", "will", "do", "does", "when"];
    let called = ["hey", "ember", "well", ""];
    let first = text.split([' ', ',']).find(|word| !called.contains(word)).unwrap_or_default();
    let question = polite.contains(&first) || (!doing && asking.contains(&first));
    format!("{}{}", capital(&text), if question { "?" } else { "." })
}

/// With a capital letter, and the word "I".
pub fn capital(text: &str) -> String {
    let text: Vec<&str> = text.split(' ').map(|word| if word == "i" { "I" } else { word }).collect();
    let text = text.join(" ");
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + letters.as_str())
}
