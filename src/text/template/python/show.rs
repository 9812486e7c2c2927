//! Python's `str()` and `repr()`.

use std::fmt;

use minijinja::value::ValueKind;
use minijinja::{Error, Value};

use super::class::is_printable;
use super::value::{Dict, Kind, Namespace, Seq};
use super::work::{MAX_DEPTH, charge, charge_text, error};

/// The name of Python's type.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value.kind() {
        ValueKind::Undefined => "Undefined",
        ValueKind::None => "NoneType",
        ValueKind::Bool => "bool",
        ValueKind::Number if is_int(value) => "int",
        ValueKind::Number => "float",
        ValueKind::String => "str",
        _ if value.downcast_object_ref::<Dict>().is_some() => "dict",
        _ => value.downcast_object_ref::<Seq>().map_or("object", |seq| seq.kind.name()),
    }
}

/// An integer, and no boolean.
pub(super) fn is_int(value: &Value) -> bool {
    value.kind() == ValueKind::Number && value.is_integer()
}

/// `str(value)`.
pub(super) fn text(value: &Value) -> Result<String, Error> {
    if let Some(text) = value.as_str() {
        charge_text(text.len())?;
        return Ok(text.to_owned());
    }
    if value.is_undefined() {
        return Ok(String::new());
    }
    repr(value)
}

/// `repr(value)`.
pub(super) fn repr(value: &Value) -> Result<String, Error> {
    let mut out = String::new();
    write(value, &mut out, 0)?;
    Ok(out)
}

/// For the engine, should it show a value itself.
pub(super) fn render(value: &Value, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str(&repr(value).map_err(|_| fmt::Error)?)
}

fn write(value: &Value, out: &mut String, depth: u32) -> Result<(), Error> {
    charge(1)?;
    if depth > MAX_DEPTH {
        return Err(error("a value is nested too deeply to be shown"));
    }
    match value.kind() {
        ValueKind::Undefined => out.push_str("Undefined"),
        ValueKind::None => out.push_str("None"),
        ValueKind::Bool => out.push_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::Number if is_int(value) => out.push_str(&value.to_string()),
        ValueKind::Number => out.push_str(&float(f64::try_from(value.clone())?)),
        ValueKind::String if value.is_safe() => {
            out.push_str("Markup(");
            quote(value.as_str().unwrap_or_default(), out)?;
            out.push(')');
        }
        ValueKind::String => quote(value.as_str().unwrap_or_default(), out)?,
        _ => container(value, out, depth)?,
    }
    Ok(())
}

fn container(value: &Value, out: &mut String, depth: u32) -> Result<(), Error> {
    if let Some(seq) = value.downcast_object_ref::<Seq>() {
        return sequence(seq, out, depth);
    }
    if let Some(dict) = value.downcast_object_ref::<Dict>() {
        return pairs(dict.entries.iter().map(|(k, v)| (k, v)), out, depth);
    }
    if let Some(namespace) = value.downcast_object_ref::<Namespace>() {
        let fields: Vec<_> =
            namespace.fields().into_iter().map(|(name, value)| (Value::from(name), value)).collect();
        out.push_str("<Namespace ");
        pairs(fields.iter().map(|(k, v)| (k, v)), out, depth)?;
        out.push('>');
        return Ok(());
    }
    out.push_str(&value.to_string());
    Ok(())
}

fn pairs<'v>(
    entries: impl Iterator<Item = (&'v Value, &'v Value)>,
    out: &mut String,
    depth: u32,
) -> Result<(), Error> {
    out.push('{');
    for (i, (key, value)) in entries.enumerate() {
        out.push_str(if i > 0 { ", " } else { "" });
        write(key, out, depth + 1)?;
        out.push_str(": ");
        write(value, out, depth + 1)?;
    }
    out.push('}');
    Ok(())
}

fn sequence(seq: &Seq, out: &mut String, depth: u32) -> Result<(), Error> {
    let (open, close) = match seq.kind {
        Kind::List => ("[", "]"),
        Kind::Tuple => ("(", ")"),
        Kind::Keys => ("dict_keys([", "])"),
        Kind::Values => ("dict_values([", "])"),
        Kind::Items => ("dict_items([", "])"),
        Kind::Generator => {
            out.push_str("<generator object>");
            return Ok(());
        }
        Kind::Range { start, stop, step: 1 } => {
            out.push_str(&format!("range({start}, {stop})"));
            return Ok(());
        }
        Kind::Range { start, stop, step } => {
            out.push_str(&format!("range({start}, {stop}, {step})"));
            return Ok(());
        }
    };
    out.push_str(open);
    for (i, item) in seq.items().iter().enumerate() {
        out.push_str(if i > 0 { ", " } else { "" });
        write(item, out, depth + 1)?;
    }
    if seq.kind == Kind::Tuple && seq.len() == 1 {
        out.push(',');
    }
    out.push_str(close);
    Ok(())
}

/// The shortest digits that read back as the number, as Python lays them out.
pub(super) fn float(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let plain = format!("{value}");
        return if plain.contains('.') { plain } else { plain + ".0" };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
}

fn quote(text: &str, out: &mut String) -> Result<(), Error> {
    charge_text(text.len())?;
    let mark = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(mark);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == mark => {
                out.push('\\');
                out.push(c);
            }
            c if is_printable(c) => out.push(c),
            c if u32::from(c) < 0x100 => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if u32::from(c) < 0x1_0000 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    out.push(mark);
    Ok(())
}
