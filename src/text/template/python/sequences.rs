//! Filters of lists and mappings.

use minijinja::{Error, Value};

use super::args::{Args, flag, int_of, size_of, text_of};
use super::filters::{self, add, to_list, unknown};
use super::value::{Dict, Key, Kind, Seq, generator, items_of, list, tuple};
use super::work::{MAX_DEPTH, charge, charge_text, error};
use super::{checks, ops, show, strings};

pub(super) fn apply(name: &str, value: &Value, args: &Args) -> Result<Value, Error> {
    match name {
        "list" => {
            args.bind([], 0)?;
            to_list(value)
        }
        "items" => {
            args.bind([], 0)?;
            match value.downcast_object_ref::<Dict>() {
                Some(dict) => generator(dict.pairs()?),
                None if value.is_undefined() => generator(Vec::new()),
                None => Err(error("Can only get item pairs from a mapping.")),
            }
        }
        "first" | "last" | "random" => {
            args.bind([], 0)?;
            one_of(name, value)
        }
        "reverse" => {
            args.bind([], 0)?;
            reversed(value)
        }
        "join" => {
            let [separator, attribute] = args.bind(["d", "attribute"], 0)?;
            let separator = separator.as_ref().map(show::text).transpose()?.unwrap_or_default();
            let getter = attribute.map(|a| Getter::new(&a, false, None)).transpose()?;
            let one = |item: Value| {
                let item = getter.as_ref().map_or_else(|| Ok(item.clone()), |getter| getter.get(&item))?;
                show::text(&item).map(Value::from)
            };
            let texts = items_of(value)?.into_iter().map(one).collect::<Result<Vec<_>, _>>()?;
            strings::join(&separator, &texts).map(Value::from)
        }
        "batch" | "slice" => chopped(name, value, args),
        "sort" | "dictsort" | "unique" | "min" | "max" | "groupby" => ordered(name, value, args),
        "sum" => {
            let [attribute, start] = args.bind(["attribute", "start"], 0)?;
            let getter =
                attribute.filter(|a| !a.is_none()).map(|a| Getter::new(&a, false, None)).transpose()?;
            let mut sum = start.unwrap_or_else(|| Value::from(0));
            if sum.as_str().is_some() {
                return Err(error("sum() can't sum strings"));
            }
            for item in items_of(value)? {
                let item = getter.as_ref().map_or_else(|| Ok(item.clone()), |getter| getter.get(&item))?;
                sum = add(&sum, &item)?;
            }
            Ok(sum)
        }
        "map" => map(value, args),
        "select" | "reject" | "selectattr" | "rejectattr" => select(name, value, args),
        _ => Err(unknown(name)),
    }
}

fn one_of(name: &str, value: &Value) -> Result<Value, Error> {
    let generator = value.downcast_object_ref::<Seq>().is_some_and(|seq| seq.kind == Kind::Generator);
    if generator && name != "first" {
        return Err(error("a generator has no order to take from"));
    }
    let items = items_of(value)?;
    let found = match name {
        "first" => items.first(),
        "last" => items.last(),
        _ => {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            let seed = now.map_or(0, |since| since.subsec_nanos() as usize);
            seed.checked_rem(items.len()).and_then(|at| items.get(at))
        }
    };
    Ok(found.cloned().unwrap_or(Value::UNDEFINED))
}

fn reversed(value: &Value) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        charge_text(text.len())?;
        return Ok(Value::from(text.chars().rev().collect::<String>()));
    }
    let mut items = items_of(value)?;
    items.reverse();
    match value.downcast_object_ref::<Seq>() {
        Some(seq) if seq.kind == Kind::Generator => list(items),
        _ => generator(items),
    }
}

/// `attribute='a.0.b'`, and what follows the look-up.
struct Getter {
    parts: Vec<Value>,
    ignore_case: bool,
    default: Option<Value>,
}

impl Getter {
    fn new(attribute: &Value, ignore_case: bool, default: Option<Value>) -> Result<Self, Error> {
        let part = |part: &str| match part.parse::<u64>() {
            Ok(number) if part.bytes().all(|b| b.is_ascii_digit()) => Value::from(number),
            _ => Value::from(part),
        };
        let parts = match attribute.as_str() {
            Some(path) => path.split('.').map(part).collect(),
            None if attribute.is_none() => Vec::new(),
            None => vec![attribute.clone()],
        };
        Ok(Self { parts, ignore_case, default: default.filter(|d| !d.is_none()) })
    }

    fn get(&self, item: &Value) -> Result<Value, Error> {
        let mut item = item.clone();
        for part in &self.parts {
            item = ops::item(&item, part)?;
            if let (true, Some(default)) = (item.is_undefined(), &self.default) {
                item = default.clone();
            }
        }
        Ok(if self.ignore_case { lowered(&item) } else { item })
    }
}

fn lowered(value: &Value) -> Value {
    value.as_str().map_or_else(|| value.clone(), |text| Value::from(text.to_lowercase()))
}

