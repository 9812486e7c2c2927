//! Python's methods of strings.

use minijinja::{Error, Value};

use super::args::{Args, flag, int_or_none, size_of, text_of, text_or_none};
use super::class::{self, is_space};
use super::value::{Kind, Seq, items_of, list, tuple, unknown_method};
use super::work::{charge, charge_repeated, charge_text, error};
use super::{format, show};

/// Names of all of them.
pub(super) const NAMES: &[&str] = &[
    "capitalize",
    "casefold",
    "center",
    "count",
    "endswith",
    "expandtabs",
    "find",
    "format",
    "format_map",
    "index",
    "isalnum",
    "isalpha",
    "isascii",
    "isdecimal",
    "isdigit",
    "isidentifier",
    "islower",
    "isnumeric",
    "isprintable",
    "isspace",
    "istitle",
    "isupper",
    "join",
    "ljust",
    "lower",
    "lstrip",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rindex",
    "rjust",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "swapcase",
    "title",
    "upper",
    "zfill",
];

/// `text.name(args)`.
pub(super) fn call(text: &str, name: &str, args: &Args) -> Result<Value, Error> {
    charge_text(text.len())?;
    if let Some(answer) = class::ask(text, name) {
        args.bind([], 0)?;
        return Ok(Value::from(answer));
    }
    match name {
        "strip" | "lstrip" | "rstrip" => {
            let [chars] = args.bind(["chars"], 0)?;
            Ok(strip(text, text_or_none(chars.as_ref())?, name != "rstrip", name != "lstrip").into())
        }
        "split" | "rsplit" => {
            let [sep, max] = args.bind(["sep", "maxsplit"], 0)?;
            let max = int_or_none(max.as_ref())?.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
            parts(split(text, text_or_none(sep.as_ref())?, max, name == "rsplit")?)
        }
        "partition" | "rpartition" => partition(text, name == "rpartition", args),
        "startswith" | "endswith" => affix(text, name == "endswith", args).map(Value::from),
        "find" | "rfind" | "index" | "rindex" | "count" => search(text, name, args),
        "removeprefix" | "removesuffix" => {
            let [Some(part)] = args.bind(["part"], 1)? else { return Err(unknown_method()) };
            let part = text_of(&part)?;
            let found =
                if name == "removeprefix" { text.strip_prefix(part) } else { text.strip_suffix(part) };
            Ok(Value::from(found.unwrap_or(text)))
        }
        "replace" => {
            let [old, new, count] = args.bind(["old", "new", "count"], 2)?;
            let count = int_or_none(count.as_ref())?.and_then(|n| usize::try_from(n).ok());
            let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
            replace(text, text_of(&old)?, text_of(&new)?, count).map(Value::from)
        }
        "join" => {
            let [items] = args.bind(["iterable"], 1)?;
            join(text, &items_of(&items.unwrap_or_default())?).map(Value::from)
        }
        "ljust" | "rjust" | "center" | "zfill" | "expandtabs" => padded(text, name, args).map(Value::from),
        "splitlines" => {
            let [keep] = args.bind(["keepends"], 0)?;
            parts(lines(text, flag(keep.as_ref())))
        }
        "format" => format::format(text, args).map(Value::from),
        "format_map" => {
            let [mapping] = args.bind(["mapping"], 1)?;
            let mapping = mapping.unwrap_or_default();
            let dict = mapping.downcast_object_ref::<super::value::Dict>();
            let dict = dict.ok_or_else(|| error("format_map needs a mapping"))?;
            let named = dict.entries.iter().filter_map(|(k, v)| Some((k.as_str()?.to_owned(), v.clone())));
            format::format(text, &Args { positional: Vec::new(), keywords: named.collect() }).map(Value::from)
        }
        _ => {
            let changed = change_case(text, name).ok_or_else(unknown_method)?;
            args.bind([], 0)?;
            Ok(Value::from(changed))
        }
    }
}

/// Another case, for the names that ask for one.
pub(super) fn change_case(text: &str, name: &str) -> Option<String> {
    Some(match name {
        "upper" => text.to_uppercase(),
        "lower" => text.to_lowercase(),
        "casefold" => text.to_lowercase().replace('ß', "ss").replace('ς', "σ"),
        "capitalize" => {
            let mut chars = text.chars();
            let first: String = chars.next().into_iter().flat_map(char::to_uppercase).collect();
            first + &chars.as_str().to_lowercase()
        }
        "swapcase" => {
            let one = |c: char| -> String {
                if c.is_uppercase() { c.to_lowercase().collect() } else { c.to_uppercase().collect() }
            };
            text.chars().map(one).collect()
        }
        "title" => {
            let mut inside = false;
            let mut out = String::with_capacity(text.len());
            for c in text.chars() {
                if inside {
                    out.extend(c.to_lowercase())
                } else {
                    out.extend(c.to_uppercase())
                }
                inside = c.is_lowercase() || c.is_uppercase();
            }
            out
        }
        _ => return None,
    })
}

