//! `str.format` and format specifications.

use minijinja::{Error, Value};

use super::args::Args;
use super::number::{digits, grouped, magnitude};
use super::ops::{self, Num};
use super::printf::{ascii, character, count};
use super::show::{float, repr, text, type_name};
use super::work::{charge, charge_text, error};
use super::{methods, show};

/// `pattern.format(...)`.
pub(super) fn format(pattern: &str, args: &Args) -> Result<String, Error> {
    charge_text(pattern.len())?;
    Fields { args, automatic: 0 }.expand(pattern, 3)
}

struct Fields<'a> {
    args: &'a Args,
    automatic: usize,
}

impl Fields<'_> {
    fn expand(&mut self, pattern: &str, depth: u32) -> Result<String, Error> {
        let depth = depth.checked_sub(1).ok_or_else(|| error("Max string recursion exceeded"))?;
        let mut out = String::new();
        let mut rest = pattern;
        while let Some(at) = rest.find(['{', '}']) {
            charge(2)?;
            out.push_str(rest.get(..at).unwrap_or_default());
            let brace = rest.get(at..=at).unwrap_or_default();
            rest = rest.get(at + 1..).unwrap_or_default();
            if let Some(after) = rest.strip_prefix(brace) {
                out.push_str(brace);
                rest = after;
                continue;
            }
            if brace == "}" {
                return Err(error("Single '}' encountered in format string"));
            }
            let end = closing(rest).ok_or_else(|| error("expected '}' before end of string"))?;
            let field = rest.get(..end).unwrap_or_default();
            rest = rest.get(end + 1..).unwrap_or_default();
            let shown = self.field(field, depth)?;
            charge_text(shown.len())?;
            out.push_str(&shown);
        }
        out.push_str(rest);
        Ok(out)
    }

    /// `name!r:spec`.
    fn field(&mut self, field: &str, depth: u32) -> Result<String, Error> {
        let split = field.find([':', '!', '[']).unwrap_or(field.len());
        // Brackets hold what they like.
        let bracket = field.get(split..).is_some_and(|f| f.starts_with('['));
        let split = if bracket {
            let after = field.rfind(']').unwrap_or(split);
            field.get(after..).and_then(|f| f.find([':', '!'])).map_or(field.len(), |at| after + at)
        } else {
            split
        };
        let (name, rest) = field.split_at(split);
        let value = self.value(name)?;
        let (conversion, spec) = match rest.strip_prefix('!') {
            Some(rest) => {
                let mut chars = rest.chars();
                let conversion = chars.next().ok_or_else(|| error("unmatched '{' in format spec"))?;
                match chars.as_str() {
                    "" => (Some(conversion), ""),
                    rest => {
                        let spec = rest.strip_prefix(':');
                        (
                            Some(conversion),
                            spec.ok_or_else(|| error("expected ':' after conversion specifier"))?,
                        )
                    }
                }
            }
            None => (None, rest.strip_prefix(':').unwrap_or_default()),
        };
        let spec = self.expand(spec, depth)?;
        let value = match conversion {
            None => value,
            Some('s') => Value::from(text(&value)?),
            Some('r') => Value::from(repr(&value)?),
            Some('a') => Value::from(ascii(&repr(&value)?)),
            Some(other) => return Err(error(format!("Unknown conversion specifier {other}"))),
        };
        with_spec(&value, &spec)
    }

    fn value(&mut self, name: &str) -> Result<Value, Error> {
        let end = name.find(['.', '[']).unwrap_or(name.len());
        let (first, mut path) = name.split_at(end);
        let mut value = if first.is_empty() || first.bytes().all(|b| b.is_ascii_digit()) {
            let index = first.parse().unwrap_or(self.automatic);
            self.automatic += usize::from(first.is_empty());
            let what = "Replacement index out of range for positional args tuple";
            self.args.positional.get(index).cloned().ok_or_else(|| error(what))?
        } else {
            self.args.named(first).cloned().ok_or_else(|| error(format!("no argument '{first}'")))?
        };
        while let Some(at) = path.get(..1) {
            if at == "." {
                let end = path.get(1..).and_then(|p| p.find(['.', '['])).map_or(path.len(), |end| end + 1);
                value = methods::attribute(&value, path.get(1..end).unwrap_or_default())?;
                path = path.get(end..).unwrap_or_default();
            } else {
                let end = path.find(']').ok_or_else(|| error("Missing ']' in format string"))?;
                let key = path.get(1..end).unwrap_or_default();
                let key = key.parse::<i64>().map_or_else(|_| Value::from(key), Value::from);
                value = ops::item(&value, &key)?;
                path = path.get(end + 1..).unwrap_or_default();
            }
        }
        Ok(value)
    }
}

/// Where the brace closes that was opened before `text`.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 1;
    for (at, c) in text.char_indices() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// `[[fill]align][sign][#][0][width][grouping][.precision][type]`.
struct Spec {
    fill: char,
    align: Option<char>,
    sign: Option<char>,
    alternate: bool,
    zero: bool,
    width: usize,
    grouping: Option<char>,
    precision: Option<usize>,
    kind: Option<char>,
}

