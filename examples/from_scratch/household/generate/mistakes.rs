//! Plausible mistakes, made by rule: what a rejected answer looks like.

use super::action::{Action, Value};
use super::asked::Asked;
use super::rng::Rng;
use super::words::{DOORS, ROOMS};

/// Kinds of mistakes.
pub const KINDS: [&str; 6] = ["value", "number", "action", "lost slot", "broken", "chatter"];

/// A wrong answer in place of the right one, and what is wrong with it.
pub fn mistake(asked: &Asked, rng: &mut Rng) -> (String, &'static str) {
    let right = asked.action.json();
    loop {
        let kind = rng.pick(&KINDS);
        let wrong = match kind {
            "value" => value(&asked.action, rng),
            "number" => number(&asked.action, rng),
            "action" => other_action(&asked.action, rng),
            "lost slot" => lost(&asked.action, rng),
            "broken" => Some(broken(&right, rng)),
            _ => Some(chatter(&right, rng)),
        };
        if let Some(wrong) = wrong.filter(|wrong| *wrong != right) {
            return (wrong, kind);
        }
    }
}

/// Another room, door or state.
fn value(action: &Action, rng: &mut Rng) -> Option<String> {
    let mut action = action.clone();
    let swap = [("on", "off"), ("open", "closed"), ("locked", "unlocked")];
    let with_other = |(slot, text): (&str, &str), rng: &mut Rng| match slot {
        "room" => Some(rng.one(&ROOMS)[0].to_owned()),
        "door" => Some(rng.one(&DOORS)[0].to_owned()),
        "list" => Some(rng.pick(&["shopping", "todo", "packing"]).to_owned()),
        "state" => {
            let pair = swap.iter().find(|(a, b)| *a == text || *b == text)?;
            Some(if pair.0 == text { pair.1 } else { pair.0 }.to_owned())
        }
        _ => None,
    };
    let at = rng.below(action.slots.len().max(1));
    let (slot, value) = action.slots.get_mut(at)?;
    let Value::Text(text) = value else { return None };
    *text = with_other((slot, text), rng)?;
    Some(action.json())
}

/// One digit is off.
fn number(action: &Action, rng: &mut Rng) -> Option<String> {
    let mut action = action.clone();
    for (_, value) in &mut action.slots {
        match value {
            Value::Number(n) => {
                *n = if *n % 10 == 0 { *n + 10 } else { *n + 1 };
                return Some(action.json());
            }
            Value::Text(text) if text.bytes().all(|b| b.is_ascii_digit() || b == b':') => {
                let digits: Vec<usize> =
                    text.bytes().enumerate().filter(|(_, b)| *b != b':').map(|(i, _)| i).collect();
                let at = *rng.one(&digits);
                let digit = (text.as_bytes()[at] - b'0' + rng.range(1, 9) as u8) % 10;
                text.replace_range(at..=at, &digit.to_string());
                return Some(action.json());
            }
            Value::Text(_) => {}
        }
    }
    None
}

/// What was asked for is mistaken for something near it.
fn other_action(action: &Action, rng: &mut Rng) -> Option<String> {
    let near: &[&[&str]] = &[
        &["light.set", "blinds.set"],
        &["light.dim", "heating.set"],
        &["timer.start", "music.volume"],
        &["timer.stop", "music.stop"],
        &["alarm.set", "alarm.stop"],
        &["list.add", "list.remove"],
        &["music.play", "call.start"],
        &["reminder.set", "alarm.set"],
    ];
    let near = near.iter().find(|near| near.contains(&action.name))?;
    let name = near[rng.below(near.len())];
    Some(Action { name, slots: action.slots.clone() }.json())
}

fn lost(action: &Action, rng: &mut Rng) -> Option<String> {
    let mut action = action.clone();
    if action.slots.is_empty() {
        return None;
    }
    action.slots.remove(rng.below(action.slots.len()));
    Some(action.json())
}

/// No JSON any more.
fn broken(right: &str, rng: &mut Rng) -> String {
    match rng.below(4) {
        0 => right.trim_end_matches('}').to_owned(),
        1 => right.replacen('"', "", 1),
        2 => right.replacen(':', "", 1),
        _ => format!("{right}}}"),
    }
}

/// The right action with words around it.
fn chatter(right: &str, rng: &mut Rng) -> String {
    match rng.below(4) {
        0 => format!("Sure! {right}"),
        1 => format!("Here it is: {right}"),
        2 => format!("{right} Is that right?"),
        _ => format!("{right}{right}"),
    }
}