fn parts(parts: Vec<&str>) -> Result<Value, Error> {
    list(parts.into_iter().map(Value::from).collect())
}

pub(super) fn strip<'t>(text: &'t str, chars: Option<&str>, left: bool, right: bool) -> &'t str {
    let goes = |c: char| chars.map_or_else(|| is_space(c), |chars| chars.contains(c));
    let text = if left { text.trim_start_matches(goes) } else { text };
    if right { text.trim_end_matches(goes) } else { text }
}

/// `split` and `rsplit`.
pub(super) fn split<'t>(
    text: &'t str,
    sep: Option<&str>,
    max: usize,
    right: bool,
) -> Result<Vec<&'t str>, Error> {
    let Some(sep) = sep else { return Ok(split_blanks(text, max, right)) };
    if sep.is_empty() {
        return Err(error("empty separator"));
    }
    let limit = max.saturating_add(1);
    charge(text.len() as u64 / 4)?;
    if right {
        let mut parts: Vec<&str> = text.rsplitn(limit, sep).collect();
        parts.reverse();
        return Ok(parts);
    }
    Ok(text.splitn(limit, sep).collect())
}

/// Splits at blanks; what is left when the limit is reached keeps those at its far end.
fn split_blanks(text: &str, max: usize, right: bool) -> Vec<&str> {
    let near = |rest: &'_ str| -> usize {
        if right {
            rest.trim_end_matches(is_space).len()
        } else {
            rest.len() - rest.trim_start_matches(is_space).len()
        }
    };
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        let (before, after) = rest.split_at(near(rest));
        rest = if right { before } else { after };
        if rest.is_empty() {
            break;
        }
        let cut = if right {
            rest.char_indices().rfind(|&(_, c)| is_space(c)).map(|(at, c)| at + c.len_utf8())
        } else {
            rest.find(is_space)
        };
        let cut = cut.filter(|_| parts.len() < max);
        let (head, tail) = rest.split_at(cut.unwrap_or(if right { 0 } else { rest.len() }));
        parts.push(if right { tail } else { head });
        rest = if right { head } else { tail };
        if cut.is_none() {
            break;
        }
    }
    if right {
        parts.reverse();
    }
    parts
}

fn partition(text: &str, right: bool, args: &Args) -> Result<Value, Error> {
    let [sep] = args.bind(["sep"], 1)?;
    let sep = sep.unwrap_or_default();
    let sep = text_of(&sep)?;
    if sep.is_empty() {
        return Err(error("empty separator"));
    }
    let cut = if right { text.rsplit_once(sep) } else { text.split_once(sep) };
    let parts = match cut {
        Some((head, tail)) => [head, sep, tail],
        None if right => ["", "", text],
        None => [text, "", ""],
    };
    tuple(parts.map(Value::from).to_vec())
}

/// The bytes of characters `start..end`, counted as Python's slices; `None` if the start is beyond the end.
fn window(text: &str, start: Option<&Value>, end: Option<&Value>) -> Result<Option<(usize, usize)>, Error> {
    let len = text.chars().count() as i128;
    let place = |at: i128| if at < 0 { (at + len).max(0) } else { at };
    let start = place(int_or_none(start)?.unwrap_or(0));
    let end = place(int_or_none(end)?.unwrap_or(len)).min(len);
    if start > end {
        return Ok(None);
    }
    let byte = |at: i128| {
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        text.char_indices().nth(at).map_or(text.len(), |(byte, _)| byte)
    };
    Ok(Some((byte(start), byte(end))))
}

