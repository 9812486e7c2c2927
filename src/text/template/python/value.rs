//! Python's containers, as the engine's objects: immutable, in order, and never deeper than [`MAX_DEPTH`].

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering as Atomic};
use std::sync::{Arc, Mutex, PoisonError};

use minijinja::value::{DynObject, Enumerator, Object, ObjectRepr, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

use super::globals::{Cycler, Joiner};
use super::work::{MAX_DEPTH, charge, error};
use super::{methods, ops, show};

/// What a [`Seq`] is in Python.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    List,
    Tuple,
    /// Can be walked over once.
    Generator,
    Keys,
    Values,
    Items,
    Range {
        start: i64,
        stop: i64,
        step: i64,
    },
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Tuple => "tuple",
            Self::Generator => "generator",
            Self::Keys => "dict_keys",
            Self::Values => "dict_values",
            Self::Items => "dict_items",
            Self::Range { .. } => "range",
        }
    }

    /// Whether it can be indexed.
    pub(super) fn indexed(self) -> bool {
        matches!(self, Self::List | Self::Tuple | Self::Range { .. })
    }
}

/// A list, or what is much like one.
#[derive(Debug)]
pub(super) struct Seq {
    pub(super) kind: Kind,
    items: Vec<Value>,
    depth: u32,
    used: AtomicBool,
}

impl Seq {
    /// # Errors
    /// If it is nested too deeply, or the rendering has done too much.
    pub(super) fn make(kind: Kind, items: Vec<Value>) -> Result<Value, Error> {
        charge(items.len() as u64 / 2 + 1)?;
        let depth = nested(items.iter())?;
        Ok(Value::from_object(Self { kind, items, depth, used: AtomicBool::new(false) }))
    }

    /// The items; none if this is a generator that was used.
    pub(super) fn items(&self) -> &[Value] {
        if self.kind == Kind::Generator && self.used.swap(true, Atomic::Relaxed) {
            return &[];
        }
        &self.items
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }
}

pub(in crate::text::template) fn list(items: Vec<Value>) -> Result<Value, Error> {
    Seq::make(Kind::List, items)
}

pub(super) fn tuple(items: Vec<Value>) -> Result<Value, Error> {
    Seq::make(Kind::Tuple, items)
}

pub(super) fn generator(items: Vec<Value>) -> Result<Value, Error> {
    Seq::make(Kind::Generator, items)
}

/// Whether a value may lie in another: a `loop` may not, because it holds values itself and knows no depth.
pub(super) fn storable(value: &Value) -> Result<(), Error> {
    if value.as_object().is_some_and(|object| object.type_name().ends_with("::Loop")) {
        return Err(error("a loop cannot be kept in another value"));
    }
    Ok(())
}

/// One more than the deepest of the values.
fn nested<'v>(values: impl Iterator<Item = &'v Value>) -> Result<u32, Error> {
    let mut depth = 1;
    for value in values {
        storable(value)?;
        depth = depth.max(1 + depth_of(value));
    }
    if depth > MAX_DEPTH {
        return Err(error(format!("a value is nested more than {MAX_DEPTH} deep")));
    }
    Ok(depth)
}

fn depth_of(value: &Value) -> u32 {
    if let Some(seq) = value.downcast_object_ref::<Seq>() {
        return seq.depth;
    }
    if let Some(dict) = value.downcast_object_ref::<Dict>() {
        return dict.depth;
    }
    if let Some(cycler) = value.downcast_object_ref::<Cycler>() {
        return depth_of(&cycler.items);
    }
    if let Some(joiner) = value.downcast_object_ref::<Joiner>() {
        return depth_of(&joiner.separator);
    }
    value.downcast_object_ref::<Method>().map_or(0, |m| m.depth)
}

impl Object for Seq {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        if self.kind.indexed() { ObjectRepr::Seq } else { ObjectRepr::Iterable }
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.items.get(key.as_usize()?).cloned()
    }

    fn get_value_by_str(self: &Arc<Self>, _key: &str) -> Option<Value> {
        None
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        if self.kind.indexed() {
            return Enumerator::Seq(self.items.len());
        }
        Enumerator::Iter(Box::new(self.items().to_vec().into_iter()))
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.items.len())
    }

    fn is_true(self: &Arc<Self>) -> bool {
        self.kind == Kind::Generator || !self.items.is_empty()
    }

    fn call_method(
        self: &Arc<Self>,
        _state: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        methods::call(&Value::from_dyn_object(self.clone()), method, args)
    }

    fn custom_cmp(self: &Arc<Self>, other: &DynObject) -> Option<Ordering> {
        let other = Value::from_dyn_object(other.clone());
        Some(ops::order_for_engine(&Value::from_dyn_object(self.clone()), &other))
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show::render(&Value::from_dyn_object(self.clone()), f)
    }
}

