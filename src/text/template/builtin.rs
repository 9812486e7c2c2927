//! Templates for models whose file has none, or a broken one.

/// The well-known formats, in Jinja texts of our own.
const BUILTIN: &[(&str, &str)] = &[
    ("chatml", include_str!("builtin/chatml.jinja")),
    ("gemma", include_str!("builtin/gemma.jinja")),
    ("llama2", include_str!("builtin/llama2.jinja")),
    ("llama3", include_str!("builtin/llama3.jinja")),
    ("mistral", include_str!("builtin/mistral.jinja")),
    ("phi3", include_str!("builtin/phi3.jinja")),
    ("zephyr", include_str!("builtin/zephyr.jinja")),
];

/// The names of the built-in templates.
pub fn builtin_names() -> impl Iterator<Item = &'static str> {
    BUILTIN.iter().map(|&(name, _)| name)
}

pub(super) fn source(name: &str) -> Option<&'static str> {
    BUILTIN.iter().find(|(known, _)| *known == name).map(|&(_, source)| source)
}

/// The names, for messages.
pub(super) fn names_in_line() -> String {
    builtin_names().collect::<Vec<_>>().join(", ")
}
