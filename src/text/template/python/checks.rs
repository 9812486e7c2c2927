//! Jinja's tests: `value is name`.

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, Value};

use super::args::Args;
use super::ops::{self, Num};
use super::show::{is_int, text};
use super::value::{Dict, Method, Namespace, Seq};
use super::{class, filters};

const NAMES: &[&str] = &[
    "odd",
    "even",
    "divisibleby",
    "defined",
    "undefined",
    "filter",
    "test",
    "none",
    "boolean",
    "false",
    "true",
    "integer",
    "float",
    "lower",
    "upper",
    "string",
    "mapping",
    "number",
    "sequence",
    "iterable",
    "callable",
    "sameas",
    "escaped",
    "in",
    "==",
    "eq",
    "equalto",
    "!=",
    "ne",
    ">",
    "gt",
    "greaterthan",
    "ge",
    ">=",
    "<",
    "lt",
    "lessthan",
    "<=",
    "le",
];

/// `value is name(args)`.
pub(super) fn test(name: &str, value: &Value, args: &Args) -> Result<bool, Error> {
    if let Some(op) = operator(name) {
        let [other] = args.bind(["other"], 1)?;
        return ops::compare_two(op, value, &other.unwrap_or_default());
    }
    match name {
        "divisibleby" | "sameas" => {
            let [other] = args.bind(["num"], 1)?;
            let other = other.unwrap_or_default();
            if name == "sameas" {
                return ops::same(value, &other);
            }
            ops::equal(&ops::binary("%", value, &other)?, &Value::from(0))
        }
        "odd" | "even" => {
            args.bind([], 0)?;
            let rest = ops::binary("%", value, &Value::from(2))?;
            ops::equal(&rest, &Value::from(u8::from(name == "odd")))
        }
        "lower" | "upper" => {
            args.bind([], 0)?;
            Ok(class::ask(&text(value)?, if name == "lower" { "islower" } else { "isupper" })
                .unwrap_or_default())
        }
        "filter" => Ok(value.as_str().is_some_and(|name| filters::NAMES.contains(&name))),
        "test" => Ok(value.as_str().is_some_and(|name| NAMES.contains(&name))),
        _ => {
            let answer =
                kind(name, value).ok_or_else(|| Error::new(ErrorKind::UnknownTest, name.to_owned()))?;
            args.bind([], 0)?;
            Ok(answer)
        }
    }
}

fn operator(name: &str) -> Option<&'static str> {
    Some(match name {
        "==" | "eq" | "equalto" => "==",
        "!=" | "ne" => "!=",
        ">" | "gt" | "greaterthan" => ">",
        ">=" | "ge" => ">=",
        "<" | "lt" | "lessthan" => "<",
        "<=" | "le" => "<=",
        "in" => "in",
        _ => return None,
    })
}

/// Tests without arguments.
fn kind(name: &str, value: &Value) -> Option<bool> {
    let seq = value.downcast_object_ref::<Seq>();
    let dict = value.downcast_object_ref::<Dict>().is_some();
    let string = value.as_str().is_some();
    let bool = value.kind() == ValueKind::Bool;
    Some(match name {
        "defined" => !value.is_undefined(),
        "undefined" => value.is_undefined(),
        "none" => value.is_none(),
        "boolean" => bool,
        "true" => bool && value.is_true(),
        "false" => bool && !value.is_true(),
        "integer" => is_int(value),
        "float" => value.kind() == ValueKind::Number && !is_int(value),
        "number" => Num::of(value).is_some(),
        "string" => string,
        "mapping" => dict,
        "sequence" => string || dict || value.is_undefined() || seq.is_some_and(|seq| seq.kind.indexed()),
        "iterable" => string || dict || value.is_undefined() || seq.is_some(),
        "callable" => {
            let method = value.downcast_object_ref::<Method>().is_some();
            let plain = value.as_object().is_some() && seq.is_none() && !dict;
            value.is_undefined() || method || (plain && value.downcast_object_ref::<Namespace>().is_none())
        }
        "escaped" => false,
        _ => return None,
    })
}
