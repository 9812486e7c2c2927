//! Actions, and the one way in which they are written.

/// The value of a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Text(String),
    Number(u32),
}

/// What the assistant is to do: a name and slots in a fixed order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    pub name: &'static str,
    pub slots: Vec<(&'static str, Value)>,
}

impl Action {
    pub fn new(name: &'static str) -> Self {
        Self { name, slots: Vec::new() }
    }

    #[must_use]
    pub fn text(mut self, slot: &'static str, value: impl Into<String>) -> Self {
        self.slots.push((slot, Value::Text(value.into())));
        self
    }

    #[must_use]
    pub fn number(mut self, slot: &'static str, value: u32) -> Self {
        self.slots.push((slot, Value::Number(value)));
        self
    }

    /// An answer in words.
    pub fn answer(text: impl Into<String>) -> Self {
        Self::new("answer").text("text", text)
    }

    /// JSON without spaces. Texts are ASCII without quotes or backslashes.
    pub fn json(&self) -> String {
        let slot = |(name, value): &(&str, Value)| match value {
            Value::Text(text) => format!(r#","{name}":"{text}""#),
            Value::Number(number) => format!(r#","{name}":{number}"#),
        };
        let slots: String = self.slots.iter().map(slot).collect();
        format!(r#"{{"action":"{}"{slots}}}"#, self.name)
    }
}
