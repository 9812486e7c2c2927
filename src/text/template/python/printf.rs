//! `'%s' % value`, and the `format` filter.

use minijinja::{Error, Value};

use super::number::{digits, magnitude};
use super::ops::Num;
use super::show::{repr, text, type_name};
use super::value::{Dict, Kind, Seq};
use super::work::{charge, charge_text, error};

/// What stands between `%` and the letter.
#[derive(Default)]
struct Directive {
    key: Option<String>,
    left: bool,
    zero: bool,
    alternate: bool,
    sign: Option<char>,
    width: usize,
    precision: Option<usize>,
}

/// Takes the arguments one after the other, or by name.
struct Arguments<'v> {
    values: Vec<&'v Value>,
    next: usize,
    mapping: Option<&'v Value>,
}

impl<'v> Arguments<'v> {
    fn new(arg: &'v Value) -> Self {
        let seq = arg.downcast_object_ref::<Seq>();
        if let Some(seq) = seq.filter(|seq| seq.kind == Kind::Tuple) {
            return Self { values: seq.items().iter().collect(), next: 0, mapping: None };
        }
        let mapping = arg.downcast_object_ref::<Dict>().is_some() || seq.is_some_and(|s| s.kind.indexed());
        Self { values: vec![arg], next: 0, mapping: mapping.then_some(arg) }
    }

    fn next(&mut self) -> Result<&'v Value, Error> {
        let value =
            self.values.get(self.next).ok_or_else(|| error("not enough arguments for format string"))?;
        self.next += 1;
        Ok(value)
    }

    fn number(&mut self) -> Result<i128, Error> {
        match Num::of(self.next()?) {
            Some(Num::Int(int)) => Ok(int),
            _ => Err(error("* wants int")),
        }
    }
}

type Chars<'p> = std::iter::Peekable<std::str::Chars<'p>>;

/// `pattern % arg`.
pub(super) fn percent(pattern: &str, arg: &Value) -> Result<String, Error> {
    charge_text(pattern.len())?;
    let mut args = Arguments::new(arg);
    let mut out = String::new();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        charge(4)?;
        let directive = directive(&mut chars, &mut args)?;
        let letter = chars.next().ok_or_else(|| error("incomplete format"))?;
        if letter == '%' {
            out.push('%');
            continue;
        }
        let value = match (&directive.key, args.mapping) {
            (None, _) => args.next()?.clone(),
            (Some(key), Some(mapping)) => {
                let value = super::ops::item(mapping, &Value::from(key.as_str()))?;
                if value.is_undefined() {
                    return Err(error(format!("no value for '%({key})'")));
                }
                value
            }
            _ => return Err(error("format requires a mapping")),
        };
        one(&directive, letter, &value, &mut out)?;
    }
    if args.mapping.is_none() && args.next < args.values.len() {
        return Err(error("not all arguments converted during string formatting"));
    }
    Ok(out)
}

fn directive(chars: &mut Chars<'_>, args: &mut Arguments<'_>) -> Result<Directive, Error> {
    let mut d = Directive::default();
    if chars.next_if_eq(&'(').is_some() {
        let mut key = String::new();
        let mut depth = 1;
        loop {
            match chars.next().ok_or_else(|| error("incomplete format key"))? {
                ')' if depth == 1 => break,
                c => {
                    depth += i32::from(c == '(') - i32::from(c == ')');
                    key.push(c);
                }
            }
        }
        d.key = Some(key);
    }
    while let Some(flag) = chars.next_if(|c| "-+ #0".contains(*c)) {
        match flag {
            '-' => d.left = true,
            '0' => d.zero = true,
            '#' => d.alternate = true,
            '+' => d.sign = Some('+'),
            _ => d.sign = d.sign.or(Some(' ')),
        }
    }
    let size = |n: i128| usize::try_from(n).map_err(|_| error("width or precision too big"));
    if chars.next_if_eq(&'*').is_some() {
        let width = args.number()?;
        d.left |= width < 0;
        d.width = size(width.saturating_abs())?;
    } else {
        d.width = count(chars)?;
    }
    if chars.next_if_eq(&'.').is_some() {
        let starred = chars.next_if_eq(&'*').is_some();
        d.precision = Some(if starred { size(args.number()?.max(0))? } else { count(chars)? });
    }
    while chars.next_if(|c| "hlL".contains(*c)).is_some() {}
    charge_text(d.width.saturating_add(d.precision.unwrap_or(0)))?;
    Ok(d)
}

