//! Chats and variables of the golden file, as the library takes them.

use emberlm::text::{Message, TemplateValue, TemplateVars, from_json};
use serde_json::Value as Json;

/// A value of a JSON file for a template.
pub fn value(json: &Json) -> TemplateValue {
    from_json(json)
}

/// A message: every field reaches the template as it is.
pub fn message(json: &Json) -> Message {
    let fields = json.as_object().expect("a message is an object");
    let mut message = Message::new(fields["role"].as_str().expect("a role"), "");
    for (name, field) in fields {
        match (name.as_str(), field.as_str()) {
            ("role", _) => {}
            ("content", Some(text)) => text.clone_into(&mut message.content),
            _ => message = message.with(name, value(field)),
        }
    }
    message
}

/// All fields of an object, as variables.
pub fn variables(json: Option<&Json>) -> TemplateVars {
    let fields = json.and_then(Json::as_object).into_iter().flatten();
    fields.map(|(name, field)| (name.clone(), value(field))).collect()
}
