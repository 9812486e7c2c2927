//! Jinja's filters.

use minijinja::{Error, ErrorKind, Value};

use super::args::{Args, flag, int_or_none, size_of, text_or_none};
use super::ops::{self, Num};
use super::show::{repr, text};
use super::value::{Dict, Kind, Seq, items_of, list};
use super::work::{charge, error};
use super::{json, numeric, sequences, strings, wording};

/// All that there are.
pub(super) const NAMES: &[&str] = &[
    "abs",
    "attr",
    "batch",
    "capitalize",
    "center",
    "count",
    "d",
    "default",
    "dictsort",
    "e",
    "escape",
    "filesizeformat",
    "first",
    "float",
    "forceescape",
    "format",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "pprint",
    "random",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "slice",
    "sort",
    "string",
    "striptags",
    "sum",
    "title",
    "tojson",
    "trim",
    "truncate",
    "unique",
    "upper",
    "urlencode",
    "wordcount",
    "wordwrap",
    "xmlattr",
];

/// `value | name(args)`.
pub(super) fn apply(name: &str, value: &Value, args: &Args) -> Result<Value, Error> {
    charge(1)?;
    match name {
        "abs" | "filesizeformat" | "float" | "int" | "round" => numeric::apply(name, value, args),
        "attr" => {
            let [name] = args.bind(["name"], 1)?;
            let name = name.unwrap_or_default();
            super::methods::attribute_of(value, super::args::text_of(&name)?)
        }
        "d" | "default" => {
            let [default, boolean] = args.bind(["default_value", "boolean"], 0)?;
            let missing = value.is_undefined() || (flag(boolean.as_ref()) && !value.is_true());
            Ok(if missing { default.unwrap_or_else(|| Value::from("")) } else { value.clone() })
        }
        "count" | "length" => {
            args.bind([], 0)?;
            length(value).map(Value::from)
        }
        "string" => {
            args.bind([], 0)?;
            Ok(ops::like(value, text(value)?))
        }
        "safe" => {
            args.bind([], 0)?;
            text(value).map(Value::from_safe_string)
        }
        "tojson" => json::tojson(value, args),
        "format" => {
            let named = args.keywords.iter().map(|(name, value)| (Value::from(name.as_str()), value.clone()));
            let with = match (args.positional.is_empty(), args.keywords.is_empty()) {
                (false, false) => {
                    return Err(error("can't handle positional and keyword arguments at the same time"));
                }
                (_, true) => super::value::tuple(args.positional.clone())?,
                _ => Dict::make(named)?,
            };
            ops::binary("%", &ops::like(value, text(value)?), &with)
        }
        "capitalize" | "lower" | "upper" => {
            args.bind([], 0)?;
            Ok(ops::like(value, strings::change_case(&text(value)?, name).unwrap_or_default()))
        }
        "trim" => {
            let [chars] = args.bind(["chars"], 0)?;
            let text = text(value)?;
            let text = strings::strip(&text, text_or_none(chars.as_ref())?, true, true);
            Ok(ops::like(value, text.to_owned()))
        }
        "replace" => {
            let [old, new, count] = args.bind(["old", "new", "count"], 2)?;
            let count = int_or_none(count.as_ref())?.and_then(|n| usize::try_from(n).ok());
            let (old, new) = (text(&old.unwrap_or_default())?, text(&new.unwrap_or_default())?);
            strings::replace(&text(value)?, &old, &new, count).map(Value::from)
        }
        "center" => {
            let [width] = args.bind(["width"], 0)?;
            let width = width.as_ref().map(size_of).transpose()?.unwrap_or(80);
            let args = Args { positional: vec![Value::from(width)], keywords: Vec::new() };
            strings::call(&text(value)?, "center", &args)
        }
        "pprint" => {
            args.bind([], 0)?;
            repr(&sequences::with_sorted_keys(value, 0)?).map(Value::from)
        }
        "e" | "escape" | "forceescape" | "indent" | "striptags" | "title" | "truncate" | "urlencode"
        | "wordcount" | "wordwrap" | "xmlattr" => wording::apply(name, value, args),
        _ => sequences::apply(name, value, args),
    }
}

pub(super) fn unknown(name: &str) -> Error {
    Error::new(ErrorKind::UnknownFilter, format!("there is no filter '{name}'"))
}

/// `len(value)`.
pub(super) fn length(value: &Value) -> Result<usize, Error> {
    if let Some(text) = value.as_str() {
        return Ok(text.chars().count());
    }
    if let Some(dict) = value.downcast_object_ref::<Dict>() {
        return Ok(dict.entries.len());
    }
    match value.downcast_object_ref::<Seq>() {
        Some(seq) if seq.kind != Kind::Generator => Ok(seq.len()),
        None if value.is_undefined() => Ok(0),
        _ => Err(error(format!("object of type '{}' has no len()", super::show::type_name(value)))),
    }
}

/// The filter `list`, and what a `for` walks over.
pub(super) fn to_list(value: &Value) -> Result<Value, Error> {
    match value.downcast_object_ref::<Seq>() {
        Some(seq) if seq.kind == Kind::List => Ok(value.clone()),
        _ => list(items_of(value)?),
    }
}

/// The number that `value` is, for `sum` and the like.
pub(super) fn number(value: &Value) -> Result<Num, Error> {
    Num::of(value).ok_or_else(|| error(format!("a number is needed, not {}", super::show::type_name(value))))
}

pub(super) fn add(a: &Value, b: &Value) -> Result<Value, Error> {
    ops::binary("+", a, b)
}
