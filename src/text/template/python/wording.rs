//! Filters of texts.

use minijinja::{Error, Value};

use super::args::{Args, flag, int_or_none, size_of, text_of, text_or_none};
use super::class::is_space;
use super::filters::unknown;
use super::ops::like;
use super::show::text;
use super::strings::lines;
use super::value::{Dict, Kind, Seq, items_of, tuple};
use super::work::{charge, charge_repeated, charge_text, error};

pub(super) fn apply(name: &str, value: &Value, args: &Args) -> Result<Value, Error> {
    match name {
        "e" | "escape" | "forceescape" => {
            args.bind([], 0)?;
            let text = if name == "forceescape" { escape(&text(value)?) } else { escaped(value) };
            text.map(Value::from_safe_string)
        }
        "indent" => indent(value, args).map(|text| like(value, text)),
        "title" => {
            args.bind([], 0)?;
            Ok(Value::from(title(&text(value)?)))
        }
        "truncate" => truncate(value, args).map(Value::from),
        "wordcount" => {
            args.bind([], 0)?;
            let text = text(value)?;
            let words = text.split(|c: char| !(c.is_alphanumeric() || c == '_'));
            Ok(Value::from(words.filter(|word| !word.is_empty()).count()))
        }
        "wordwrap" => wordwrap(value, args).map(Value::from),
        "urlencode" => {
            args.bind([], 0)?;
            url_encode(value).map(Value::from)
        }
        "xmlattr" => xml_attributes(value, args).map(Value::from),
        "striptags" => {
            args.bind([], 0)?;
            Ok(Value::from(strip_tags(&text(value)?)))
        }
        _ => Err(unknown(name)),
    }
}

/// `markupsafe.escape`: what is safe already stays as it is. Not that chat templates are HTML: but the filters `safe` and
/// `e` give strings that escape whatever is added to them, and some templates use them.
pub(super) fn escaped(value: &Value) -> Result<String, Error> {
    let text = text(value)?;
    if value.is_safe() { Ok(text) } else { escape(&text) }
}

/// Texts for a safe pattern, one or a tuple or mapping of them.
pub(super) fn escaped_within(value: &Value) -> Result<Value, Error> {
    let one = |value: &Value| match value.as_str() {
        Some(_) => escaped(value).map(Value::from_safe_string),
        None => Ok(value.clone()),
    };
    if let Some(seq) = value.downcast_object_ref::<Seq>().filter(|seq| seq.kind == Kind::Tuple) {
        return tuple(seq.items().iter().map(one).collect::<Result<_, _>>()?);
    }
    match value.downcast_object_ref::<Dict>() {
        Some(dict) => {
            let pairs = dict.entries.iter().map(|(key, value)| Ok((key.clone(), one(value)?)));
            Dict::make(pairs.collect::<Result<Vec<_>, Error>>()?)
        }
        None => one(value),
    }
}

fn escape(text: &str) -> Result<String, Error> {
    charge_text(text.len().saturating_mul(2))?;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    Ok(out)
}

fn indent(value: &Value, args: &Args) -> Result<String, Error> {
    let [width, first, blank] = args.bind(["width", "first", "blank"], 0)?;
    let source = text_of(value)?.to_owned() + "\n";
    let lines = lines(&source, false);
    let indention = match width {
        None => "    ".to_owned(),
        Some(width) if width.as_str().is_some() => text(&width)?,
        Some(width) => {
            let width = size_of(&width)?;
            charge_text(width)?;
            " ".repeat(width)
        }
    };
    charge_repeated(indention.len(), lines.len())?;
    charge_text(source.len())?;
    let mut out = String::new();
    for (i, line) in lines.iter().enumerate() {
        let wanted = if i == 0 { flag(first.as_ref()) } else { flag(blank.as_ref()) || !line.is_empty() };
        out.push_str(if i > 0 { "\n" } else { "" });
        out.push_str(if wanted { &indention } else { "" });
        out.push_str(line);
    }
    Ok(out)
}

