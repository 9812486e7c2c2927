//! Files of one layer do not use each other in circles, but for those that are listed with their reason. A file is a
//! module; a parent and what is below it may use each other (a folder's `mod.rs` is its face), so that circles are
//! looked for among all others. Imports are read as text: `use`, with braces, and paths in code; names that a module
//! passes on (`pub use`, or its own imports) are followed to where they come from, as far as text tells.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

#[path = "common/text.rs"]
mod text;

/// Circles that are there, with the reason.
const KNOWN: [(&[&str], &str); 19] = [
    (
        &["adapter::hf::assemble", "adapter::hf::peft"],
        "PEFT's settings are one of two kinds of how files are put together, and take its helpers",
    ),
    (
        &["cli::engine", "cli::live", "cli::lora"],
        "the live adapter is one of the names of `--adapter`, and adapters are loaded where a model is booted",
    ),
    (
        &["cli::store::catalog", "cli::store::family"],
        "families are a part of the catalogue's file, and are looked up in it",
    ),
    (
        &["cli::tune::plan", "cli::tune::plan_data"],
        "the sizes of data depend on the objective whose map is drawn",
    ),
    (
        &[
            "exec::gpu::selftest::cases",
            "exec::gpu::selftest::cases_attention",
            "exec::gpu::selftest::cases_fused",
            "exec::gpu::selftest::cases_optimizer",
            "exec::gpu::selftest::cases_products",
            "exec::gpu::selftest::cases_sample",
            "exec::gpu::selftest::cases_training",
        ],
        "one list of cases in seven files, which share a bench",
    ),
    (&["gguf::file", "gguf::split"], "a file in parts is opened as a file, and its parts are files"),
    (
        &["plan::call", "plan::load", "plan::op", "plan::program", "plan::reverse", "plan::tensor"],
        "a program holds calls, whose ops are described by rules over programs",
    ),
    (&["quant::codec", "quant::device"], "a format's description has its layout on the device"),
    (&["session::generate", "session::schedule"], "what a schedule makes is what generating gives back"),
    (
        &["simd::avx2", "simd::ints::x86"],
        "one level of instructions, whose floats and integers are files of their own",
    ),
    (
        &[
            "text::template::python::args",
            "text::template::python::checks",
            "text::template::python::filters",
            "text::template::python::format",
            "text::template::python::globals",
            "text::template::python::json",
            "text::template::python::methods",
            "text::template::python::number",
            "text::template::python::numeric",
            "text::template::python::ops",
            "text::template::python::printf",
            "text::template::python::sequences",
            "text::template::python::show",
            "text::template::python::strings",
            "text::template::python::value",
            "text::template::python::wording",
            "text::template::python::work",
        ],
        "Python's values have operators and methods that take and make values",
    ),
    (
        &["train::adapters", "train::settings"],
        "settings hold those of adapters, which begin as the settings say",
    ),
    (
        &["train::core", "train::survival", "train::task", "train::trainer"],
        "a trainer is a core with a task, which works on the core",
    ),
    (
        &["train::data::chat", "train::data::place"],
        "places of replies are looked for in conversations, and conversations are learnt by place",
    ),
    (
        &[
            "train::data::encode",
            "train::data::example",
            "train::data::items",
            "train::data::load",
            "train::data::plain",
            "train::data::raw",
        ],
        "what rows become is made by an encoder, which has a file for each kind of row",
    ),
    (
        &["train::data::error", "train::data::note", "train::data::report"],
        "an error tells the report of what was skipped, which is made of errors",
    ),
    (
        &["train::data::question", "train::data::row"],
        "a row's answer may be one of a question, and a question is a row",
    ),
    (&["train::engine", "train::fit"], "the engine boots what fits, and what fits is options of the engine"),
    (
        &[
            "train::objective::dpo",
            "train::objective::ipo",
            "train::objective::orpo",
            "train::objective::pair",
            "train::objective::simpo",
        ],
        "one enum of objectives of pairs, each with a file",
    ),
];

type Modules = BTreeMap<String, String>;
type Graph = BTreeMap<String, BTreeSet<String>>;

