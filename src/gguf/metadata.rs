//! The key-value metadata of a file: ordered, found by key in constant time, read through typed getters.

use super::error::GgufError;
use super::index::NameIndex;
use super::quoted::quoted;
use super::value::{Array, StringArray, Value};

/// Metadata in the order of the file. Keys are unique.
#[derive(Debug, Clone, Default)]
pub struct Metadata {
    entries: Vec<(Box<str>, Value)>,
    index: NameIndex,
}

impl Metadata {
    /// No metadata.
    pub fn new() -> Self {
        Metadata::default()
    }

    /// No metadata yet, in memory reserved before for `entries.capacity()` of it.
    pub(super) fn with_storage(entries: Vec<(Box<str>, Value)>) -> Self {
        Metadata { index: NameIndex::with_room(entries.capacity()), entries }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Keys and values in the order of the file.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> + '_ {
        self.entries.iter().map(|(key, value)| (&**key, value))
    }

    /// The value of `key`, whatever its type.
    pub fn value(&self, key: &str) -> Option<&Value> {
        let position = self.index.find(key, |i| &self.entries[i].0)?;
        self.entries.get(position).map(|(_, value)| value)
    }

    /// Sets `key`: in its place if it is there, at the end if not.
    pub fn set(&mut self, key: impl Into<Box<str>>, value: impl Into<Value>) {
        let key = key.into();
        match self.index.find(&key, |i| &self.entries[i].0) {
            Some(position) => self.entries[position].1 = value.into(),
            None => {
                self.append(key, value.into());
            }
        }
    }

    /// Adds an entry at the end; gives back `false`, and adds nothing, if the key is there already.
    pub(super) fn append(&mut self, key: Box<str>, value: Value) -> bool {
        let Ok(position) = u32::try_from(self.entries.len()) else { return false };
        let is_new = self.index.insert(&key, position, |i| &self.entries[i].0);
        if is_new {
            self.entries.push((key, value));
        }
        is_new
    }

    /// Takes out `key` and gives back its value. The order of the rest stays.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        let position = self.index.find(key, |i| &self.entries[i].0)?;
        let (_, value) = self.entries.remove(position);
        let rest = std::mem::take(self);
        *self = rest.entries.into_iter().collect();
        Some(value)
    }

    /// The value of `key` as a `T`, `None` if there is no such key.
    ///
    /// # Errors
    /// [`GgufError::WrongType`] if the value is there but is no `T`, or does not fit in one.
    pub fn find<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<Option<T>, GgufError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        match T::from_value(value) {
            Some(wanted) => Ok(Some(wanted)),
            None => Err(GgufError::wrong_type(key, T::EXPECTED, value.kind(), &value.to_string())),
        }
    }

    /// The value of `key` as a `T`.
    ///
    /// # Errors
    /// [`GgufError::MissingKey`] if there is no such key, and as [`Metadata::find`].
    pub fn get<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<T, GgufError> {
        self.find(key)?.ok_or_else(|| GgufError::MissingKey { key: quoted(key) })
    }
}

impl PartialEq for Metadata {
    /// The same entries in the same order.
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
    }
}

impl<K: Into<Box<str>>, V: Into<Value>> FromIterator<(K, V)> for Metadata {
    /// A key that comes again replaces the value it had.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut metadata = Metadata::new();
        for (key, value) in entries {
            metadata.set(key, value);
        }
        metadata
    }
}

/// What a metadata value can be read as. Integers are read from any integer type they fit in from, floats from
/// either width; arrays lent as slices (`&[i32]`) must have that very type, those copied (`Vec<i32>`) convert.
pub trait FromValue<'a>: Sized {
    /// How an error message names the type.
    const EXPECTED: &'static str;
    /// The value as this type, if it is one.
    fn from_value(value: &'a Value) -> Option<Self>;
}

macro_rules! read_ints {
    ($($rust:ty),*) => {$(
        impl FromValue<'_> for $rust {
            const EXPECTED: &'static str = stringify!($rust);
            fn from_value(value: &Value) -> Option<Self> {
                value.as_int()?.try_into().ok()
            }
        }
        impl FromValue<'_> for Vec<$rust> {
            const EXPECTED: &'static str = concat!("an array of ", stringify!($rust));
            fn from_value(value: &Value) -> Option<Self> {
                array_of(value)?.to_ints()
            }
        }
    )*};
}

read_ints!(u8, i8, u16, i16, u32, i32, u64, i64, usize);

macro_rules! lend_arrays {
    ($($rust:ty => $variant:ident),* $(,)?) => {$(
        impl<'a> FromValue<'a> for &'a [$rust] {
            const EXPECTED: &'static str = concat!("an array of exactly ", stringify!($rust));
            fn from_value(value: &'a Value) -> Option<Self> {
                match array_of(value)? {
                    Array::$variant(items) => Some(items),
                    _ => None,
                }
            }
        }
    )*};
}

lend_arrays!(u8 => U8, i8 => I8, u16 => U16, i16 => I16, u32 => U32, i32 => I32, f32 => F32, bool => Bool,
    u64 => U64, i64 => I64, f64 => F64);

fn array_of(value: &Value) -> Option<&Array> {
    match value {
        Value::Array(array) => Some(array),
        _ => None,
    }
}

impl FromValue<'_> for f32 {
    const EXPECTED: &'static str = "f32";
    fn from_value(value: &Value) -> Option<Self> {
        value.as_f64().map(|n| n as f32)
    }
}

