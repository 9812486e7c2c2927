//! The house's rules as far as a text search can hold them. All limits are here; a rule that is broken on purpose has its place
//! and reason in a list, and what is in a list without need fails too.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

#[path = "common/text.rs"]
mod text;

/// Columns of a line. Code is cut at 110 by rustfmt; this is for comments, shaders and scripts. Lines with a text in quotes may
/// be longer: a message that is cut is harder to find.
const COLUMNS: usize = 130;
/// Lines of a file of source; of a file of tests.
const LINES: (usize, usize) = (500, 600);
/// Lines of a function; of a test, which may be a table.
const FUNCTION: (usize, usize) = (70, 120);
/// What must not stand anywhere, in two pieces so that it does not stand here.
const BANNED: [(&str, &str); 8] = [
    ("TO", "DO"),
    ("FIX", "ME"),
    ("XX", "X"),
    ("HA", "CK"),
    ("for ", "now"),
    ("db", "g!("),
    ("to", "do!("),
    ("unimple", "mented!("),
];

/// Functions that are longer than that, with the reason.
const LONG_FUNCTIONS: [(&str, &str, &str); 0] = [];
/// Files that are longer than that, with the reason.
const LONG_FILES: [(&str, &str); 0] = [];
/// How lines begin that are longer than that, with the reason.
const LONG_LINES: [(&str, &str); 3] = [
    ("src/cli/tune/sft.rs: ember tune sft --data my.jsonl --preview", "a command line inside a longer text"),
    ("src/text/template/tests.rs: {%- if message.content.startswith('H') a", "a template's line is one line"),
    (
        "examples/thumbs/make_thumbs.py: cargo run --release --example judge_answ",
        "a command line to be copied",
    ),
];

/// Variables of shaders that are declared in a block without a value, with the reason.
const WITHOUT_VALUE: [(&str, &str); 2] = [
    ("shaders/linear.eight.wgsl: var weights: array<Oct, ROWS>;", "all that is read is assigned before"),
    ("shaders/linear.wgsl: var weights: array<Oct, 8>;", "all that is read is assigned before"),
];

/// Flags that stand in texts of the library all the same, with the reason.
const LIBRARY_FLAGS: [(&str, &str, &str); 8] = [
    ("src/gguf/error.rs", "--merge", "llama.cpp's program that merges split files"),
    ("src/io/text.rs", "-f", "iconv's"),
    ("src/io/text.rs", "-t", "iconv's"),
    ("src/train/corpus/error.rs", "-f", "iconv's"),
    ("src/train/corpus/error.rs", "-t", "iconv's"),
    ("src/train/data/load.rs", "-f", "iconv's"),
    ("src/train/data/load.rs", "-t", "iconv's"),
    ("src/train/reward/command/child.rs", "-c", "the shell's, which is started with it"),
];

/// What is public though nothing but tests uses it, with the reason.
const PUBLIC: [(&str, &str); 13] = [
    ("src/explain/page.rs: unpacked", "what the page's script does, which tests compare with"),
    ("src/io/commit/mod.rs: commit_bytes", "for programs whose state is in memory"),
    ("src/io/faulty.rs: end_after", "a faulty stream is for tests, a user's as well"),
    ("src/io/faulty.rs: fail_after", "a faulty stream is for tests, a user's as well"),
    ("src/io/faulty_disk.rs: power_cut", "a faulty disk is for tests, a user's as well"),
    ("src/io/faulty_disk.rs: power_for", "a faulty disk is for tests, a user's as well"),
    ("src/io/sections/mod.rs: get_u64s", "the container takes every kind of number"),
    ("src/io/sections/mod.rs: u32s", "the container takes every kind of number"),
    ("src/io/sections/mod.rs: u64s", "the container takes every kind of number"),
    ("src/quant/device.rs: decode_device", "what shaders do with planes, in Rust: their oracle"),
    ("src/session/mod.rs: all_logits", "logits of every position, for programs that look into a model"),
    ("src/text/template/mod.rs: with_clock", "for programs and tests to which it is a fixed time"),
    (
        "src/train/corpus/mod.rs: check_vocabulary",
        "for programs that open a token file which they did not make",
    ),
];

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Files below folders of the project with one of the endings: their names in it, and their texts.
fn files(folders: &[&str], endings: &[&str]) -> Vec<(String, String)> {
    fn walk(folder: &Path, all: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() { walk(&path, all) } else { all.push(path) }
        }
    }
    let mut all = vec![];
    folders.iter().for_each(|folder| walk(&project().join(folder), &mut all));
    all.sort();
    let wanted = |path: &PathBuf| endings.iter().any(|e| path.extension().is_some_and(|own| own == *e));
    let name =
        |path: &PathBuf| path.strip_prefix(project()).unwrap().display().to_string().replace('\\', "/");
    let read = |path: PathBuf| (name(&path), std::fs::read_to_string(&path).unwrap());
    let found: Vec<(String, String)> = all.into_iter().filter(wanted).map(read).collect();
    assert!(found.len() > 5, "{folders:?} are not there");
    found
}