/// What two keys of a mapping are compared by: `1`, `1.0` and `true` are the same one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    None,
    Undefined,
    Int(i128),
    Float(u64),
    Text(Arc<str>),
    Tuple(Vec<Key>),
}

impl Key {
    /// # Errors
    /// If the value cannot be hashed.
    pub(super) fn of(value: &Value) -> Result<Self, Error> {
        charge(4)?;
        Ok(match value.kind() {
            ValueKind::None => Self::None,
            ValueKind::Undefined => Self::Undefined,
            ValueKind::Bool => Self::Int(i128::from(value.is_true())),
            ValueKind::Number => match i128::try_from(value.clone()) {
                Ok(int) => Self::Int(int),
                Err(_) => Self::Float(f64::try_from(value.clone())?.to_bits()),
            },
            ValueKind::String => Self::Text(value.to_str().unwrap_or_default()),
            _ => match value.downcast_object_ref::<Seq>() {
                Some(seq) if seq.kind == Kind::Tuple => {
                    Self::Tuple(seq.items.iter().map(Self::of).collect::<Result<_, _>>()?)
                }
                _ => return Err(error(format!("unhashable type: '{}'", show::type_name(value)))),
            },
        })
    }
}

/// A mapping in the order of its making.
#[derive(Debug)]
pub(in crate::text::template) struct Dict {
    pub(super) entries: Vec<(Value, Value)>,
    index: BTreeMap<Key, usize>,
    depth: u32,
}

impl Dict {
    /// Later values of a key replace earlier ones.
    ///
    /// # Errors
    /// If a key cannot be hashed, it is nested too deeply, or the rendering has done too much.
    pub(in crate::text::template) fn make(
        pairs: impl IntoIterator<Item = (Value, Value)>,
    ) -> Result<Value, Error> {
        let mut entries: Vec<(Value, Value)> = Vec::new();
        let mut index = BTreeMap::new();
        for (key, value) in pairs {
            charge(2)?;
            let at = *index.entry(Key::of(&key)?).or_insert(entries.len());
            match entries.get_mut(at) {
                Some(entry) => entry.1 = value,
                None => entries.push((key, value)),
            }
        }
        let depth = nested(entries.iter().flat_map(|(k, v)| [k, v]))?;
        Ok(Value::from_object(Self { entries, index, depth }))
    }

    pub(super) fn get(&self, key: &Value) -> Option<&Value> {
        let at = *self.index.get(&Key::of(key).ok()?)?;
        self.entries.get(at).map(|(_, value)| value)
    }

    pub(super) fn keys(&self) -> Vec<Value> {
        self.entries.iter().map(|(key, _)| key.clone()).collect()
    }

    pub(super) fn values(&self) -> Vec<Value> {
        self.entries.iter().map(|(_, value)| value.clone()).collect()
    }

    /// (key, value) tuples.
    pub(super) fn pairs(&self) -> Result<Vec<Value>, Error> {
        self.entries.iter().map(|(key, value)| tuple(vec![key.clone(), value.clone()])).collect()
    }
}

impl Object for Dict {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get(key).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Iter(Box::new(self.keys().into_iter()))
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.entries.len())
    }

    fn call_method(
        self: &Arc<Self>,
        _state: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        methods::call(&Value::from_dyn_object(self.clone()), method, args)
    }

    fn custom_cmp(self: &Arc<Self>, other: &DynObject) -> Option<Ordering> {
        let other = Value::from_dyn_object(other.clone());
        Some(ops::order_for_engine(&Value::from_dyn_object(self.clone()), &other))
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show::render(&Value::from_dyn_object(self.clone()), f)
    }
}

/// A method that is not called yet, such as `message.items` without parentheses.
#[derive(Debug)]
pub(super) struct Method {
    receiver: Value,
    pub(super) name: String,
    depth: u32,
}

impl Method {
    pub(super) fn make(receiver: &Value, name: &str) -> Result<Value, Error> {
        let depth = nested(std::iter::once(receiver))?;
        Ok(Value::from_object(Self { receiver: receiver.clone(), name: name.to_owned(), depth }))
    }
}

