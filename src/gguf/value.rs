//! Metadata values: scalars, strings, and arrays kept as tightly as the file keeps them.

use std::fmt;

use super::quoted::Quoted;

/// The types of metadata values, with GGUF's numbers for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
#[allow(missing_docs)]
pub enum ValueKind {
    U8 = 0,
    I8 = 1,
    U16 = 2,
    I16 = 3,
    U32 = 4,
    I32 = 5,
    F32 = 6,
    Bool = 7,
    Str = 8,
    Array = 9,
    U64 = 10,
    I64 = 11,
    F64 = 12,
}

impl ValueKind {
    const ALL: [ValueKind; 13] = [
        ValueKind::U8,
        ValueKind::I8,
        ValueKind::U16,
        ValueKind::I16,
        ValueKind::U32,
        ValueKind::I32,
        ValueKind::F32,
        ValueKind::Bool,
        ValueKind::Str,
        ValueKind::Array,
        ValueKind::U64,
        ValueKind::I64,
        ValueKind::F64,
    ];

    /// The kind with GGUF's number `id`.
    pub fn by_id(id: u32) -> Option<ValueKind> {
        ValueKind::ALL.get(id as usize).copied()
    }

    /// GGUF's number for this kind.
    pub fn id(self) -> u32 {
        self as u32
    }

    /// The kind as Rust programmers say it: `u32`, `string`.
    pub fn name(self) -> &'static str {
        match self {
            ValueKind::U8 => "u8",
            ValueKind::I8 => "i8",
            ValueKind::U16 => "u16",
            ValueKind::I16 => "i16",
            ValueKind::U32 => "u32",
            ValueKind::I32 => "i32",
            ValueKind::F32 => "f32",
            ValueKind::Bool => "bool",
            ValueKind::Str => "string",
            ValueKind::Array => "array",
            ValueKind::U64 => "u64",
            ValueKind::I64 => "i64",
            ValueKind::F64 => "f64",
        }
    }
}

/// A metadata value.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    Str(Box<str>),
    Array(Box<Array>),
    U64(u64),
    I64(i64),
    F64(f64),
}

/// An array of metadata values of one type.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Array {
    U8(Box<[u8]>),
    I8(Box<[i8]>),
    U16(Box<[u16]>),
    I16(Box<[i16]>),
    U32(Box<[u32]>),
    I32(Box<[i32]>),
    F32(Box<[f32]>),
    Bool(Box<[bool]>),
    Str(StringArray),
    Array(Box<[Array]>),
    U64(Box<[u64]>),
    I64(Box<[i64]>),
    F64(Box<[f64]>),
}

// The reader's promise (at most four times the file in memory) counts on these sizes.
const _: () = assert!(size_of::<Value>() <= 24 && size_of::<Array>() <= 40);

/// Many strings in one piece of memory: their text end to end, and where each one ends. A vocabulary of a
/// hundred thousand tokens takes two allocations.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct StringArray {
    text: Box<str>,
    ends: Box<[u64]>,
}

impl StringArray {
    /// From the joined text and the end of each string in it; `None` unless the ends ascend to the text's
    /// length and each is a character boundary.
    pub(super) fn from_parts(text: Box<str>, ends: Box<[u64]>) -> Option<StringArray> {
        let fits = |&end: &u64| usize::try_from(end).is_ok_and(|end| text.is_char_boundary(end));
        let whole = ends.last().copied().unwrap_or(0) == text.len() as u64;
        (whole && ends.is_sorted() && ends.iter().all(fits)).then_some(StringArray { text, ends })
    }

    /// How many strings there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The string at `index`.
    pub fn get(&self, index: usize) -> Option<&str> {
        let end = *self.ends.get(index)? as usize;
        let start = if index == 0 { 0 } else { *self.ends.get(index - 1)? as usize };
        self.text.get(start..end)
    }

    /// The strings in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> + '_ {
        (0..self.len()).map(|index| self.get(index).unwrap_or_default())
    }
}

impl fmt::Debug for StringArray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<S: AsRef<str>> FromIterator<S> for StringArray {
    fn from_iter<I: IntoIterator<Item = S>>(strings: I) -> Self {
        let mut text = String::new();
        let mut ends = Vec::new();
        for string in strings {
            text.push_str(string.as_ref());
            ends.push(text.len() as u64);
        }
        StringArray { text: text.into(), ends: ends.into() }
    }
}

