//! The rule `schema`: JSON that a JSON schema accepts.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

use super::RewardError;
use crate::io::text::decode;

/// The largest schema file.
const MAX_BYTES: u64 = 1 << 20;

/// Reads a schema: its `$schema` says which draft it follows (2020-12 where it says none). Patterns are matched in linear
/// time; references to other files or addresses are refused.
///
/// # Errors
/// A file that cannot be read, is too large, or is no schema.
pub(super) fn read(path: &Path) -> Result<Validator, RewardError> {
    let wrong = |why: String| RewardError::Schema { path: path.to_owned(), why };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|e| wrong(format!("cannot read the JSON schema: {e}")))?;
    let read = file.take(MAX_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|e| wrong(format!("cannot read the JSON schema: {e}")))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(wrong(format!("the JSON schema is larger than {} MiB", MAX_BYTES >> 20)));
    }
    let text = decode(bytes).map_err(|e| wrong(format!("cannot read the JSON schema: {e}")))?;
    let schema: Value =
        serde_json::from_str(&text).map_err(|e| wrong(format!("the JSON schema is not JSON: {e}")))?;
    jsonschema::options()
        .with_pattern_options(PatternOptions::regex())
        .build(&schema)
        .map_err(|e| wrong(format!("this is no JSON schema: {e}; at {}", e.instance_path())))
}

/// Whether it is JSON that the schema accepts.
pub(super) fn accepts(schema: &Validator, text: &str) -> bool {
    serde_json::from_str::<Value>(text).is_ok_and(|value| schema.is_valid(&value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(text: &str) -> Result<Validator, RewardError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        read(file.path())
    }

    #[test]
    fn answers_are_checked_by_the_schema() {
        let person = schema(
            r#"{"type": "object", "required": ["name", "age"], "additionalProperties": false,
                "properties": {"name": {"type": "string", "pattern": "^[A-Z]"}, "age": {"type": "integer", "minimum": 0}}}"#,
        )
        .unwrap();
        assert!(accepts(&person, r#"{"name": "Ada", "age": 36}"#));
        for text in [
            r#"{"name": "Ada"}"#,
            r#"{"name": "ada", "age": 36}"#,
            r#"{"name": "Ada", "age": -1}"#,
            r#"{"name": "Ada", "age": 36, "x": 1}"#,
            "[]",
            "not JSON",
            "",
        ] {
            assert!(!accepts(&person, text), "{text}");
        }
    }

    #[test]
    fn schemas_that_are_none_say_why() {
        for (text, says) in [
            ("{", "not JSON"),
            (r#"{"type": "person"}"#, "no JSON schema"),
            (r#"{"pattern": "("}"#, "no JSON schema"),
            (r#"{"$ref": "https://example.com/schema.json"}"#, "no JSON schema"),
            ("3", "no JSON schema"),
        ] {
            let error = schema(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
        let error = read(Path::new("/nowhere/at/all.json")).unwrap_err().to_string();
        assert!(error.contains("all.json: cannot read"), "{error}");
        assert!(
            schema(&" ".repeat((MAX_BYTES + 2) as usize)).unwrap_err().to_string().contains("larger than")
        );
    }

    #[test]
    fn a_schema_of_itself_ends() {
        let tree = schema(r##"{"type": "object", "properties": {"next": {"$ref": "#"}}}"##).unwrap();
        assert!(accepts(&tree, r#"{"next": {"next": {}}}"#));
        assert!(!accepts(&tree, r#"{"next": {"next": 1}}"#));
        if let Ok(circle) = schema(r##"{"$ref": "#"}"##) {
            accepts(&circle, "{}");
        }
    }
}