fn sources() -> Vec<(String, String)> {
    files(&["src", "tests", "build", "benches", "examples", "shaders", "scripts"], &["rs", "wgsl", "py"])
}

fn is_test(name: &str) -> bool {
    text::is_test(Path::new(name))
}

/// Compares what broke a rule with what may.
fn judge(what: &str, broken: &BTreeSet<String>, allowed: &BTreeSet<String>) {
    let new: Vec<&String> = broken.difference(allowed).collect();
    let stale: Vec<&String> = allowed.difference(broken).collect();
    assert!(new.is_empty(), "{what}:\n{new:#?}");
    assert!(stale.is_empty(), "allowed without need ({what}):\n{stale:#?}");
}

#[test]
fn lines_are_not_too_long() {
    let mut broken = BTreeSet::new();
    for (name, text) in sources() {
        let long = |line: &&str| line.chars().count() > COLUMNS && !line.contains(['"', '`']);
        let start = |line: &str| line.trim().chars().take(40).collect::<String>();
        broken.extend(text.lines().filter(long).map(|line| format!("{name}: {}", start(line).trim())));
    }
    let allowed = LONG_LINES.iter().map(|(place, _)| (*place).to_owned()).collect();
    judge(&format!("lines of more than {COLUMNS} columns"), &broken, &allowed);
}

#[test]
fn files_are_not_too_long() {
    let most = |name: &str| if is_test(name) { LINES.1 } else { LINES.0 };
    let long = |(name, text): &(String, String)| text.lines().count() > most(name);
    let broken = sources().into_iter().filter(long).map(|(name, _)| name).collect();
    let allowed = LONG_FILES.iter().map(|(place, _)| (*place).to_owned()).collect();
    judge(&format!("files of more than {LINES:?} lines"), &broken, &allowed);
}

/// By WGSL's rules a variable without a value is zero at every turn of a loop; some compilers make it so once.
#[test]
fn variables_in_blocks_of_shaders_have_a_value() {
    let mut broken = BTreeSet::new();
    for (name, text) in files(&["shaders"], &["wgsl"]) {
        let bare = |line: &&str| {
            line.starts_with("        ") && line.trim().starts_with("var ") && !line.contains('=')
        };
        let code = |line: &str| line.trim().split("//").next().unwrap().trim_end().to_owned();
        broken.extend(text.lines().filter(bare).map(|line| format!("{name}: {}", code(line))));
    }
    let allowed = WITHOUT_VALUE.iter().map(|(place, _)| (*place).to_owned()).collect();
    judge("variables in blocks of shaders without a value", &broken, &allowed);
}

/// Functions of a file with their length, as rustfmt lays them out: the closing brace is below the first letter.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = vec![];
    for (start, line) in lines.iter().enumerate() {
        let body = line.trim_start();
        let indent = &line[..line.len() - body.len()];
        let head = body.split('(').next().unwrap_or_default();
        let words: Vec<&str> = head.split_whitespace().collect();
        let Some(at) = words.iter().position(|w| *w == "fn") else { continue };
        let before = ["pub", "const", "unsafe", "async"];
        let plain = |w: &&str| before.contains(w) || w.starts_with("pub");
        if body.starts_with("//") || !words[..at].iter().all(plain) || at + 1 >= words.len() {
            continue;
        }
        let name = words[at + 1].split('<').next().unwrap_or_default();
        let close = format!("{indent}}}");
        // One of a trait, or on one line, has no brace of its own.
        let alone = body.ends_with(';') || body.ends_with('}');
        let declared = format!("{indent})");
        let ends = |l: &str| l == close || (l.starts_with(&declared) && l.ends_with(';'));
        let end = lines[start..].iter().position(|l| alone || ends(l));
        found.push((name.to_owned(), end.map_or(0, |e| e + 1)));
    }
    found
}