/// The same expression for whichever kind of array it is, with `$items` bound to its contents.
macro_rules! each_array {
    ($array:expr, $items:ident => $body:expr) => {
        match $array {
            Array::U8($items) => $body,
            Array::I8($items) => $body,
            Array::U16($items) => $body,
            Array::I16($items) => $body,
            Array::U32($items) => $body,
            Array::I32($items) => $body,
            Array::F32($items) => $body,
            Array::Bool($items) => $body,
            Array::Str($items) => $body,
            Array::Array($items) => $body,
            Array::U64($items) => $body,
            Array::I64($items) => $body,
            Array::F64($items) => $body,
        }
    };
}

impl Array {
    /// The type of the elements.
    pub fn kind(&self) -> ValueKind {
        match self {
            Array::U8(_) => ValueKind::U8,
            Array::I8(_) => ValueKind::I8,
            Array::U16(_) => ValueKind::U16,
            Array::I16(_) => ValueKind::I16,
            Array::U32(_) => ValueKind::U32,
            Array::I32(_) => ValueKind::I32,
            Array::F32(_) => ValueKind::F32,
            Array::Bool(_) => ValueKind::Bool,
            Array::Str(_) => ValueKind::Str,
            Array::Array(_) => ValueKind::Array,
            Array::U64(_) => ValueKind::U64,
            Array::I64(_) => ValueKind::I64,
            Array::F64(_) => ValueKind::F64,
        }
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        each_array!(self, items => items.len())
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements as integers of type `T`, whatever integer type they have in the file; `None` if they are not
    /// integers or one does not fit.
    pub fn to_ints<T: TryFrom<i128>>(&self) -> Option<Vec<T>> {
        fn all<T: TryFrom<i128>, N: Copy + Into<i128>>(items: &[N]) -> Option<Vec<T>> {
            items.iter().map(|&n| T::try_from(n.into()).ok()).collect()
        }
        match self {
            Array::U8(items) => all(items),
            Array::I8(items) => all(items),
            Array::U16(items) => all(items),
            Array::I16(items) => all(items),
            Array::U32(items) => all(items),
            Array::I32(items) => all(items),
            Array::U64(items) => all(items),
            Array::I64(items) => all(items),
            _ => None,
        }
    }

    /// The elements as `f32`, if they are floats of either width.
    pub fn to_f32s(&self) -> Option<Vec<f32>> {
        match self {
            Array::F32(items) => Some(items.to_vec()),
            Array::F64(items) => Some(items.iter().map(|&n| n as f32).collect()),
            _ => None,
        }
    }
}

impl Value {
    /// The type of the value.
    pub fn kind(&self) -> ValueKind {
        match self {
            Value::U8(_) => ValueKind::U8,
            Value::I8(_) => ValueKind::I8,
            Value::U16(_) => ValueKind::U16,
            Value::I16(_) => ValueKind::I16,
            Value::U32(_) => ValueKind::U32,
            Value::I32(_) => ValueKind::I32,
            Value::F32(_) => ValueKind::F32,
            Value::Bool(_) => ValueKind::Bool,
            Value::Str(_) => ValueKind::Str,
            Value::Array(_) => ValueKind::Array,
            Value::U64(_) => ValueKind::U64,
            Value::I64(_) => ValueKind::I64,
            Value::F64(_) => ValueKind::F64,
        }
    }

    /// The value, if it is an integer of any width.
    pub fn as_int(&self) -> Option<i128> {
        Some(match self {
            Value::U8(n) => (*n).into(),
            Value::I8(n) => (*n).into(),
            Value::U16(n) => (*n).into(),
            Value::I16(n) => (*n).into(),
            Value::U32(n) => (*n).into(),
            Value::I32(n) => (*n).into(),
            Value::U64(n) => (*n).into(),
            Value::I64(n) => (*n).into(),
            _ => return None,
        })
    }

    /// The value, if it is a float of either width.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Value::F32(n) => Some((*n).into()),
            Value::F64(n) => Some(*n),
            _ => None,
        }
    }
}

/// One line for people: strings quoted and cut short, arrays with their type, length and first elements.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Bool(b) => write!(f, "{b}"),
            Value::Str(s) => write!(f, "{}", Quoted(s)),
            Value::Array(array) => write!(f, "{array}"),
            Value::F32(n) => write!(f, "{n}"),
            Value::F64(n) => write!(f, "{n}"),
            int => write!(f, "{}", int.as_int().unwrap_or_default()),
        }
    }
}

