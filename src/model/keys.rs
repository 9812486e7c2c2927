//! Typed reading of an architecture's own metadata keys.

use crate::gguf::{Array, Gguf, Value};
use crate::model::ModelError;

/// Largest count believed of layers, heads and the like; real models stay far below.
const MAX_COUNT: u32 = 1 << 20;
/// Entries of an array that a message shows.
const SHOWN: usize = 8;

/// The keys that begin with an architecture's name.
pub(super) struct Keys<'a> {
    pub gguf: &'a Gguf,
    pub prefix: &'static str,
}

impl<'a> Keys<'a> {
    /// The whole key.
    pub fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.prefix)
    }

    /// A refusal that names the whole key.
    pub fn refuse(&self, key: &str, why: impl Into<String>) -> ModelError {
        ModelError::Setting { key: self.key(key), why: why.into() }
    }

    /// The value, whatever its type.
    pub fn value(&self, key: &str) -> Option<&'a Value> {
        self.gguf.metadata.value(&self.key(key))
    }

    /// A count that must be there.
    pub fn count(&self, key: &str) -> Result<usize, ModelError> {
        self.checked(key, self.gguf.metadata.get::<u32>(&self.key(key))?)
    }

    /// A count, or what stands in for it.
    pub fn count_or(&self, key: &str, default: usize) -> Result<usize, ModelError> {
        match self.gguf.metadata.find::<u32>(&self.key(key))? {
            Some(value) => self.checked(key, value),
            None => Ok(default),
        }
    }

    /// A count that files may give for each layer: a number, or an array of as many equal ones as there are layers.
    pub fn per_layer(&self, key: &str, layers: usize) -> Result<Option<usize>, ModelError> {
        let Some(Value::Array(array)) = self.value(key) else {
            return self.value(key).map(|_| self.count(key)).transpose();
        };
        let Some(values) = array.to_ints::<u32>().filter(|values| !values.is_empty()) else {
            return Err(self.refuse(key, "should be a count, or an array of counts, one for each layer"));
        };
        if values.len() != layers {
            let why = format!("has {} entries for {layers} layers; convert the model again", values.len());
            return Err(self.refuse(key, why));
        }
        if values.iter().any(|value| *value != values[0]) {
            let why =
                format!("differs from layer to layer ({}), which is not supported", listed(array, &values));
            return Err(self.refuse(key, why));
        }
        self.checked(key, values[0]).map(Some)
    }

    /// A number, or what stands in for it; one that is not finite is refused.
    pub fn float_or(&self, key: &str, default: f32) -> Result<f32, ModelError> {
        let value = self.gguf.metadata.find::<f32>(&self.key(key))?.unwrap_or(default);
        if value.is_finite() {
            Ok(value)
        } else {
            Err(self.refuse(key, format!("{value} is no number to use")))
        }
    }

    fn checked(&self, key: &str, value: u32) -> Result<usize, ModelError> {
        let limit = if key == "context_length" { u32::MAX } else { MAX_COUNT };
        if value == 0 || value > limit {
            return Err(self.refuse(key, format!("{value} is out of range")));
        }
        Ok(value as usize)
    }
}

fn listed(array: &Array, values: &[u32]) -> String {
    let first: Vec<String> = values.iter().take(SHOWN).map(u32::to_string).collect();
    let rest = if array.len() > SHOWN { ", …" } else { "" };
    format!("{}{rest}", first.join(", "))
}