#[test]
fn functions_are_not_too_long() {
    let (mut broken, mut count) = (BTreeSet::new(), 0);
    for (name, text) in sources().into_iter().filter(|(name, _)| name.ends_with(".rs")) {
        let most = if is_test(&name) { FUNCTION.1 } else { FUNCTION.0 };
        for (function, lines) in functions(&text) {
            count += 1;
            if lines > most {
                broken.insert(format!("{name}: {function}"));
            }
        }
    }
    assert!(count > 2000, "only {count} functions were found");
    let allowed = LONG_FUNCTIONS.iter().map(|(file, name, _)| format!("{file}: {name}")).collect();
    judge(&format!("functions of more than {FUNCTION:?} lines"), &broken, &allowed);
}

#[test]
fn words_that_put_things_off_stand_nowhere() {
    let mut broken = BTreeSet::new();
    for (name, text) in sources() {
        for (a, b) in BANNED {
            let word = format!("{a}{b}");
            let apart = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '_');
            let whole = |at: usize| {
                apart(text[..at].chars().next_back())
                    && (word.ends_with('(') || apart(text[at + word.len()..].chars().next()))
            };
            if text.match_indices(&word).any(|(at, _)| whole(at)) {
                broken.insert(format!("{name}: {word}"));
            }
        }
    }
    judge("banned words", &broken, &BTreeSet::new());
}

/// Code that users run handles its errors.
#[test]
fn nothing_is_unwrapped_outside_tests() {
    let mut broken = BTreeSet::new();
    for (name, text) in files(&["src"], &["rs"]).into_iter().filter(|(name, _)| !is_test(name)) {
        for (line, n) in text::code(&text).lines().zip(1..) {
            if [".unwrap()", ".expect("].iter().any(|call| line.contains(call)) {
                broken.insert(format!("{name}:{n}"));
            }
        }
    }
    judge("unwrap or expect outside tests", &broken, &BTreeSet::new());
}

/// An op is one stem: shader, parameters, twin. Variants of a shader have a second name behind a dot.
#[test]
fn every_stem_has_its_partners() {
    let stems = |folder: &str, ending: &str| -> BTreeSet<String> {
        let inside = std::fs::read_dir(project().join(folder)).unwrap();
        let names = inside.map(|e| e.unwrap().file_name().into_string().unwrap());
        let own = names.filter(|n| n.ends_with(ending));
        own.map(|n| n.split('.').next().unwrap_or_default().to_owned()).collect()
    };
    let shaders = stems("shaders", ".wgsl");
    // Ops that are described by the same numbers share them: `#params`.
    let params = |stem: &String| {
        let text = std::fs::read_to_string(project().join(format!("shaders/{stem}.wgsl"))).unwrap();
        let shared = text.lines().find_map(|line| line.strip_prefix("#params "));
        shared.map_or(stem.clone(), str::to_owned)
    };
    let wanted: BTreeSet<String> = shaders.iter().map(params).collect();
    judge("parameters without a shader, or a shader without", &stems("shaders/params", ".wgsl"), &wanted);
    let ops: BTreeSet<String> = emberlm::ops::Op::ALL.iter().map(|op| op.def().stem.to_owned()).collect();
    judge("ops without a shader, or a shader without", &ops, &shaders);
    let twins = stems("src/ops", ".rs");
    let missing: Vec<&String> = ops.difference(&twins).collect();
    assert!(missing.is_empty(), "ops without a file in src/ops: {missing:?}");
}

/// The texts in quotes of a file's code, without what is in comments and in tests at its end.
fn literals(text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let code = code.split("#[cfg(all(test,").next().unwrap_or_default();
    let all: Vec<char> = code.chars().collect();
    let at = |i: usize| all.get(i).copied().unwrap_or('\0');
    let (mut found, mut i) = (vec![], 0);
    while i < all.len() {
        match at(i) {
            '/' if at(i + 1) == '/' => i += all[i..].iter().position(|c| *c == '\n').unwrap_or(all.len()),
            '\'' if at(i + 1) == '\\' => i += 3 + all[i + 3..].iter().position(|c| *c == '\'').unwrap_or(0),
            '\'' if at(i + 2) == '\'' => i += 2,
            'r' if at(i + 1) == '"' || at(i + 1) == '#' && (at(i + 2) == '"' || at(i + 2) == '#') => {
                let hashes = all[i + 1..].iter().take_while(|c| **c == '#').count();
                let end: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
                let start = i + hashes + 2;
                let len = all[start..].windows(end.len()).position(|w| w == end).unwrap_or(0);
                found.push(all[start..start + len].iter().collect());
                i = start + len + hashes;
            }
            '"' => {
                let mut own = String::new();
                i += 1;
                while i < all.len() && at(i) != '"' {
                    i += usize::from(at(i) == '\\');
                    own.push(at(i));
                    i += 1;
                }
                found.push(own);
            }
            _ => {}
        }
        i += 1;
    }
    found
}