impl fmt::Display for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 4;
        write!(f, "[{}; {}]", self.kind().name(), self.len())?;
        match self {
            Array::Str(items) => items.iter().take(SHOWN).try_for_each(|s| write!(f, " {}", Quoted(s)))?,
            Array::Array(items) => {
                items.iter().take(SHOWN).try_for_each(|a| write!(f, " {}", a.kind().name()))?
            }
            numbers => show_numbers(numbers, SHOWN, f)?,
        }
        if self.len() > SHOWN { write!(f, " …") } else { Ok(()) }
    }
}

fn show_numbers(array: &Array, shown: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    fn show<T: fmt::Display>(items: &[T], shown: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        items.iter().take(shown).try_for_each(|n| write!(f, " {n}"))
    }
    match array {
        Array::U8(n) => show(n, shown, f),
        Array::I8(n) => show(n, shown, f),
        Array::U16(n) => show(n, shown, f),
        Array::I16(n) => show(n, shown, f),
        Array::U32(n) => show(n, shown, f),
        Array::I32(n) => show(n, shown, f),
        Array::F32(n) => show(n, shown, f),
        Array::Bool(n) => show(n, shown, f),
        Array::U64(n) => show(n, shown, f),
        Array::I64(n) => show(n, shown, f),
        Array::F64(n) => show(n, shown, f),
        Array::Str(_) | Array::Array(_) => Ok(()),
    }
}

macro_rules! from_scalar {
    ($($rust:ty => $variant:ident),* $(,)?) => {$(
        impl From<$rust> for Value {
            fn from(value: $rust) -> Value {
                Value::$variant(value)
            }
        }
        impl From<Vec<$rust>> for Array {
            fn from(items: Vec<$rust>) -> Array {
                Array::$variant(items.into())
            }
        }
        impl From<Vec<$rust>> for Value {
            fn from(items: Vec<$rust>) -> Value {
                Array::from(items).into()
            }
        }
    )*};
}

from_scalar!(u8 => U8, i8 => I8, u16 => U16, i16 => I16, u32 => U32, i32 => I32, f32 => F32, bool => Bool,
    u64 => U64, i64 => I64, f64 => F64);

impl From<&str> for Value {
    fn from(value: &str) -> Value {
        Value::Str(value.into())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Value {
        Value::Str(value.into())
    }
}

impl From<StringArray> for Value {
    fn from(items: StringArray) -> Value {
        Array::Str(items).into()
    }
}

impl From<Array> for Value {
    fn from(array: Array) -> Value {
        Value::Array(Box::new(array))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_gguf_s_numbers() {
        for id in 0..13 {
            assert_eq!(ValueKind::by_id(id).unwrap().id(), id);
        }
        assert_eq!(ValueKind::by_id(13), None);
        assert_eq!((ValueKind::Array.id(), ValueKind::F64.id()), (9, 12));
    }

    #[test]
    fn string_arrays_give_back_their_strings() {
        let strings = ["", "né", "", "b"];
        let array: StringArray = strings.iter().collect();
        assert_eq!(array.iter().collect::<Vec<_>>(), strings);
        assert_eq!((array.len(), array.get(1), array.get(4)), (4, Some("né"), None));
        let parts = |text: &str, ends: &[u64]| StringArray::from_parts(text.into(), ends.into());
        assert_eq!(parts("néb", &[0, 3, 3, 4]), Some(array));
        assert_eq!(parts("né", &[2, 3]), None, "an end inside a character");
        assert_eq!(parts("ab", &[2, 1]), None, "descending ends");
        assert_eq!(parts("ab", &[1]), None, "text beyond the last end");
        assert_eq!(parts("ab", &[1, u64::MAX]), None);
    }

    #[test]
    fn values_print_on_one_short_line() {
        assert_eq!(Value::from(-3i8).to_string(), "-3");
        assert_eq!(Value::from("a\nb").to_string(), "\"a\\nb\"");
        assert_eq!(Value::from(vec![1u32, 2, 3, 4, 5]).to_string(), "[u32; 5] 1 2 3 4 …");
        let strings: StringArray = ["x", "y"].into_iter().collect();
        assert_eq!(Value::from(strings).to_string(), "[string; 2] \"x\" \"y\"");
    }

    #[test]
    fn integers_convert_where_they_fit() {
        assert_eq!(Array::from(vec![1u8, 255]).to_ints::<i32>(), Some(vec![1, 255]));
        assert_eq!(Array::from(vec![-1i64]).to_ints::<u32>(), None);
        assert_eq!(Array::from(vec![1.0f32]).to_ints::<u32>(), None);
        assert_eq!(Array::from(vec![0.5f64]).to_f32s(), Some(vec![0.5]));
    }
}
