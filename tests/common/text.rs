//! Rust files as text, for the tests that read the source.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::path::{Path, PathBuf};

/// All Rust files below a folder, in order.
pub fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Whether a file of `src` holds tests or what they share.
pub fn is_test(path: &Path) -> bool {
    let name = path.to_string_lossy().replace('\\', "/");
    let ends = ["tests.rs", "testing.rs", "bounds.rs", "quant/loss.rs"];
    name.starts_with("tests/") || name.contains("/tests/") || ends.iter().any(|end| name.ends_with(end))
}

/// A file without what is compiled for tests alone, line by line: what is left out is empty lines. An item ends where
/// rustfmt puts the end of it, in the column of its attribute.
pub fn without_tests(text: &str) -> String {
    let mut kept = vec![];
    let mut lines = text.lines();
    let indent = |line: &str| line.len() - line.trim_start().len();
    while let Some(line) = lines.next() {
        let attribute = line.trim_start();
        if !attribute.starts_with("#[cfg(test)]") && !attribute.starts_with("#[cfg(all(test,") {
            kept.push(line);
            continue;
        }
        kept.push("");
        for inside in lines.by_ref() {
            kept.push("");
            let ends = [";", "}", ","].iter().any(|end| inside.trim_end().ends_with(end));
            if indent(inside) == indent(line) && ends {
                break;
            }
        }
    }
    kept.join("\n")
}

/// A file's code: without tests, comments and texts in quotes.
pub fn code(text: &str) -> String {
    without_quotes(&without_tests(text))
}

/// A text without comments and without what stands in quotes; lines stay lines.
pub fn without_quotes(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let word = kept.chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_');
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(hashes) = raw(rest).filter(|_| !word || kept.ends_with('b')) {
            let end = format!("\"{}", "#".repeat(hashes));
            let begin = hashes + 2;
            rest[begin..].find(&end).map_or(rest.len(), |at| begin + at + end.len())
        } else if next == '"' {
            quoted(rest)
        } else if next == '\'' {
            letter(rest)
        } else {
            kept.push(next);
            rest = &rest[next.len_utf8()..];
            continue;
        };
        let (left_out, after) = rest.split_at(length);
        if next == '"' || next == 'r' {
            kept.push_str("\"\"");
        }
        kept.extend(left_out.chars().filter(|c| *c == '\n'));
        rest = after;
        if next == '\'' && length == 1 {
            kept.push('\'');
        }
    }
    kept
}

/// How many hashes a raw text begins with.
fn raw(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix('r')?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    after[hashes..].starts_with('"').then_some(hashes)
}

/// Bytes of a text in quotes.
fn quoted(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Bytes of a character in quotes; 1 if it is a lifetime.
fn letter(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => rest[3..].find('\'').map_or(1, |end| end + 4),
        Some(_) => chars.next().filter(|(_, c)| *c == '\'').map_or(1, |(at, _)| at + 1),
        None => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_code_is_left_out() {
        let text = "a // b\n'c' 'd \"e\\\"\" r#\"f\"g\"# h'\\'' br\"i\" /* j\nk */ l";
        assert_eq!(without_quotes(text), "a \n 'd \"\" \"\" h b\"\" \n l");
        let text = "a\n#[cfg(test)]\nmod tests;\nb\n    #[cfg(test)]\n    fn c() {\n        d;\n    }\ne";
        assert_eq!(without_tests(text), "a\n\n\nb\n\n\n\n\ne");
    }
}
