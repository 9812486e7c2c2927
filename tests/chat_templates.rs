//! Chat templates against transformers: llama.cpp's templates, and a battery of expressions (`tests/golden/gen_templates.py`).
//! `scripts/fetch-vocabs` gets the templates; without them their test fails.
#![cfg(feature = "train")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "common/templates.rs"]
mod templates;

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use emberlm::text::{ChatTemplate, Message, TemplateError, TemplateVars};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};
use templates::{message, value, variables};

fn golden() -> Json {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/templates.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn clock(golden: &Json) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(golden["now"].as_u64().unwrap())
}

fn render(
    source: &str,
    golden: &Json,
    messages: &[Message],
    prompt: bool,
    variables: &TemplateVars,
) -> Result<String, TemplateError> {
    let template = ChatTemplate::new(source)?.with_tokens("<s>", "</s>").with_clock(clock(golden));
    template.render(messages, prompt, variables)
}

fn folder() -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let cache =
        std::env::var_os("EMBER_TEST_CACHE").map_or_else(|| root.join(".cache"), |dir| root.join(dir));
    cache.join("templates")
}

#[test]
fn published_templates_render_as_in_transformers() {
    let golden = golden();
    let templates = golden["templates"].as_object().unwrap();
    let mut wrong = Vec::new();
    let mut rendered = 0;
    for (file, expected) in templates {
        let path = folder().join(file);
        let source = std::fs::read_to_string(&path)
            .unwrap_or_else(|e| panic!("{}: {e}; scripts/fetch-vocabs gets it", path.display()));
        for (name, chat) in golden["chats"].as_object().unwrap() {
            let messages: Vec<Message> = chat["messages"].as_array().unwrap().iter().map(message).collect();
            let mut vars = variables(chat.get("variables"));
            for name in ["tools", "documents"] {
                vars.extend(chat.get(name).map(|json| (name.to_owned(), value(json))));
            }
            let prompt = chat["add_generation_prompt"].as_bool().unwrap();
            let text = render(&source, &golden, &messages, prompt, &vars);
            let digest = text.as_ref().ok().map(|text| {
                let sum: String =
                    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
                format!("{sum} {}", text.len())
            });
            rendered += usize::from(digest.is_some());
            if digest.as_deref() != expected[name].as_str() {
                keep(file, name, text.as_deref().unwrap_or_default());
                wrong.push(format!("{file}, {name}: {:?}", text.map(|text| text.len())));
            }
        }
    }
    assert!(templates.len() >= 66 && rendered >= 330, "{} templates, {rendered} rendered", templates.len());
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// Writes a wrong rendering where `EMBER_TEMPLATE_TEXTS` says, to compare with what `gen_templates.py --texts` wrote.
fn keep(file: &str, chat: &str, text: &str) {
    if let Some(folder) = std::env::var_os("EMBER_TEMPLATE_TEXTS") {
        let name = format!("{}.{chat}.txt", file.trim_end_matches(".jinja"));
        std::fs::write(PathBuf::from(folder).join(name), text).unwrap();
    }
}

/// What is known to differ, and why; a line that no longer does belongs out of here.
const GAPS: &[(&str, &str)] = &[
    ("{{ s.encode('utf-8') is defined }}", "there are no bytes"),
    ("{{ 2 ** 200 }}", "integers end at 128 bits"),
    ("{% macro m(a, b=1) %}{% endmacro %}{{ m.arguments }}", "the engine shows its own list"),
    (
        "{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, a=3) }}",
        "macros take what they name",
    ),
    (
        "{% macro m(a) %}{{ a }}{{ varargs | join('-') }}{% endmacro %}{{ m(1, 2, 3) }}",
        "macros take what they name",
    ),
];

#[test]
fn expressions_render_as_in_transformers() {
    let golden = golden();
    let vars = variables(Some(&golden["variables"]));
    let messages = [Message::new("user", "Hi")];
    let cases = golden["expressions"].as_array().unwrap();
    assert!(cases.len() >= 235, "{} expressions", cases.len());
    let mut wrong = Vec::new();
    for case in cases {
        let source = case[0].as_str().unwrap();
        let found = render(source, &golden, &messages, true, &vars);
        if found.as_deref().ok() != case[1].as_str() {
            wrong.push((source, format!("\n {source}\n expected {}\n found    {found:?}", case[1])));
        }
    }
    let unknown: Vec<&str> = wrong
        .iter()
        .filter(|(source, _)| GAPS.iter().all(|(gap, _)| gap != source))
        .map(|(_, what)| what.as_str())
        .collect();
    assert!(unknown.is_empty(), "{} differ:\n{}", unknown.len(), unknown.join("\n"));
    for (gap, _) in GAPS {
        assert!(wrong.iter().any(|(source, _)| source == gap), "no gap any more: {gap}");
    }
}