/// All modules of `src` with their code: comments, texts in quotes and tests are left out.
fn modules() -> Modules {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all = Modules::new();
    for path in text::rust_files(&root) {
        let inside = path.strip_prefix(&root).unwrap().with_extension("");
        let mut parts: Vec<String> = inside.iter().map(|p| p.to_string_lossy().into_owned()).collect();
        if parts.last().is_some_and(|last| last == "mod") {
            parts.pop();
        }
        let name = parts.join("::");
        if !["lib", "main"].contains(&name.as_str()) && !text::is_test(&inside.with_extension("rs")) {
            all.insert(name, text::code(&std::fs::read_to_string(&path).unwrap()));
        }
    }
    all
}

/// The paths of one tree of an import from its first letter on, as lists of names: `a::{b, c::d}` is `a, b` and `a, c, d`.
fn tree(code: &str) -> Vec<Vec<String>> {
    fn part(rest: &mut &str, before: &[String], found: &mut Vec<Vec<String>>) {
        let mut path = before.to_vec();
        loop {
            *rest = rest.trim_start();
            if let Some(inside) = rest.strip_prefix('{') {
                *rest = inside;
                loop {
                    *rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
                    if rest.is_empty() || rest.starts_with('}') {
                        *rest = rest.strip_prefix('}').unwrap_or(rest);
                        return;
                    }
                    let length = rest.len();
                    part(rest, &path, found);
                    // Another name (`as`), or what is no import: on to the next one.
                    let end = rest.find([',', '}']).unwrap_or(rest.len());
                    *rest = &rest[end.max(usize::from(rest.len() == length && end == 0))..];
                }
            }
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            if end == 0 {
                break;
            }
            path.push(rest[..end].to_owned());
            *rest = &rest[end..];
            match rest.strip_prefix("::") {
                Some(after) => *rest = after,
                None => break,
            }
        }
        found.push(path);
    }
    let (mut rest, mut found) = (code, vec![]);
    part(&mut rest, &[], &mut found);
    found.retain(|path| !path.is_empty());
    found
}

/// Where words begin in code, with the text before them.
fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let letter = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':');
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let after = code[at + word.len()..].chars().next();
        !letter(code[..*at].chars().next_back()) && (after == Some(':') || !letter(after))
    })
}

/// The paths that a module imports.
fn imports(code: &str) -> Vec<Vec<String>> {
    words(code, "use").flat_map(|at| tree(&code[at + "use".len()..])).collect()
}

/// The module that a path leads to as it is written in `module`, and what is left of the path.
fn resolve<'p>(modules: &Modules, module: &str, path: &'p [String]) -> (String, &'p [String]) {
    let mut at: Vec<&str> = module.split("::").collect();
    let mut rest = path;
    match path[0].as_str() {
        "crate" => {
            at.clear();
            rest = &path[1..];
        }
        "self" => rest = &path[1..],
        _ => {
            while rest.first().is_some_and(|name| name == "super") {
                at.pop();
                rest = &rest[1..];
            }
        }
    }
    while let Some(name) = rest.first() {
        let below = [&at[..], &[name.as_str()]].concat().join("::");
        if !modules.contains_key(&below) {
            break;
        }
        at.push(name);
        rest = &rest[1..];
    }
    (at.join("::"), rest)
}

/// Names that each module has from others.
fn passed_on(modules: &Modules) -> BTreeMap<&str, BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for (module, code) in modules {
        let named = imports(code).into_iter().filter_map(|path| {
            let (from, rest) = resolve(modules, module, &path);
            let name = rest.first().or(path.last())?.clone();
            (from != *module && !from.is_empty()).then_some((name, from))
        });
        all.insert(module.as_str(), named.collect());
    }
    all
}

/// Which modules of its own layer each module uses.
fn graph(modules: &Modules) -> Graph {
    let passed_on = passed_on(modules);
    let mut graph = Graph::new();
    for (module, code) in modules {
        let mut paths = imports(code);
        for start in ["crate", "super", "self"] {
            paths.extend(words(code, start).flat_map(|at| tree(&code[at..])));
        }
        // What is imported or below is used by its first name.
        let below = format!("{module}::");
        let own = modules.keys().filter_map(|other| other.strip_prefix(&below));
        for name in own.filter(|name| !name.contains("::")) {
            paths.extend(words(code, name).flat_map(|at| tree(&code[at..])).filter(|path| path.len() > 1));
        }
        let layer = module.split("::").next();
        let uses = graph.entry(module.clone()).or_default();
        for path in paths {
            let (mut to, mut rest) = resolve(modules, module, &path);
            // As often as a name can be passed on.
            for _ in 0..8 {
                let Some(from) = rest.first().and_then(|name| passed_on.get(to.as_str())?.get(name)) else {
                    break;
                };
                if to == *module {
                    break;
                }
                to = from.clone();
                rest = &rest[..1];
            }
            if modules.contains_key(&to) && to.split("::").next() == layer && to != *module {
                uses.insert(to);
            }
        }
    }
    graph
}