impl Object for Method {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call(self: &Arc<Self>, _state: &mut State<'_, '_>, args: &[Value]) -> Result<Value, Error> {
        methods::call(&self.receiver, &self.name, args)
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = show::type_name(&self.receiver);
        write!(f, "<built-in method {} of {of} object>", self.name)
    }
}

/// `namespace()`: the one thing that changes.
#[derive(Debug, Default)]
pub(super) struct Namespace {
    fields: Mutex<Vec<(String, Value)>>,
}

thread_local! {
    /// What namespaces held that are being dropped, so that a chain of them takes no stack; `None` while nobody drops.
    static GRAVE: std::cell::RefCell<Option<Vec<Value>>> = const { std::cell::RefCell::new(None) };
}

impl Namespace {
    pub(super) fn set(&self, name: &str, value: Value) {
        let mut fields = self.fields.lock().unwrap_or_else(PoisonError::into_inner);
        let old = match fields.iter_mut().find(|(known, _)| known == name) {
            Some(field) => Some(std::mem::replace(&mut field.1, value)),
            None => {
                fields.push((name.to_owned(), value));
                None
            }
        };
        drop(fields);
        drop(old);
    }

    pub(super) fn get(&self, name: &str) -> Option<Value> {
        let fields = self.fields.lock().unwrap_or_else(PoisonError::into_inner);
        fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    }

    pub(super) fn fields(&self) -> Vec<(String, Value)> {
        self.fields.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn empty(&self) -> Vec<(String, Value)> {
        std::mem::take(&mut *self.fields.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let held: Vec<Value> = self.empty().into_iter().map(|(_, value)| value).collect();
        let first = GRAVE.with_borrow_mut(|grave| match grave {
            Some(grave) => {
                grave.extend(held);
                false
            }
            None => {
                *grave = Some(held);
                true
            }
        });
        if !first {
            return;
        }
        loop {
            match GRAVE.with_borrow_mut(|grave| grave.as_mut().and_then(Vec::pop)) {
                Some(value) => drop(value),
                None => {
                    GRAVE.with_borrow_mut(Option::take);
                    return;
                }
            }
        }
    }
}

impl Object for Namespace {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get(key.as_str()?)
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show::render(&Value::from_dyn_object(self.clone()), f)
    }
}

/// The engine's own containers (what a caller handed in) as Python's.
///
/// # Errors
/// If it is nested too deeply, or too large.
pub(in crate::text::template) fn adopt(value: &Value) -> Result<Value, Error> {
    adopt_at(value, 0)
}

fn adopt_at(value: &Value, depth: u32) -> Result<Value, Error> {
    charge(1)?;
    let container = matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable | ValueKind::Map);
    let own = value.downcast_object_ref::<Seq>().is_some() || value.downcast_object_ref::<Dict>().is_some();
    if own || !container {
        return Ok(match value.as_str() {
            Some(text) if value.is_safe() => Value::from(text),
            _ => value.clone(),
        });
    }
    if depth > MAX_DEPTH {
        return Err(error(format!("a value is nested more than {MAX_DEPTH} deep")));
    }
    if value.kind() == ValueKind::Map {
        let one = |key: Value| Ok((key.clone(), adopt_at(&value.get_item(&key)?, depth + 1)?));
        let pairs = value.try_iter()?.map(one).collect::<Result<Vec<_>, Error>>()?;
        return Dict::make(pairs);
    }
    let items =
        value.try_iter()?.map(|item| adopt_at(&item, depth + 1)).collect::<Result<Vec<_>, Error>>()?;
    if value.is_tuple() { tuple(items) } else { list(items) }
}

/// The items of whatever can be walked over.
///
/// # Errors
/// If it cannot.
pub(super) fn items_of(value: &Value) -> Result<Vec<Value>, Error> {
    if let Some(seq) = value.downcast_object_ref::<Seq>() {
        charge(seq.len() as u64 / 2)?;
        return Ok(seq.items().to_vec());
    }
    if let Some(dict) = value.downcast_object_ref::<Dict>() {
        charge(dict.entries.len() as u64)?;
        return Ok(dict.keys());
    }
    match value.kind() {
        ValueKind::Undefined => Ok(Vec::new()),
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default();
            charge(text.len() as u64)?;
            Ok(text.chars().map(Value::from).collect())
        }
        _ => Err(error(format!("'{}' object is not iterable", show::type_name(value)))),
    }
}

pub(super) fn unknown_method() -> Error {
    Error::from(ErrorKind::UnknownMethod)
}