fn title(text: &str) -> String {
    let mut inside = false;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let between = is_space(c) || "-({[<".contains(c);
        if between {
            out.push(c);
        } else if inside {
            out.extend(c.to_lowercase());
        } else {
            out.extend(c.to_uppercase());
        }
        inside = !between;
    }
    out
}

fn truncate(value: &Value, args: &Args) -> Result<String, Error> {
    let [length, kill, end, leeway] = args.bind(["length", "killwords", "end", "leeway"], 0)?;
    let source = text_of(value)?;
    let length = length.as_ref().map(size_of).transpose()?.unwrap_or(255);
    let end = end.as_ref().map(text_of).transpose()?.unwrap_or("...");
    let leeway = int_or_none(leeway.as_ref())?.unwrap_or(5);
    let leeway = usize::try_from(leeway).map_err(|_| error("the leeway must not be negative"))?;
    charge_text(source.len())?;
    let room = length.checked_sub(end.chars().count());
    let room = room.ok_or_else(|| error("the length must not be below that of the end"))?;
    if source.chars().count() <= length.saturating_add(leeway) {
        return Ok(source.to_owned());
    }
    let kept: String = source.chars().take(room).collect();
    let cut = if flag(kill.as_ref()) { None } else { kept.rsplit_once(' ') };
    Ok(format!("{}{end}", cut.map_or(kept.as_str(), |(head, _)| head)))
}

fn wordwrap(value: &Value, args: &Args) -> Result<String, Error> {
    let [width, break_long, with, hyphens] =
        args.bind(["width", "break_long_words", "wrapstring", "break_on_hyphens"], 0)?;
    let source = text_of(value)?;
    let width = width.as_ref().map(size_of).transpose()?.unwrap_or(79);
    if width == 0 {
        return Err(error("invalid width 0 (must be > 0)"));
    }
    let yes = |value: &Option<Value>| value.as_ref().is_none_or(Value::is_true);
    let with = text_or_none(with.as_ref())?.unwrap_or("\n").to_owned();
    charge_text(source.len())?;
    charge_repeated(with.len() + 1, source.chars().count())?;
    let mut out = Vec::new();
    for line in lines(source, false) {
        out.push(wrap(line, width, yes(&break_long), yes(&hyphens)).join(&with));
    }
    Ok(out.join(&with))
}

fn is_blank(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\u{b}' | '\u{c}' | '\r' | ' ')
}

/// Words, blanks between them, and parts of hyphenated words.
fn chunks(line: &str, hyphens: bool) -> Vec<Vec<char>> {
    let chars: Vec<char> = line.chars().collect();
    let letter =
        |at: Option<usize>| at.and_then(|at| chars.get(at)).is_some_and(|c| c.is_alphabetic() || *c == '_');
    let mut chunks: Vec<Vec<char>> = Vec::new();
    let mut cut = true;
    for (at, &c) in chars.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|b| chars.get(b));
        cut |= before.is_some_and(|b| is_blank(*b) != is_blank(c));
        match chunks.last_mut() {
            Some(chunk) if !cut => chunk.push(c),
            _ => chunks.push(vec![c]),
        }
        let back = |n: usize| at.checked_sub(n);
        let dash = |at: Option<usize>| at.and_then(|at| chars.get(at)) == Some(&'-');
        let head = letter(back(1)) && (letter(back(2)) || (dash(back(2)) && letter(back(3))));
        let tail =
            letter(Some(at + 1)) && (letter(Some(at + 2)) || (dash(Some(at + 2)) && letter(Some(at + 3))));
        cut = hyphens && c == '-' && head && tail;
    }
    chunks
}