/// Stable, and safe with an order that is none.
fn sorted<T>(mut keyed: Vec<(Value, T)>, reverse: bool) -> Result<Vec<(Value, T)>, Error> {
    if keyed.len() < 2 {
        return Ok(keyed);
    }
    let right = keyed.split_off(keyed.len() / 2);
    let mut left = sorted(keyed, reverse)?.into_iter().peekable();
    let mut right = sorted(right, reverse)?.into_iter().peekable();
    let mut out = Vec::with_capacity(left.len() + right.len());
    while let (Some((a, _)), Some((b, _))) = (left.peek(), right.peek()) {
        let order = if reverse { ops::order(a, b)? } else { ops::order(b, a)? };
        let from = if order.is_some_and(std::cmp::Ordering::is_lt) { &mut right } else { &mut left };
        out.extend(from.next());
    }
    out.extend(left);
    out.extend(right);
    Ok(out)
}

/// The pairs of a mapping in the order of their keys.
pub(super) fn by_key(dict: &Dict) -> Result<Vec<(Value, Value)>, Error> {
    let keyed = dict.entries.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    sorted(keyed, false)
}

/// As `pprint` shows mappings.
pub(super) fn with_sorted_keys(value: &Value, depth: u32) -> Result<Value, Error> {
    charge(4)?;
    if depth > MAX_DEPTH {
        return Err(error("pprint: the value is nested too deeply"));
    }
    if let Some(dict) = value.downcast_object_ref::<Dict>() {
        let one = |(key, value): (Value, Value)| Ok((key, with_sorted_keys(&value, depth + 1)?));
        return Dict::make(by_key(dict)?.into_iter().map(one).collect::<Result<Vec<_>, Error>>()?);
    }
    match value.downcast_object_ref::<Seq>() {
        Some(seq) if matches!(seq.kind, Kind::List | Kind::Tuple) => {
            let items = seq.items().iter().map(|item| with_sorted_keys(item, depth + 1));
            Seq::make(seq.kind, items.collect::<Result<Vec<_>, _>>()?)
        }
        _ => Ok(value.clone()),
    }
}

fn ordered(name: &str, value: &Value, args: &Args) -> Result<Value, Error> {
    let none = Value::from(());
    match name {
        "dictsort" => {
            let [case, by, reverse] = args.bind(["case_sensitive", "by", "reverse"], 0)?;
            let dict =
                value.downcast_object_ref::<Dict>().ok_or_else(|| error("dictsort needs a mapping"))?;
            let by_value = match by.as_ref().map(text_of).transpose()? {
                None | Some("key") => false,
                Some("value") => true,
                _ => return Err(error("You can only sort by either \"key\" or \"value\"")),
            };
            let key = |(k, v): &(Value, Value)| if by_value { v.clone() } else { k.clone() };
            let key = |pair| if flag(case.as_ref()) { key(pair) } else { lowered(&key(pair)) };
            let keyed = dict.entries.iter().map(|pair| (key(pair), pair.clone())).collect();
            let pairs = sorted(keyed, flag(reverse.as_ref()))?;
            let pairs = pairs.into_iter().map(|(_, (key, value))| tuple(vec![key, value]));
            list(pairs.collect::<Result<_, _>>()?)
        }
        "sort" => {
            let [reverse, case, attribute] = args.bind(["reverse", "case_sensitive", "attribute"], 0)?;
            let attribute = attribute.unwrap_or(none);
            let paths = match attribute.as_str() {
                Some(paths) => paths.split(',').map(Value::from).collect(),
                None => vec![attribute],
            };
            let getter = |path: &Value| Getter::new(path, !flag(case.as_ref()), None);
            let getters = paths.iter().map(getter).collect::<Result<Vec<_>, _>>()?;
            let one = |item: Value| {
                let keys = getters.iter().map(|getter| getter.get(&item)).collect::<Result<Vec<_>, _>>()?;
                Ok((list(keys)?, item))
            };
            let keyed = items_of(value)?.into_iter().map(one).collect::<Result<Vec<_>, Error>>()?;
            list(sorted(keyed, flag(reverse.as_ref()))?.into_iter().map(|(_, item)| item).collect())
        }
        "groupby" => grouped(value, args),
        _ => {
            let [case, attribute] = args.bind(["case_sensitive", "attribute"], 0)?;
            let getter = Getter::new(&attribute.unwrap_or(none), !flag(case.as_ref()), None)?;
            let one = |item: Value| Ok((getter.get(&item)?, item));
            let keyed = items_of(value)?.into_iter().map(one).collect::<Result<Vec<_>, Error>>()?;
            if name == "unique" { unique(keyed) } else { extreme(keyed, name == "max") }
        }
    }
}

fn unique(keyed: Vec<(Value, Value)>) -> Result<Value, Error> {
    let mut seen = std::collections::BTreeSet::new();
    let mut kept = Vec::new();
    for (key, item) in keyed {
        if seen.insert(Key::of(&key)?) {
            kept.push(item);
        }
    }
    generator(kept)
}

