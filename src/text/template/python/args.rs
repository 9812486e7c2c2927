//! Arguments of calls, bound to parameters as Python does.

use minijinja::value::{Kwargs, Rest, ValueOrKwargs};
use minijinja::{Error, Value};

use super::ops::Num;
use super::show;
use super::work::error;

/// What a call was given.
#[derive(Debug, Default)]
pub(super) struct Args {
    pub(super) positional: Vec<Value>,
    pub(super) keywords: Vec<(String, Value)>,
}

impl Args {
    pub(super) fn new(values: &[Value]) -> Result<Self, Error> {
        let mut args = Self { positional: values.to_vec(), keywords: Vec::new() };
        if values.last().is_some_and(Value::is_kwargs)
            && let Some(last) = args.positional.pop()
        {
            let kwargs = Kwargs::try_from(last)?;
            for name in kwargs.args() {
                args.keywords.push((name.to_owned(), kwargs.peek(name)?));
            }
        }
        Ok(args)
    }

    pub(super) fn of(values: Rest<ValueOrKwargs>) -> Result<Self, Error> {
        Self::new(&values.into_values())
    }

    pub(super) fn named(&self, name: &str) -> Option<&Value> {
        self.keywords.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// The first argument, taken off.
    pub(super) fn take_first(&mut self) -> Result<Value, Error> {
        if self.positional.is_empty() {
            return Err(error("a value is missing"));
        }
        Ok(self.positional.remove(0))
    }

    /// As [`Self::bind`], of arguments by name alone.
    pub(super) fn bind_named<const N: usize>(&self, names: [&str; N]) -> Result<[Option<Value>; N], Error> {
        Self { positional: Vec::new(), keywords: self.keywords.clone() }.bind(names, 0)
    }

    /// One slot for each parameter; the first `required` must be filled.
    ///
    /// # Errors
    /// For missing, unknown, double and surplus arguments.
    pub(super) fn bind<const N: usize>(
        &self,
        names: [&str; N],
        required: usize,
    ) -> Result<[Option<Value>; N], Error> {
        let mut slots: [Option<Value>; N] = std::array::from_fn(|i| self.positional.get(i).cloned());
        if self.positional.len() > N {
            return Err(error(format!("{} arguments given where {N} are allowed", self.positional.len())));
        }
        for (name, value) in &self.keywords {
            let at = names.iter().position(|known| known == name);
            let slot = at.and_then(|at| slots.get_mut(at));
            match slot {
                Some(slot @ None) => *slot = Some(value.clone()),
                Some(Some(_)) => return Err(error(format!("double argument '{name}'"))),
                None => return Err(error(format!("unexpected keyword argument '{name}'"))),
            }
        }
        match slots.iter().take(required).position(Option::is_none).and_then(|at| names.get(at)) {
            Some(name) => Err(error(format!("missing argument '{name}'"))),
            None => Ok(slots),
        }
    }
}

/// A text argument.
pub(super) fn text_of(value: &Value) -> Result<&str, Error> {
    value.as_str().ok_or_else(|| error(format!("a string is needed, not {}", show::type_name(value))))
}

/// An optional text; none counts as not given.
pub(super) fn text_or_none(value: Option<&Value>) -> Result<Option<&str>, Error> {
    value.filter(|v| !v.is_none()).map(text_of).transpose()
}

/// An integer argument.
pub(super) fn int_of(value: &Value) -> Result<i128, Error> {
    match Num::of(value) {
        Some(Num::Int(int)) => Ok(int),
        _ => Err(error(format!("an integer is needed, not {}", show::type_name(value)))),
    }
}

/// An optional integer; none counts as not given.
pub(super) fn int_or_none(value: Option<&Value>) -> Result<Option<i128>, Error> {
    value.filter(|v| !v.is_none()).map(int_of).transpose()
}

/// A size: negative ones count as 0.
pub(super) fn size_of(value: &Value) -> Result<usize, Error> {
    Ok(usize::try_from(int_of(value)?.max(0)).unwrap_or(usize::MAX))
}

pub(super) fn flag(value: Option<&Value>) -> bool {
    value.is_some_and(Value::is_true)
}