fn affix(text: &str, end: bool, args: &Args) -> Result<bool, Error> {
    let [part, from, to] = args.bind(["part", "start", "end"], 1)?;
    let part = part.unwrap_or_default();
    let Some((from, to)) = window(text, from.as_ref(), to.as_ref())? else { return Ok(false) };
    let text = text.get(from..to).unwrap_or_default();
    let matches = |part: &Value| {
        let part = text_of(part)?;
        Ok(if end { text.ends_with(part) } else { text.starts_with(part) })
    };
    match part.downcast_object_ref::<Seq>() {
        Some(seq) if seq.kind == Kind::Tuple => {
            for part in seq.items() {
                if matches(part)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        _ => matches(&part),
    }
}

fn search(text: &str, name: &str, args: &Args) -> Result<Value, Error> {
    let [part, from, to] = args.bind(["sub", "start", "end"], 1)?;
    let part = part.unwrap_or_default();
    let part = text_of(&part)?;
    let window = window(text, from.as_ref(), to.as_ref())?;
    let inside = window.map(|(from, to)| (from, text.get(from..to).unwrap_or_default()));
    if name == "count" {
        let found = inside.map_or(0, |(_, inside)| {
            if part.is_empty() { inside.chars().count() + 1 } else { inside.matches(part).count() }
        });
        return Ok(Value::from(found));
    }
    let found = inside.and_then(|(from, inside)| {
        let at = if name.starts_with('r') { inside.rfind(part) } else { inside.find(part) };
        text.get(..from + at?).map(|before| before.chars().count())
    });
    match found {
        Some(at) => Ok(Value::from(at)),
        None if name.ends_with("find") => Ok(Value::from(-1)),
        None => Err(error("substring not found")),
    }
}

/// `replace`.
pub(super) fn replace(text: &str, old: &str, new: &str, count: Option<usize>) -> Result<String, Error> {
    let found = if old.is_empty() { text.chars().count() + 1 } else { text.matches(old).count() };
    let count = count.unwrap_or(usize::MAX).min(found);
    charge_repeated(new.len(), count)?;
    charge_text(text.len())?;
    Ok(text.replacen(old, new, count))
}

/// `separator.join(items)`: strings alone.
pub(super) fn join(separator: &str, items: &[Value]) -> Result<String, Error> {
    charge_repeated(separator.len(), items.len())?;
    let mut out = String::new();
    for (i, item) in items.iter().enumerate() {
        let Some(part) = item.as_str() else {
            let what = show::type_name(item);
            return Err(error(format!("sequence item {i}: expected str instance, {what} found")));
        };
        charge_text(part.len())?;
        out.push_str(if i > 0 { separator } else { "" });
        out.push_str(part);
    }
    Ok(out)
}

fn padded(text: &str, name: &str, args: &Args) -> Result<String, Error> {
    if name == "expandtabs" {
        let [size] = args.bind(["tabsize"], 0)?;
        return expand_tabs(text, size.as_ref().map(size_of).transpose()?.unwrap_or(8));
    }
    let [width, fill] = args.bind(["width", "fillchar"], 1)?;
    let width = size_of(&width.unwrap_or_default())?;
    let fill = match fill.as_ref().map(text_of).transpose()? {
        None => " ",
        Some(fill) if fill.chars().count() == 1 => fill,
        Some(_) => return Err(error("The fill character must be exactly one character long")),
    };
    let missing = width.saturating_sub(text.chars().count());
    charge_repeated(fill.len(), missing)?;
    let (before, after) = match name {
        "ljust" => (0, missing),
        "center" => (center(missing, width), missing - center(missing, width)),
        "rjust" => (missing, 0),
        _ => {
            let (sign, digits) = text.split_at(usize::from(text.starts_with(['+', '-'])));
            return Ok(format!("{sign}{}{digits}", "0".repeat(missing)));
        }
    };
    Ok(format!("{}{text}{}", fill.repeat(before), fill.repeat(after)))
}

/// The blanks before a centred text: Python's own rule for odd numbers.
pub(super) fn center(missing: usize, width: usize) -> usize {
    missing / 2 + (missing & width & 1)
}

fn expand_tabs(text: &str, size: usize) -> Result<String, Error> {
    charge_repeated(size, text.matches('\t').count())?;
    let (mut out, mut column) = (String::new(), 0);
    for c in text.chars() {
        match c {
            '\t' => {
                let blanks = if size == 0 { 0 } else { size - column % size };
                out.extend(std::iter::repeat_n(' ', blanks));
                column += blanks;
            }
            _ => {
                out.push(c);
                column = if matches!(c, '\n' | '\r') { 0 } else { column + 1 };
            }
        }
    }
    Ok(out)
}

/// Where Python ends lines.
pub(super) fn lines(text: &str, keep: bool) -> Vec<&str> {
    let breaks = |c: char| {
        matches!(
            c,
            '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}'
        )
    };
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let Some(at) = rest.find(breaks) else {
            lines.push(rest);
            break;
        };
        let (line, tail) = rest.split_at(at);
        let mark = if tail.starts_with("\r\n") { 2 } else { tail.chars().next().map_or(0, char::len_utf8) };
        lines.push(if keep { rest.get(..at + mark).unwrap_or_default() } else { line });
        rest = tail.get(mark..).unwrap_or_default();
    }
    lines
}
