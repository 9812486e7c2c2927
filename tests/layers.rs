//! The table of layers in ARCHITECTURE.md is what the imports say: a file uses its own layer and those above it, none below.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

#[path = "common/text.rs"]
mod text;

/// Names of layers by their place in the table.
fn table() -> BTreeMap<String, usize> {
    let text = include_str!("../ARCHITECTURE.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `src/"));
    let mut layers = BTreeMap::new();
    for (place, row) in rows.enumerate() {
        // Of `src/quantize.rs`, `src/quantize/` both are one name.
        let name = row.split(['`', '/', '.']).next().unwrap();
        assert!(layers.insert(name.to_owned(), place).is_none(), "{name} stands in the table twice");
    }
    assert!(layers.len() > 10, "the table was not found");
    layers
}

/// The layers that a text names by `crate::`, comments left out.
fn used(text: &str) -> BTreeSet<String> {
    let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    let code = code.collect::<Vec<_>>().join("\n");
    let names = code.split("crate::").skip(1);
    let word = |rest: &str| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    names.map(word).filter(|name| !name.is_empty()).collect()
}

#[test]
fn no_layer_uses_one_below_it() {
    let layers = table();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut broken, mut seen) = (vec![], BTreeSet::new());
    for path in text::rust_files(&root) {
        let inside = path.strip_prefix(&root).unwrap();
        let own = inside.iter().next().unwrap().to_string_lossy().replace(".rs", "");
        if own == "lib" || own == "main" {
            continue;
        }
        let place = layers.get(&own).unwrap_or_else(|| panic!("src/{own} is missing in the table of layers"));
        seen.insert(own.clone());
        for other in used(&std::fs::read_to_string(&path).unwrap()) {
            if layers.get(&other).is_some_and(|p| p > place) {
                broken.push(format!("src/{} uses {other}", inside.display()));
            }
        }
    }
    assert!(broken.is_empty(), "below their layer:\n{broken:#?}");
    assert_eq!(seen, layers.into_keys().collect(), "in the table, but not in src, or the other way round");
}

#[test]
fn imports_are_found_wherever_they_stand() {
    let text = "use crate::plan::{A};\n// crate::train\nfn f() -> crate::exec::B { crate::ops::c() }";
    assert_eq!(used(text).into_iter().collect::<Vec<_>>(), ["exec", "ops", "plan"]);
}
