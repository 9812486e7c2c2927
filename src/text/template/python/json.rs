//! `tojson`: Python's `json.dumps`, with characters beyond ASCII as they are unless `ensure_ascii` is set.

use minijinja::value::ValueKind;
use minijinja::{Error, Value};

use super::args::{Args, flag, text_of};
use super::ops::Num;
use super::sequences;
use super::show::{self, is_int, type_name};
use super::value::{Dict, Kind, Seq, items_of};
use super::work::{MAX_DEPTH, charge, charge_text, error};

/// `tojson(ensure_ascii=False, indent=None, separators=None, sort_keys=False)`.
pub(super) fn tojson(value: &Value, args: &Args) -> Result<Value, Error> {
    let [ascii, indent, separators, sort] =
        args.bind(["ensure_ascii", "indent", "separators", "sort_keys"], 0)?;
    let indent = match indent.filter(|indent| !indent.is_none()) {
        Some(indent) => Some(match Num::of(&indent) {
            Some(Num::Int(n)) => {
                let n = usize::try_from(n.max(0)).unwrap_or(usize::MAX);
                charge_text(n)?;
                " ".repeat(n)
            }
            _ => text_of(&indent)?.to_owned(),
        }),
        None => None,
    };
    let (item, key) = match separators.filter(|s| !s.is_none()) {
        Some(pair) => match items_of(&pair)?.as_slice() {
            [item, key] => (text_of(item)?.to_owned(), text_of(key)?.to_owned()),
            _ => return Err(error("separators must be a pair of strings")),
        },
        None if indent.is_some() => (",".to_owned(), ": ".to_owned()),
        None => (", ".to_owned(), ": ".to_owned()),
    };
    let mut json = Json {
        out: String::new(),
        ascii: flag(ascii.as_ref()),
        sort: flag(sort.as_ref()),
        indent,
        item,
        key,
    };
    json.write(value, 0)?;
    Ok(Value::from(json.out))
}

struct Json {
    out: String,
    ascii: bool,
    sort: bool,
    indent: Option<String>,
    item: String,
    key: String,
}

impl Json {
    fn write(&mut self, value: &Value, depth: u32) -> Result<(), Error> {
        charge(1)?;
        if depth > MAX_DEPTH {
            return Err(error("tojson: the value is nested too deeply"));
        }
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => {
                let number = number(value)?;
                self.out.push_str(&number);
            }
            ValueKind::String => self.string(value.as_str().unwrap_or_default())?,
            _ => return self.container(value, depth),
        }
        Ok(())
    }

    fn container(&mut self, value: &Value, depth: u32) -> Result<(), Error> {
        if let Some(seq) =
            value.downcast_object_ref::<Seq>().filter(|s| matches!(s.kind, Kind::List | Kind::Tuple))
        {
            self.out.push('[');
            for (i, item) in seq.items().iter().enumerate() {
                self.next(i, depth)?;
                self.write(item, depth + 1)?;
            }
            self.end(seq.len(), depth, ']')?;
            return Ok(());
        }
        let Some(dict) = value.downcast_object_ref::<Dict>() else {
            return Err(error(format!("Object of type {} is not JSON serializable", type_name(value))));
        };
        let entries = if self.sort { sequences::by_key(dict)? } else { dict.entries.clone() };
        self.out.push('{');
        for (i, (key, value)) in entries.iter().enumerate() {
            self.next(i, depth)?;
            match key.kind() {
                ValueKind::String => self.string(key.as_str().unwrap_or_default())?,
                ValueKind::None => self.out.push_str("\"null\""),
                ValueKind::Bool => self.out.push_str(if key.is_true() { "\"true\"" } else { "\"false\"" }),
                ValueKind::Number => self.out.push_str(&format!("\"{}\"", number(key)?)),
                _ => {
                    return Err(error(format!(
                        "keys must be str, int, float, bool or None, not {}",
                        type_name(key)
                    )));
                }
            }
            self.out.push_str(&self.key);
            self.write(value, depth + 1)?;
        }
        self.end(entries.len(), depth, '}')
    }

    fn next(&mut self, index: usize, depth: u32) -> Result<(), Error> {
        if index > 0 {
            charge_text(self.item.len())?;
            self.out.push_str(&self.item);
        }
        self.line(depth + 1)
    }

    fn end(&mut self, count: usize, depth: u32, close: char) -> Result<(), Error> {
        if count > 0 {
            self.line(depth)?;
        }
        self.out.push(close);
        Ok(())
    }

    fn line(&mut self, depth: u32) -> Result<(), Error> {
        if let Some(indent) = &self.indent {
            charge_text(indent.len().saturating_mul(depth as usize))?;
            self.out.push('\n');
            for _ in 0..depth {
                self.out.push_str(indent);
            }
        }
        Ok(())
    }

    fn string(&mut self, text: &str) -> Result<(), Error> {
        charge_text(text.len())?;
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                c if c < ' ' || (self.ascii && c > '~') => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        self.out.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                c => self.out.push(c),
            }
        }
        self.out.push('"');
        Ok(())
    }
}

fn number(value: &Value) -> Result<String, Error> {
    if is_int(value) {
        return Ok(value.to_string());
    }
    let float = f64::try_from(value.clone())?;
    Ok(match show::float(float).as_str() {
        "nan" => "NaN".to_owned(),
        "inf" => "Infinity".to_owned(),
        "-inf" => "-Infinity".to_owned(),
        plain => plain.to_owned(),
    })
}