/// `textwrap.wrap` of one line.
fn wrap(line: &str, width: usize, break_long: bool, hyphens: bool) -> Vec<String> {
    let mut chunks: std::collections::VecDeque<Vec<char>> = chunks(line, hyphens).into();
    let blank = |chunk: &Vec<char>| chunk.iter().all(|c| is_blank(*c));
    let mut lines: Vec<String> = Vec::new();
    while !chunks.is_empty() {
        let mut current: Vec<Vec<char>> = Vec::new();
        let mut length = 0;
        if !lines.is_empty() && chunks.front().is_some_and(blank) {
            chunks.pop_front();
        }
        while chunks.front().is_some_and(|chunk| length + chunk.len() <= width)
            && let Some(chunk) = chunks.pop_front()
        {
            length += chunk.len();
            current.push(chunk);
        }
        if let Some(chunk) = chunks.front_mut().filter(|chunk| chunk.len() > width) {
            if break_long {
                let room = (width - length).max(usize::from(current.is_empty()));
                let rest = chunk.split_off(room.min(chunk.len()));
                let head = std::mem::replace(chunk, rest);
                if !head.is_empty() {
                    current.push(head);
                }
            } else if current.is_empty() {
                current.extend(chunks.pop_front());
            }
        }
        if current.last().is_some_and(blank) {
            current.pop();
        }
        if !current.is_empty() {
            lines.push(current.into_iter().flatten().collect());
        }
    }
    lines
}

fn quote(text: &str, query: bool, out: &mut String) -> Result<(), Error> {
    charge_text(text.len().saturating_mul(3))?;
    for byte in text.bytes() {
        match byte {
            b' ' if query => out.push('+'),
            b'/' if !query => out.push('/'),
            b if b.is_ascii_alphanumeric() || b"_.-~".contains(&b) => out.push(char::from(b)),
            b => out.push_str(&format!("%{b:02X}")),
        }
    }
    Ok(())
}

fn url_encode(value: &Value) -> Result<String, Error> {
    let mut out = String::new();
    let dict = value.downcast_object_ref::<Dict>();
    if dict.is_none() && value.downcast_object_ref::<Seq>().is_none() {
        quote(&text(value)?, false, &mut out)?;
        return Ok(out);
    }
    let pairs = dict.map_or_else(|| items_of(value), Dict::pairs)?;
    for (i, pair) in pairs.iter().enumerate() {
        let pair = items_of(pair)?;
        let [key, value] = pair.as_slice() else { return Err(error("urlencode needs pairs")) };
        out.push_str(if i > 0 { "&" } else { "" });
        quote(&text(key)?, true, &mut out)?;
        out.push('=');
        quote(&text(value)?, true, &mut out)?;
    }
    Ok(out)
}

fn xml_attributes(value: &Value, args: &Args) -> Result<String, Error> {
    let [autospace] = args.bind(["autospace"], 0)?;
    let dict = value.downcast_object_ref::<Dict>().ok_or_else(|| error("xmlattr needs a mapping"))?;
    let mut out = String::new();
    for (key, value) in &dict.entries {
        charge(1)?;
        if value.is_none() || value.is_undefined() {
            continue;
        }
        let key = text_of(key)?;
        if key.contains(|c: char| c.is_ascii_whitespace() || "\u{b}/>=".contains(c)) {
            return Err(error(format!("Invalid character in attribute name: {key:?}")));
        }
        let space = !out.is_empty() || autospace.as_ref().is_none_or(Value::is_true);
        out.push_str(if space { " " } else { "" });
        out.push_str(&format!("{}=\"{}\"", escape(key)?, escape(&text(value)?)?));
    }
    Ok(out)
}

/// Without comments and tags, blanks collapsed, the usual entities decoded.
fn strip_tags(text: &str) -> String {
    let cut = |text: &str, open: &str, close: &str| {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once(open) {
            let Some((_, after)) = after.split_once(close) else { break };
            out.push_str(before);
            rest = after;
        }
        out + rest
    };
    let plain = cut(&cut(text, "<!--", "-->"), "<", ">");
    let words: Vec<&str> = plain.split(is_space).filter(|word| !word.is_empty()).collect();
    let entities =
        [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#34;", "\""), ("&#39;", "'"), ("&amp;", "&")];
    entities.iter().fold(words.join(" "), |text, (entity, c)| text.replace(entity, c))
}
