//! The functions that templates find: `range`, `namespace`, `dict`, `cycler`, `joiner`, `raise_exception`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use minijinja::value::{Object, ObjectRepr, Rest, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State, Value};

use super::args::{Args, int_of};
use super::show::{self, type_name};
use super::value::{Dict, Kind, Namespace, Seq, items_of, storable, tuple, unknown_method};
use super::work::{error, register};

/// Marks an error as the template's own.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refusal(String);

/// The message of `raise_exception`, if that is what the error comes from.
pub(in crate::text::template) fn refusal(error: &Error) -> Option<String> {
    let mut source: Option<&dyn std::error::Error> = Some(error);
    while let Some(at) = source {
        if let Some(Refusal(message)) = at.downcast_ref() {
            return Some(message.clone());
        }
        source = at.source();
    }
    None
}

pub(super) fn install(env: &mut Environment<'_>) {
    let mut add = |name: &'static str, function: fn(&Args) -> Result<Value, Error>| {
        env.add_function(name, move |args: Rest<ValueOrKwargs>| function(&Args::of(args)?));
    };
    add("range", range);
    add("namespace", namespace);
    add("raise_exception", |args| {
        let [message] = args.bind(["message"], 1)?;
        let message = show::text(&message.unwrap_or_default())?;
        Err(Error::new(ErrorKind::InvalidOperation, message.clone()).with_source(Refusal(message)))
    });
    add("cycler", |args| {
        if args.positional.is_empty() || !args.keywords.is_empty() {
            return Err(error("cycler needs items"));
        }
        let items = tuple(args.positional.clone())?;
        Ok(Value::from_object(Cycler { items, at: AtomicUsize::new(0) }))
    });
    env.add_global("dict", Value::from_object(DictType));
    let mut add = |name: &'static str, function: fn(&Args) -> Result<Value, Error>| {
        env.add_function(name, move |args: Rest<ValueOrKwargs>| function(&Args::of(args)?));
    };
    add("joiner", |args| {
        let [separator] = args.bind(["sep"], 0)?;
        let separator = separator.unwrap_or_else(|| Value::from(", "));
        Ok(Value::from_object(Joiner { separator: tuple(vec![separator])?, used: AtomicUsize::new(0) }))
    });
}

/// `dict`: called, and for its `fromkeys`.
#[derive(Debug)]
struct DictType;

impl Object for DictType {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call(self: &Arc<Self>, _state: &mut State<'_, '_>, args: &[Value]) -> Result<Value, Error> {
        Dict::make(pairs(&Args::new(args)?)?)
    }

    fn call_method(
        self: &Arc<Self>,
        _state: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        if method == "fromkeys" { from_keys(&Args::new(args)?) } else { Err(unknown_method()) }
    }
}

/// `dict.fromkeys(iterable, value=None)`.
pub(super) fn from_keys(args: &Args) -> Result<Value, Error> {
    let [keys, to] = args.bind(["iterable", "value"], 1)?;
    let to = to.unwrap_or_else(|| Value::from(()));
    Dict::make(items_of(&keys.unwrap_or_default())?.into_iter().map(|key| (key, to.clone())))
}

/// The most items of a range, as in Jinja's sandbox.
const MAX_RANGE: i128 = 100_000;

fn range(args: &Args) -> Result<Value, Error> {
    let numbers = args.positional.iter().map(int_of).collect::<Result<Vec<_>, _>>()?;
    let (start, stop, step) = match (numbers.as_slice(), args.keywords.is_empty()) {
        ([stop], true) => (0, *stop, 1),
        ([start, stop], true) => (*start, *stop, 1),
        ([start, stop, step], true) => (*start, *stop, *step),
        _ => return Err(error("range takes 1 to 3 numbers")),
    };
    if step == 0 {
        return Err(error("range() arg 3 must not be zero"));
    }
    let narrow = |n: i128| i64::try_from(n).map_err(|_| error("a bound of the range is too large"));
    let kind = Kind::Range { start: narrow(start)?, stop: narrow(stop)?, step: narrow(step)? };
    let distance = if step > 0 { stop - start } else { start - stop };
    let count = if distance > 0 { (distance - 1) / step.abs() + 1 } else { 0 };
    if count > MAX_RANGE {
        return Err(error(format!("Range too big. The sandbox blocks ranges larger than {MAX_RANGE}.")));
    }
    Seq::make(kind, (0..count).map(|i| Value::from(start + i * step)).collect())
}

