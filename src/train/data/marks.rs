//! What data marks as not to be learnt: `weight`, `train` and what else the field's tools call it.

use serde_json::value::RawValue;

use super::error::{Reason, RowError, shorten};
use super::fields::{Fields, is_string, string};

/// Fields whose yes says that a message is learnt.
const LEARNT: [&str; 11] = [
    "weight",
    "train",
    "trainable",
    "training",
    "learn",
    "learnable",
    "loss",
    "loss_mask",
    "train_on_turn",
    "train_weight",
    "loss_weight",
];
/// Fields whose yes says that it is not.
const HIDDEN: [&str; 3] = ["mask", "masked", "ignore"];
/// Fields that mark parts of a message, which is not possible here.
const PARTS: [&str; 2] = ["train_detail", "training_detail"];

/// All of these.
pub(super) fn all() -> impl Iterator<Item = &'static str> {
    LEARNT.into_iter().chain(HIDDEN).chain(PARTS)
}

/// Those that a whole row may have; other columns of the same names may mean anything.
pub(super) const OF_ROWS: [&str; 3] = ["weight", "train", "trainable"];

/// Whether a message is to be learnt, by its marks. `at` names it.
pub(super) fn learnt(fields: &Fields, at: &str) -> Result<bool, RowError> {
    let mut learnt = true;
    for name in LEARNT {
        let Some(raw) = fields.get(name) else { continue };
        learnt &= yes(raw).ok_or_else(|| {
            let value = shorten(raw.get(), 40);
            let what = format!(
                "{at}.{name} is {value}; a reply is learnt (1, true) or not (0, false), and nothing in between"
            );
            RowError::new(Reason::WrongType, what)
        })?;
    }
    for name in HIDDEN {
        let Some(raw) = fields.get(name) else { continue };
        // Whether a mask of 1 shows or hides is for every tool to say.
        let hidden = yes(raw).filter(|_| !raw.get().starts_with(|c: char| c.is_ascii_digit() || c == '-'));
        learnt &= !hidden.ok_or_else(|| {
            let value = shorten(raw.get(), 40);
            let what = format!(
                "{at}.{name} is {value}, and true (hidden) or false is read; or write \"train\": false"
            );
            RowError::new(Reason::WrongType, what)
        })?;
    }
    for name in PARTS {
        if fields.get(name).is_some_and(|raw| raw.get() != "[]") {
            let what = format!(
                "{at}.{name} marks parts of a message, which is not read; mark whole messages by `train`"
            );
            return Err(RowError::new(Reason::WrongType, what));
        }
    }
    Ok(learnt)
}

/// An error for a row that is marked as a whole.
pub(super) fn of_row(fields: &Fields) -> Result<(), RowError> {
    for name in OF_ROWS {
        let Some(raw) = fields.get(name) else { continue };
        match yes(raw) {
            Some(true) => {}
            Some(false) => {
                let what = format!("the row has {name} {}", shorten(raw.get(), 40));
                return Err(RowError::new(Reason::NotToLearn, what));
            }
            None if name == "weight" && !is_string(raw) => {
                let value = shorten(raw.get(), 40);
                let what = format!(
                    "weight is {value}; a row is learnt (1) or not (0): rename the column if it says something else"
                );
                return Err(RowError::new(Reason::WrongType, what));
            }
            None => {}
        }
    }
    Ok(())
}

/// Yes or no, however it is written; none for anything else.
pub(super) fn yes(raw: &RawValue) -> Option<bool> {
    let text = if is_string(raw) { string(raw, "").ok()? } else { raw.get().to_owned() };
    let text = text.trim().to_ascii_lowercase();
    match text.as_str() {
        "true" => Some(true),
        "false" => Some(false),
        number if number.starts_with(|c: char| c == '-' || c.is_ascii_digit()) => {
            let number: f64 = number.parse().ok()?;
            if number == 1.0 { Some(true) } else { (number == 0.0).then_some(false) }
        }
        _ => None,
    }
}