/// Digits, or 0 without any.
pub(super) fn count(chars: &mut Chars<'_>) -> Result<usize, Error> {
    let mut number = 0usize;
    while let Some(digit) = chars.next_if(char::is_ascii_digit) {
        let grown = number.checked_mul(10).and_then(|n| n.checked_add(digit.to_digit(10)? as usize));
        number = grown.ok_or_else(|| error("width or precision too big"))?;
    }
    Ok(number)
}

fn one(d: &Directive, letter: char, value: &Value, out: &mut String) -> Result<(), Error> {
    let cut = |text: String| match d.precision {
        Some(precision) => text.chars().take(precision).collect(),
        None => text,
    };
    let (negative, prefix, body) = match letter {
        's' => return pad_text(d, &cut(text(value)?), out),
        'r' => return pad_text(d, &cut(repr(value)?), out),
        'a' => return pad_text(d, &cut(ascii(&repr(value)?)), out),
        'c' => return pad_text(d, &character(value)?, out),
        'd' | 'i' | 'u' | 'o' | 'x' | 'X' => {
            let int = integer(value, letter)?;
            let digits = magnitude(int, letter);
            let zeros = d.precision.unwrap_or(0).saturating_sub(digits.len());
            let prefix = match letter {
                'o' if d.alternate => "0o",
                'x' if d.alternate => "0x",
                'X' if d.alternate => "0X",
                _ => "",
            };
            (int < 0, prefix, "0".repeat(zeros) + &digits)
        }
        'e' | 'E' | 'f' | 'F' | 'g' | 'G' => {
            let Some(number) = Num::of(value) else {
                return Err(error(format!("must be real number, not {}", type_name(value))));
            };
            let float = number.float();
            let negative = float.is_sign_negative() && !float.is_nan();
            (negative, "", digits(float.abs(), letter, d.precision.unwrap_or(6), d.alternate)?)
        }
        other => return Err(error(format!("unsupported format character '{other}'"))),
    };
    let sign = if negative { "-".to_owned() } else { d.sign.map(String::from).unwrap_or_default() };
    let fill = d.width.saturating_sub(sign.len() + prefix.len() + body.len());
    let (blanks, zeros) = if d.zero && !d.left { (0, fill) } else { (fill, 0) };
    let blanks = " ".repeat(blanks);
    let (before, after) = if d.left { ("", blanks.as_str()) } else { (blanks.as_str(), "") };
    for part in [before, &sign, prefix, &"0".repeat(zeros), &body, after] {
        out.push_str(part);
    }
    Ok(())
}

fn pad_text(d: &Directive, body: &str, out: &mut String) -> Result<(), Error> {
    let blanks = " ".repeat(d.width.saturating_sub(body.chars().count()));
    charge_text(body.len())?;
    out.push_str(if d.left { body } else { &blanks });
    out.push_str(if d.left { &blanks } else { body });
    Ok(())
}

fn integer(value: &Value, letter: char) -> Result<i128, Error> {
    match Num::of(value) {
        Some(Num::Int(int)) => Ok(int),
        Some(Num::Float(float)) if matches!(letter, 'd' | 'i' | 'u') => truncated(float),
        _ => Err(error(format!("%{letter} format: a number is required, not {}", type_name(value)))),
    }
}

/// `int(float)`.
pub(super) fn truncated(float: f64) -> Result<i128, Error> {
    if !float.is_finite() {
        return Err(error("cannot convert infinity or NaN to integer"));
    }
    if float.abs() >= 1.7e38 {
        return Err(error("an integer is beyond 128 bits"));
    }
    Ok(float as i128)
}

/// A character by its number, or a text of one character.
pub(super) fn character(value: &Value) -> Result<String, Error> {
    if let Some(Num::Int(int)) = Num::of(value) {
        let c = u32::try_from(int).ok().and_then(char::from_u32);
        return c.map(String::from).ok_or_else(|| error("%c arg not in range(0x110000)"));
    }
    let text = value.as_str().filter(|text| text.chars().count() == 1);
    text.map(str::to_owned).ok_or_else(|| error("%c requires int or char"))
}

/// With characters beyond ASCII escaped.
pub(super) fn ascii(text: &str) -> String {
    let one = |c: char| match u32::from(c) {
        code if code < 0x80 => c.to_string(),
        code if code < 0x100 => format!("\\x{code:02x}"),
        code if code < 0x1_0000 => format!("\\u{code:04x}"),
        code => format!("\\U{code:08x}"),
    };
    text.chars().map(one).collect()
}