impl Spec {
    fn parse(spec: &str) -> Result<Self, Error> {
        let is_align = |c: &char| "<>=^".contains(*c);
        let chars: Vec<char> = spec.chars().take(2).collect();
        let (fill, align, used) = match chars.as_slice() {
            [fill, align] if is_align(align) => (*fill, Some(*align), 2),
            [align, ..] if is_align(align) => (' ', Some(*align), 1),
            _ => (' ', None, 0),
        };
        let rest: String = spec.chars().skip(used).collect();
        let mut chars = rest.chars().peekable();
        let sign = chars.next_if(|c| "+- ".contains(*c));
        chars.next_if_eq(&'z');
        let alternate = chars.next_if_eq(&'#').is_some();
        let zero = chars.next_if_eq(&'0').is_some();
        let width = count(&mut chars)?;
        let grouping = chars.next_if(|c| ",_".contains(*c));
        let precision = match chars.next_if_eq(&'.') {
            Some(_) if !chars.peek().is_some_and(char::is_ascii_digit) => {
                return Err(error("Format specifier missing precision"));
            }
            Some(_) => Some(count(&mut chars)?),
            None => None,
        };
        let kind = chars.next();
        if chars.next().is_some() {
            return Err(error("Invalid format specifier"));
        }
        charge_text(width.saturating_add(precision.unwrap_or(0)).saturating_mul(fill.len_utf8()))?;
        Ok(Self { fill, align, sign, alternate, zero, width, grouping, precision, kind })
    }

    /// Sign, prefix and digits padded to the width.
    fn number(&self, negative: bool, prefix: &str, body: &str) -> String {
        let sign = match self.sign {
            _ if negative => "-",
            Some('+') => "+",
            Some(' ') => " ",
            _ => "",
        };
        let size = self.kind.is_some_and(|k| "boxX".contains(k));
        let size = if size { 4 } else { 3 };
        let inside = self.align == Some('=') || (self.zero && self.align.is_none());
        let fill = if self.zero && self.align.is_none() { '0' } else { self.fill };
        let (whole, rest) = body.split_at(body.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(body.len()));
        let whole = match self.grouping {
            Some(mark) if inside && fill == '0' => {
                // Zeros take part in the grouping.
                let room = self.width.saturating_sub(sign.len() + prefix.len() + rest.len());
                let mut padded = whole.to_owned();
                while grouped(&padded, mark, size).len() < room {
                    padded.insert(0, '0');
                    if padded.len() > room {
                        break;
                    }
                }
                grouped(&padded, mark, size)
            }
            Some(mark) => grouped(whole, mark, size),
            None => whole.to_owned(),
        };
        let head = format!("{sign}{prefix}");
        let tail = format!("{whole}{rest}");
        if inside {
            let missing = self.width.saturating_sub(head.len() + tail.chars().count());
            return head + &fill.to_string().repeat(missing) + &tail;
        }
        self.pad(&(head + &tail), '>')
    }

    fn pad(&self, body: &str, default: char) -> String {
        let missing = self.width.saturating_sub(body.chars().count());
        let before = match self.align.unwrap_or(default) {
            '>' | '=' => missing,
            '^' => missing / 2,
            _ => 0,
        };
        let fill = if self.zero && self.align.is_none() { '0' } else { self.fill };
        let blanks = |n: usize| fill.to_string().repeat(n);
        format!("{}{body}{}", blanks(before), blanks(missing - before))
    }
}

/// `format(value, spec)`.
pub(super) fn with_spec(value: &Value, spec: &str) -> Result<String, Error> {
    if spec.is_empty() {
        return text(value);
    }
    let spec = Spec::parse(spec)?;
    if let Some(text) = value.as_str() {
        return string(text, &spec);
    }
    match Num::of(value) {
        Some(Num::Int(int)) if spec.kind.is_none_or(|k| "bcdoxXn".contains(k)) => integer(value, int, &spec),
        Some(number) => real(number, &spec),
        None => Err(error(format!("unsupported format string passed to {}.__format__", type_name(value)))),
    }
}

fn string(text: &str, spec: &Spec) -> Result<String, Error> {
    let refused = spec.align == Some('=') || spec.sign.is_some() || spec.alternate || spec.grouping.is_some();
    if refused || spec.kind.is_some_and(|k| k != 's') {
        return Err(error("this format specification is not for strings"));
    }
    charge_text(text.len())?;
    let cut: String = text.chars().take(spec.precision.unwrap_or(usize::MAX)).collect();
    Ok(spec.pad(&cut, '<'))
}

fn integer(value: &Value, int: i128, spec: &Spec) -> Result<String, Error> {
    if spec.precision.is_some() {
        return Err(error("Precision not allowed in integer format specifier"));
    }
    let kind = spec.kind.unwrap_or('d');
    if kind == 'c' {
        return Ok(spec.pad(&character(value)?, '>'));
    }
    let prefix = match kind {
        'b' if spec.alternate => "0b",
        'o' if spec.alternate => "0o",
        'x' if spec.alternate => "0x",
        'X' if spec.alternate => "0X",
        _ => "",
    };
    Ok(spec.number(int < 0, prefix, &magnitude(int, kind)))
}

fn real(number: Num, spec: &Spec) -> Result<String, Error> {
    let value = number.float();
    let size = value.abs();
    let body = match (spec.kind, spec.precision) {
        (None, None) => float(size),
        (None, Some(precision)) => digits(size, 'r', precision, spec.alternate)?,
        (Some('%'), precision) => digits(size * 100.0, 'f', precision.unwrap_or(6), spec.alternate)? + "%",
        (Some('n'), precision) => digits(size, 'g', precision.unwrap_or(6), spec.alternate)?,
        (Some(kind), precision) if "eEfFgG".contains(kind) => {
            digits(size, kind, precision.unwrap_or(6), spec.alternate)?
        }
        (Some(kind), _) => {
            let what = format!("Unknown format code '{kind}' for object of type '{}'", show_type(number));
            return Err(error(what));
        }
    };
    Ok(spec.number(value.is_sign_negative() && !value.is_nan(), "", &body))
}

fn show_type(number: Num) -> &'static str {
    show::type_name(&match number {
        Num::Int(int) => Value::from(int),
        Num::Float(float) => Value::from(float),
    })
}