impl FromValue<'_> for f64 {
    const EXPECTED: &'static str = "f64";
    fn from_value(value: &Value) -> Option<Self> {
        value.as_f64()
    }
}

impl FromValue<'_> for Vec<f32> {
    const EXPECTED: &'static str = "an array of f32";
    fn from_value(value: &Value) -> Option<Self> {
        array_of(value)?.to_f32s()
    }
}

impl FromValue<'_> for bool {
    const EXPECTED: &'static str = "bool";
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(b) => Some(*b),
            _ => None,
        }
    }
}

impl<'a> FromValue<'a> for &'a str {
    const EXPECTED: &'static str = "a string";
    fn from_value(value: &'a Value) -> Option<Self> {
        match value {
            Value::Str(s) => Some(s),
            _ => None,
        }
    }
}

impl<'a> FromValue<'a> for &'a Array {
    const EXPECTED: &'static str = "an array";
    fn from_value(value: &'a Value) -> Option<Self> {
        array_of(value)
    }
}

impl<'a> FromValue<'a> for &'a StringArray {
    const EXPECTED: &'static str = "an array of strings";
    fn from_value(value: &'a Value) -> Option<Self> {
        match array_of(value)? {
            Array::Str(items) => Some(items),
            _ => None,
        }
    }
}

/// Getters with the type in their name, for [`Metadata`] and for [`Gguf`](super::Gguf), which has one.
macro_rules! named_getters {
    ($($name:ident -> $rust:ty),* $(,)?) => {
        impl Metadata {$(
            #[doc = concat!("The value of `key` as `", stringify!($rust), "`.")]
            ///
            /// # Errors
            /// [`GgufError`] naming the key if it is missing, of another type, or does not fit.
            pub fn $name(&self, key: &str) -> Result<$rust, GgufError> {
                self.get(key)
            }
        )*}
        impl super::Gguf {$(
            #[doc = concat!("The metadata value of `key` as `", stringify!($rust), "`.")]
            ///
            /// # Errors
            /// [`GgufError`] naming the key if it is missing, of another type, or does not fit.
            pub fn $name(&self, key: &str) -> Result<$rust, GgufError> {
                self.metadata.get(key)
            }
        )*}
    };
}

named_getters!(
    get_u32 -> u32,
    get_u64 -> u64,
    get_i32 -> i32,
    get_usize -> usize,
    get_f32 -> f32,
    get_bool -> bool,
    get_str -> &str,
    get_array -> &Array,
    get_strings -> &StringArray,
    get_i32s -> Vec<i32>,
    get_u32s -> Vec<u32>,
    get_f32s -> Vec<f32>,
);

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Metadata {
        let mut metadata = Metadata::new();
        metadata.set("n", 7u64);
        metadata.set("minus", -1i8);
        metadata.set("eps", 0.5f64);
        metadata.set("name", "x");
        metadata.set("on", true);
        metadata.set("types", vec![1u8, 2]);
        metadata.set("tokens", ["a", "b"].into_iter().collect::<StringArray>());
        metadata
    }

    #[test]
    fn getters_convert_what_fits() {
        let m = sample();
        assert_eq!(
            (m.get_u32("n").unwrap(), m.get_i32("minus").unwrap(), m.get_usize("n").unwrap()),
            (7, -1, 7)
        );
        assert_eq!((m.get_f32("eps").unwrap(), m.get_str("name").unwrap()), (0.5, "x"));
        assert!(m.get_bool("on").unwrap());
        assert_eq!(m.get_i32s("types").unwrap(), [1, 2]);
        assert_eq!(m.get::<&[u8]>("types").unwrap(), [1, 2]);
        assert_eq!(m.get_strings("tokens").unwrap().get(1), Some("b"));
        assert_eq!(m.get_array("tokens").unwrap().len(), 2);
        assert_eq!(m.find::<u32>("absent").unwrap(), None);
    }

    #[test]
    fn errors_name_the_key_and_both_types() {
        let m = sample();
        let said = |error: GgufError| error.to_string();
        let wrong = said(m.get_u32("minus").unwrap_err());
        assert!(wrong.contains("\"minus\" should be u32 but is i8 -1"), "{wrong}");
        assert!(said(m.get_u32("name").unwrap_err()).contains("string \"x\""));
        assert!(said(m.get_bool("n").unwrap_err()).contains("\"n\" should be bool"));
        assert!(said(m.get_strings("types").unwrap_err()).contains("array of strings"));
        assert!(said(m.get::<&[i32]>("types").unwrap_err()).contains("exactly i32"));
        assert!(said(m.find::<f32>("n").unwrap_err()).contains("f32"));
        assert!(matches!(m.get_str("absent"), Err(GgufError::MissingKey { .. })));
    }

    #[test]
    fn set_and_remove_keep_the_order() {
        let mut m = sample();
        m.set("n", 8u32);
        assert_eq!(m.remove("minus"), Some(Value::I8(-1)));
        assert_eq!(m.remove("minus"), None);
        m.set("last", 1u32);
        let keys: Vec<_> = m.iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["n", "eps", "name", "on", "types", "tokens", "last"]);
        assert_eq!((m.get_u32("n").unwrap(), m.get_u32("last").unwrap(), m.len()), (8, 1, 7));
    }
}