/// Whether one of two modules is below the other.
fn related(a: &str, b: &str) -> bool {
    let below = |a: &str, b: &str| a.strip_prefix(b).is_some_and(|rest| rest.starts_with("::"));
    below(a, b) || below(b, a)
}

/// Everything that can be reached from a module, itself only by a way round.
fn reached<'g>(graph: &'g Graph, from: &'g str) -> BTreeSet<&'g str> {
    let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(module) = next.pop() {
        let uses = graph.get(module).into_iter().flatten().map(String::as_str);
        next.extend(uses.filter(|to| seen.insert(*to)).collect::<Vec<_>>());
    }
    seen
}

/// Modules that use each other, in the largest sets in which each reaches all.
fn circles(graph: &Graph) -> BTreeSet<Vec<String>> {
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        graph.keys().map(|module| (module.as_str(), reached(graph, module))).collect();
    let mut found = BTreeSet::new();
    for (module, all) in reached.iter().filter(|(module, all)| all.contains(*module)) {
        let back = |other: &&&str| reached.get(**other).is_some_and(|of| of.contains(module));
        found.insert(all.iter().filter(back).map(|other| (*other).to_owned()).collect());
    }
    found
}

#[test]
fn files_of_a_layer_use_each_other_one_way() {
    let modules = modules();
    assert!(modules.len() > 300, "only {} files were found", modules.len());
    let mut graph = graph(&modules);
    assert!(graph.values().map(BTreeSet::len).sum::<usize>() > 1000, "imports were not found");
    for (module, uses) in &mut graph {
        uses.retain(|other| !related(module, other));
    }
    let found = circles(&graph);
    let known: BTreeSet<Vec<String>> =
        KNOWN.iter().map(|(circle, _)| circle.iter().map(|m| (*m).to_owned()).collect()).collect();
    let told = |circle: &Vec<String>| {
        let within = |module: &String| {
            let uses: Vec<&String> = graph[module].iter().filter(|to| circle.contains(to)).collect();
            format!("  {module} uses {uses:?}\n")
        };
        circle.iter().map(within).collect::<String>()
    };
    let new: Vec<String> = found.difference(&known).map(told).collect();
    assert!(new.is_empty(), "{} new circles:\n{}", new.len(), new.join("\n"));
    let gone: Vec<&Vec<String>> = known.difference(&found).collect();
    assert!(gone.is_empty(), "listed, but no circles any more: {gone:#?}");
}

#[test]
fn imports_are_read_as_they_are_written() {
    let modules: Modules = [
        ("a", "pub use one::One;\npub use two::*; mod one; mod two;"),
        ("a::one", "use super::two::{self, deep::Two as Other, Three};\nuse crate::b::{B, c::{C, D}};"),
        ("a::two", "fn f(x: crate::a::One) { super::one::g(); one() }"),
        ("a::two::deep", ""),
        ("b", ""),
        ("b::c", "use super::super::a::two;"),
    ]
    .map(|(name, code)| (name.to_owned(), code.to_owned()))
    .into();
    let graph = graph(&modules);
    let uses = |module: &str| graph[module].iter().map(String::as_str).collect::<Vec<_>>();
    assert_eq!(uses("a"), ["a::one", "a::two"]);
    assert_eq!(uses("a::one"), ["a::two", "a::two::deep"], "another layer is none of it");
    assert_eq!(uses("a::two"), ["a::one"], "`One` is passed on by `a`");
    let paths = tree("crate::b::{B, c::{C as E, D}, self}; rest");
    let joined: Vec<String> = paths.iter().map(|path| path.join(" ")).collect();
    assert_eq!(joined, ["crate b B", "crate b c C", "crate b c D", "crate b self"]);
    let mut without = graph.clone();
    without.iter_mut().for_each(|(module, uses)| uses.retain(|other| !related(module, other)));
    assert_eq!(circles(&without).into_iter().collect::<Vec<_>>(), [["a::one", "a::two"]]);
}