fn extreme(keyed: Vec<(Value, Value)>, max: bool) -> Result<Value, Error> {
    let mut best: Option<(Value, Value)> = None;
    for (key, item) in keyed {
        let better = match &best {
            None => true,
            Some((known, _)) => ops::compare_two(if max { ">" } else { "<" }, &key, known)?,
        };
        if better {
            best = Some((key, item));
        }
    }
    Ok(best.map_or(Value::UNDEFINED, |(_, item)| item))
}

fn grouped(value: &Value, args: &Args) -> Result<Value, Error> {
    let [attribute, default, case] = args.bind(["attribute", "default", "case_sensitive"], 1)?;
    let attribute = attribute.unwrap_or_default();
    let getter = Getter::new(&attribute, !flag(case.as_ref()), default.clone())?;
    let plain = Getter::new(&attribute, false, default)?;
    let one = |item: Value| Ok((getter.get(&item)?, item));
    let keyed = items_of(value)?.into_iter().map(one).collect::<Result<Vec<_>, Error>>()?;
    let mut groups: Vec<(Value, Vec<Value>)> = Vec::new();
    for (key, item) in sorted(keyed, false)? {
        match groups.last_mut() {
            Some((known, items)) if ops::equal(known, &key)? => items.push(item),
            _ => groups.push((key, vec![item])),
        }
    }
    let one = |(key, items): (Value, Vec<Value>)| {
        let shown =
            if flag(case.as_ref()) { key } else { items.first().map_or(Ok(key), |i| plain.get(i))? };
        tuple(vec![shown, list(items)?])
    };
    list(groups.into_iter().map(one).collect::<Result<_, _>>()?)
}

fn chopped(name: &str, value: &Value, args: &Args) -> Result<Value, Error> {
    let [count, fill] = args.bind([if name == "batch" { "linecount" } else { "slices" }, "fill_with"], 1)?;
    let fill = fill.filter(|fill| !fill.is_none());
    let items = items_of(value)?;
    let count = count.unwrap_or_default();
    if int_of(&count)? <= 0 {
        return Err(error(format!("{name} needs a number above 0")));
    }
    let count = size_of(&count)?;
    charge(count as u64)?;
    let mut parts: Vec<Value> = Vec::new();
    if name == "batch" {
        for part in items.chunks(count) {
            let missing = count - part.len();
            let fill = fill.iter().cycle().take(if fill.is_some() { missing } else { 0 });
            parts.push(list(part.iter().chain(fill).cloned().collect())?);
        }
        return generator(parts);
    }
    let (each, longer) = (items.len() / count, items.len() % count);
    let mut rest = items.as_slice();
    for at in 0..count {
        let (part, after) = rest.split_at((each + usize::from(at < longer)).min(rest.len()));
        rest = after;
        let fill = fill.iter().filter(|_| at >= longer);
        parts.push(list(part.iter().chain(fill).cloned().collect())?);
    }
    generator(parts)
}

/// Jinja's own check: nothing is asked of what is empty.
fn empty(value: &Value) -> bool {
    !value.is_true()
}

fn map(value: &Value, args: &Args) -> Result<Value, Error> {
    if empty(value) {
        return generator(Vec::new());
    }
    let items = items_of(value)?.into_iter();
    if args.positional.is_empty() && args.named("attribute").is_some() {
        let [attribute, default] = args.bind_named(["attribute", "default"])?;
        let getter = Getter::new(&attribute.unwrap_or_default(), false, default)?;
        return generator(items.map(|item| getter.get(&item)).collect::<Result<_, _>>()?);
    }
    let Some((name, rest)) = args.positional.split_first() else {
        return Err(error("map requires a filter argument"));
    };
    let rest = Args { positional: rest.to_vec(), keywords: args.keywords.clone() };
    let name = text_of(name)?;
    generator(items.map(|item| filters::apply(name, &item, &rest)).collect::<Result<_, _>>()?)
}

fn select(name: &str, value: &Value, args: &Args) -> Result<Value, Error> {
    if empty(value) {
        return generator(Vec::new());
    }
    let mut positional = args.positional.as_slice();
    let getter = if name.ends_with("attr") {
        let (attribute, rest) =
            positional.split_first().ok_or_else(|| error("Missing parameter for attribute name"))?;
        positional = rest;
        Some(Getter::new(attribute, false, None)?)
    } else {
        None
    };
    let test = positional.split_first();
    let rest = test.map(|(_, rest)| rest.to_vec()).unwrap_or_default();
    let rest = Args { positional: rest, keywords: args.keywords.clone() };
    let mut kept = Vec::new();
    for item in items_of(value)? {
        let asked = getter.as_ref().map_or_else(|| Ok(item.clone()), |getter| getter.get(&item))?;
        let passed = match test {
            Some((name, _)) => checks::test(text_of(name)?, &asked, &rest)?,
            None => asked.is_true(),
        };
        if passed == name.starts_with("select") {
            kept.push(item);
        }
    }
    generator(kept)
}