/// Flags in a text: `--word`, or a dash and one letter, as words; and the command by its name.
fn flags(text: &str) -> Vec<String> {
    let edge = |c: char| c.is_whitespace() || "`'\"()[]{},;:".contains(c);
    let words = text.split(edge).filter(|word| {
        let long = word.strip_prefix("--").is_some_and(|w| w.starts_with(|c: char| c.is_ascii_lowercase()));
        let short =
            word.strip_prefix('-').is_some_and(|w| w.len() == 1 && w.as_bytes()[0].is_ascii_alphabetic());
        long || short
    });
    let mut found: Vec<String> = words.map(str::to_owned).collect();
    found.extend(text.contains("`ember ").then(|| "`ember".to_owned()));
    found
}

/// The library's errors hold facts; what to type is said by the command alone.
#[test]
fn the_library_names_no_flags_of_the_command() {
    let (mut broken, mut seen) = (BTreeSet::new(), 0);
    for (name, text) in files(&["src"], &["rs"]).into_iter().filter(|(name, _)| !is_test(name)) {
        if name.starts_with("src/cli/") || name == "src/main.rs" {
            continue;
        }
        let texts = literals(&text);
        seen += texts.len();
        broken.extend(texts.iter().flat_map(|text| flags(text)).map(|flag| format!("{name}: {flag}")));
    }
    assert!(seen > 3000, "only {seen} texts were found");
    let allowed = LIBRARY_FLAGS.iter().map(|(file, flag, _)| format!("{file}: {flag}")).collect();
    judge("flags of the command in texts of the library", &broken, &allowed);
}

#[test]
fn flags_are_found_in_texts_alone() {
    let code = r####"// "--comment"
        let (a, b) = ('"', '\''); let c: &'static str = "a --long, or\" (-c 4)"; let d = r#"`ember plan` "--raw""#;
        let e = b"x-y"; // "-z"
        #[cfg(test)] mod tests { "--test" }"####;
    let texts = literals(code);
    assert_eq!(texts, ["a --long, or\" (-c 4)", "`ember plan` \"--raw\"", "x-y"]);
    let found: Vec<String> = texts.iter().flat_map(|text| flags(text)).collect();
    assert_eq!(found, ["--long", "-c", "--raw", "`ember"]);
}

/// The name of what a line declares for others to use, if it declares something.
fn declared(line: &str) -> Option<&str> {
    let after = line.trim_start().strip_prefix("pub")?;
    let after = if after.starts_with('(') { after.split_once(") ")?.1 } else { after.strip_prefix(' ')? };
    let words: Vec<&str> = words(after).take(5).collect();
    let how = words.iter().take_while(|word| ["const", "unsafe", "async"].contains(word)).count();
    match (words.first()?, words.get(how)?) {
        (_, &"fn") => words.get(how + 1).copied(),
        (&("const" | "static" | "struct" | "enum" | "trait" | "type"), _) => words.get(1).copied(),
        _ => None,
    }
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// What is public is used by the library, the command, an example or a bench. A name that occurs twice counts as used: text does
/// not tell which of its owners is meant.
#[test]
fn what_is_public_is_used() {
    let (mut used, mut all) = (BTreeMap::<String, usize>::new(), vec![]);
    for (name, text) in files(&["src", "examples", "benches", "build"], &["rs"]) {
        if is_test(&name) {
            continue;
        }
        let code = text::without_tests(&text);
        for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
            words(line).for_each(|word| *used.entry(word.to_owned()).or_default() += 1);
            if let Some(item) = declared(line).filter(|_| name.starts_with("src/")) {
                all.push((name.clone(), item.to_owned()));
            }
        }
    }
    assert!(all.len() > 1500, "only {} public items were found", all.len());
    let alone = all.iter().filter(|(_, item)| used[item] == 1);
    let broken = alone.map(|(name, item)| format!("{name}: {item}")).collect();
    let allowed = PUBLIC.iter().map(|(place, _)| (*place).to_owned()).collect();
    judge("public, and used by nothing but tests", &broken, &allowed);
}

#[test]
fn declarations_are_found_as_they_are_written() {
    let found = [
        ("pub fn one(x: u32) {", Some("one")),
        ("    pub(crate) const fn two<T>() -> T", Some("two")),
        ("pub const THREE: fn() = f;", Some("THREE")),
        ("pub(super) unsafe fn four()", Some("four")),
        ("pub struct Five<'a> {", Some("Five")),
        ("    pub call: fn(&Six),", None),
        ("pub use seven::fn_of;", None),
        ("published fn eight()", None),
    ];
    for (line, name) in found {
        assert_eq!(declared(line), name, "{line}");
    }
}
