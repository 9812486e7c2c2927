//! Attributes and methods of values, as Jinja's immutable sandbox allows them.

use minijinja::value::ValueKind;
use minijinja::{Error, Value};

use super::args::{Args, int_or_none};
use super::ops::{self, Num};
use super::show::type_name;
use super::value::{Dict, Kind, Method, Namespace, Seq, list, unknown_method};
use super::work::{charge, error};
use super::{strings, wording};

const OF_DICT: &[&str] = &["copy", "fromkeys", "get", "items", "keys", "values"];
const OF_SEQUENCE: &[&str] = &["count", "index"];
const OF_OTHERS: &[&str] = &["grouper", "list", "real", "start", "step", "stop"];
const CHANGING: &[&str] = &[
    "append",
    "clear",
    "extend",
    "insert",
    "pop",
    "popitem",
    "remove",
    "reverse",
    "setdefault",
    "sort",
    "update",
];

/// Whether an attribute of this name may be a method, so that it is looked up before the items.
pub(in crate::text::template) fn may_be_method(name: &str) -> bool {
    [OF_DICT, OF_SEQUENCE, OF_OTHERS, CHANGING, strings::NAMES].iter().any(|names| names.contains(&name))
}

fn has_method(value: &Value, name: &str) -> bool {
    if value.as_str().is_some() {
        return strings::NAMES.contains(&name);
    }
    if value.downcast_object_ref::<Dict>().is_some() {
        return OF_DICT.contains(&name);
    }
    match value.downcast_object_ref::<Seq>().map(|seq| seq.kind) {
        Some(Kind::List) => OF_SEQUENCE.contains(&name) || name == "copy",
        Some(kind) => OF_SEQUENCE.contains(&name) && kind.indexed(),
        None => false,
    }
}

/// Whether Python has a method of this name that changes the value.
fn changes(value: &Value, name: &str) -> bool {
    let dict = ["clear", "pop", "popitem", "setdefault", "update"];
    let list = ["append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"];
    let is_list = value.downcast_object_ref::<Seq>().is_some_and(|seq| seq.kind == Kind::List);
    (value.downcast_object_ref::<Dict>().is_some() && dict.contains(&name))
        || (is_list && list.contains(&name))
}

/// `value.name`: a method, else an item of that name, else undefined.
pub(super) fn attribute(value: &Value, name: &str) -> Result<Value, Error> {
    if value.is_undefined() {
        return Err(error(format!("an undefined value has no attribute '{name}'")));
    }
    let own = attribute_of(value, name)?;
    if !own.is_undefined() || value.as_str().is_some() {
        return Ok(own);
    }
    value.get_attr(name)
}

/// What Python's `getattr` finds: no items.
pub(super) fn attribute_of(value: &Value, name: &str) -> Result<Value, Error> {
    if has_method(value, name) || changes(value, name) {
        return Method::make(value, name);
    }
    if value.downcast_object_ref::<Namespace>().is_some() {
        return value.get_attr(name);
    }
    match (value.downcast_object_ref::<Seq>().map(|seq| seq.kind), name) {
        // What `groupby` gives.
        (Some(Kind::Tuple), "grouper") => ops::item(value, &Value::from(0)),
        (Some(Kind::Tuple), "list") => ops::item(value, &Value::from(1)),
        (Some(Kind::Range { start, .. }), "start") => Ok(Value::from(start)),
        (Some(Kind::Range { stop, .. }), "stop") => Ok(Value::from(stop)),
        (Some(Kind::Range { step, .. }), "step") => Ok(Value::from(step)),
        _ if matches!(value.kind(), ValueKind::Number | ValueKind::Bool) && name == "real" => {
            Ok(value.clone())
        }
        _ => Ok(Value::UNDEFINED),
    }
}

/// `value.name(args)`.
pub(super) fn call(value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    charge(1)?;
    if value.is_undefined() {
        return Err(error(format!("an undefined value has no method '{name}'")));
    }
    if changes(value, name) {
        return Err(error(format!(
            "the method '{name}' would change a {}, which templates may not",
            type_name(value)
        )));
    }
    let args = Args::new(args)?;
    if let Some(text) = value.as_str() {
        if !value.is_safe() {
            return strings::call(text, name, &args);
        }
        // A safe text escapes what it is given, and its parts are safe.
        let args = Args {
            positional: args.positional.iter().map(wording::escaped_within).collect::<Result<_, _>>()?,
            ..args
        };
        let result = strings::call(text, name, &args)?;
        return Ok(match result.as_str() {
            Some(text) => Value::from_safe_string(text.to_owned()),
            None => result,
        });
    }
    if let Some(dict) = value.downcast_object_ref::<Dict>() {
        return of_dict(value, dict, name, &args);
    }
    if let Some(seq) = value.downcast_object_ref::<Seq>() {
        return of_sequence(value, seq, name, &args);
    }
    match (Num::of(value), name) {
        (Some(Num::Float(float)), "is_integer") => Ok(Value::from(float.fract() == 0.0 && float.is_finite())),
        (Some(Num::Int(_)), "is_integer") => Ok(Value::from(true)),
        (Some(Num::Int(int)), "bit_length") => Ok(Value::from(128 - int.unsigned_abs().leading_zeros())),
        _ => Err(unknown_method()),
    }
}

fn of_dict(value: &Value, dict: &Dict, name: &str, args: &Args) -> Result<Value, Error> {
    match name {
        "get" => {
            let [key, default] = args.bind(["key", "default"], 1)?;
            let key = key.unwrap_or_default();
            super::value::Key::of(&key)?;
            Ok(dict.get(&key).cloned().or(default).unwrap_or_else(|| Value::from(())))
        }
        "items" | "keys" | "values" => {
            args.bind([], 0)?;
            match name {
                "keys" => Seq::make(Kind::Keys, dict.keys()),
                "values" => Seq::make(Kind::Values, dict.values()),
                _ => Seq::make(Kind::Items, dict.pairs()?),
            }
        }
        "copy" => {
            args.bind([], 0)?;
            Ok(value.clone())
        }
        "fromkeys" => super::globals::from_keys(args),
        _ => Err(unknown_method()),
    }
}

fn of_sequence(value: &Value, seq: &Seq, name: &str, args: &Args) -> Result<Value, Error> {
    if !has_method(value, name) {
        return Err(unknown_method());
    }
    if name == "copy" {
        args.bind([], 0)?;
        return list(seq.items().to_vec());
    }
    let [what, start, stop] = args.bind(["value", "start", "stop"], 1)?;
    let what = what.unwrap_or_default();
    let len = seq.len() as i128;
    let place = |at: Option<&Value>, default: i128| -> Result<usize, Error> {
        let at = int_or_none(at)?.unwrap_or(default);
        Ok(usize::try_from(if at < 0 { (at + len).max(0) } else { at.min(len) }).unwrap_or_default())
    };
    let (start, stop) = (place(start.as_ref(), 0)?, place(stop.as_ref(), len)?);
    let mut count = 0;
    for (at, item) in seq.items().iter().enumerate() {
        if ops::equal(item, &what)? {
            if name == "index" && (start..stop).contains(&at) {
                return Ok(Value::from(at));
            }
            count += 1;
        }
    }
    if name == "index" { Err(error("the value is not in the list")) } else { Ok(Value::from(count)) }
}