/// What `dict(...)` is given: a mapping or pairs, then names.
fn pairs(args: &Args) -> Result<Vec<(Value, Value)>, Error> {
    let mut pairs = match args.positional.as_slice() {
        [] => Vec::new(),
        [one] => match one.downcast_object_ref::<Dict>() {
            Some(dict) => dict.entries.clone(),
            None => {
                let pair = |item: Value| match items_of(&item)?.as_slice() {
                    [key, value] => Ok((key.clone(), value.clone())),
                    _ => Err(error("dict needs pairs")),
                };
                items_of(one)?.into_iter().map(pair).collect::<Result<_, _>>()?
            }
        },
        _ => return Err(error("dict expects at most 1 argument")),
    };
    pairs.extend(args.keywords.iter().map(|(name, value)| (Value::from(name.as_str()), value.clone())));
    Ok(pairs)
}

fn namespace(args: &Args) -> Result<Value, Error> {
    let namespace = Arc::new(Namespace::default());
    for (name, value) in pairs(args)? {
        set_field(&namespace, &show::text(&name)?, value)?;
    }
    register(&namespace)
}

fn set_field(namespace: &Namespace, name: &str, value: Value) -> Result<(), Error> {
    if name.starts_with('_') {
        return Err(error("chat templates cannot store underscore-prefixed attributes on a namespace"));
    }
    storable(&value)?;
    namespace.set(name, value);
    Ok(())
}

/// `{% set namespace.name = value %}`.
pub(super) fn set(args: &[Value]) -> Result<Value, Error> {
    let [object, name, value] = args else { return Err(error("an assignment takes a value")) };
    let Some(namespace) = object.downcast_object_ref::<Namespace>() else {
        let what = type_name(object);
        return Err(error(format!("cannot assign attribute on non-namespace object ({what})")));
    };
    set_field(namespace, name.as_str().unwrap_or_default(), value.clone())?;
    Ok(Value::UNDEFINED)
}

/// `loop.cycle(...)`.
pub(super) fn cycle(args: &[Value]) -> Result<Value, Error> {
    let Some((object, items)) = args.split_first() else { return Err(unknown_method()) };
    let index = object.get_attr("index0").ok().and_then(|index| index.as_usize());
    let index = index.ok_or_else(|| error("only a loop can cycle"))?;
    let place = index.checked_rem(items.len()).ok_or_else(|| error("no items for cycling given"))?;
    Ok(items.get(place).cloned().unwrap_or_default())
}

/// `cycler(...)`; its items are a tuple, which bounds how deeply it can hold another.
#[derive(Debug)]
pub(super) struct Cycler {
    pub(super) items: Value,
    at: AtomicUsize,
}

impl Cycler {
    fn current(&self) -> Value {
        let items = self.items.downcast_object_ref::<Seq>().map(Seq::items).unwrap_or_default();
        let place = self.at.load(Ordering::Relaxed).checked_rem(items.len());
        place.and_then(|place| items.get(place)).cloned().unwrap_or_default()
    }
}

impl Object for Cycler {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        (key.as_str() == Some("current")).then(|| self.current())
    }

    fn call_method(
        self: &Arc<Self>,
        _state: &mut State<'_, '_>,
        method: &str,
        _args: &[Value],
    ) -> Result<Value, Error> {
        match method {
            "next" => {
                let current = self.current();
                self.at.fetch_add(1, Ordering::Relaxed);
                Ok(current)
            }
            "reset" => {
                self.at.store(0, Ordering::Relaxed);
                Ok(Value::from(()))
            }
            _ => Err(unknown_method()),
        }
    }
}

/// `joiner(...)`: nothing at the first call, then the separator.
#[derive(Debug)]
pub(super) struct Joiner {
    pub(super) separator: Value,
    used: AtomicUsize,
}

impl Object for Joiner {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call(self: &Arc<Self>, _state: &mut State<'_, '_>, _args: &[Value]) -> Result<Value, Error> {
        if self.used.fetch_add(1, Ordering::Relaxed) == 0 {
            return Ok(Value::from(""));
        }
        let items = self.separator.downcast_object_ref::<Seq>().map(Seq::items).unwrap_or_default();
        Ok(items.first().cloned().unwrap_or_default())
    }
}
