//! Random command lines, of the commands and options that the program's own parser has.

use std::ffi::OsString;

use clap::{Arg, ArgAction, Command};

/// SplitMix64.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        random.next();
        random
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// Commands with the words that lead to them.
pub struct Lines(Vec<(Vec<String>, Command)>);

/// Values that no option expects, or that are at the edge of what one does.
const ODD: [&str; 52] = [
    "",
    " ",
    "0",
    "-0",
    "1",
    "-1",
    "2",
    "-2147483648",
    "4294967295",
    "4294967296",
    "18446744073709551615",
    "99999999999999999999999",
    "1e400",
    "-1e400",
    "1e-400",
    "1e30",
    "0.5",
    "-0.5",
    "NaN",
    "-nan",
    "inf",
    "-inf",
    "0x10",
    "1_000",
    "١٢",
    "½",
    "日本語",
    "e\u{301}\u{202e}x",
    "\u{1b}[31mred",
    "a\nb",
    "--",
    "-",
    "--help",
    "%s%n",
    "'",
    "${HOME}",
    "../..",
    "..",
    ".",
    "...",
    "/",
    "odd",
    "odd/device",
    "odd/device.gguf",
    "odd/link",
    "odd/link.gguf",
    "odd/folder",
    "odd/precious.txt",
    "odd/precious.gguf",
    "odd/round",
    "odd/nowhere/x",
    "odd/precious.txt/x",
];
const ODD_OUTPUTS: [&str; 12] = [
    "odd/pipe",
    "odd/pipe.gguf",
    "odd/locked.gguf",
    "odd/dangling.gguf",
    "odd/closed/x",
    "mine",
    "mine.gguf",
    "begun",
    "model.gguf",
    "a.gguf",
    "data.jsonl",
    "judge",
];
const ODD_INPUTS: [&str; 8] = [
    "odd/torn.gguf",
    "odd/other.gguf",
    "odd/precious.jsonl",
    "odd/utf16.txt",
    "odd/empty",
    "a b/ä\u{301}.gguf",
    "talk.json",
    "pairs.jsonl",
];

impl Lines {
    pub fn new() -> Self {
        let mut all = Vec::new();
        let mut root = emberlm::cli::command();
        root.build();
        leaves(&root, &[], &mut all);
        // It tests every kernel on the device, for minutes.
        all.retain(|(words, _)| words != &["doctor"]);
        Self(all)
    }

    pub fn random(&self, random: &mut Random) -> Vec<OsString> {
        let (words, command) = &self.0[random.below(self.0.len())];
        let mut line: Vec<OsString> = words.iter().map(OsString::from).collect();
        let mut positional = Vec::new();
        for arg in command.get_arguments() {
            let id = arg.get_id().as_str();
            let wanted = arg.is_required_set() || needed(id);
            // Required things are mostly there, and mostly right, so that commands get somewhere.
            if arg.is_positional() && (wanted || random.below(3) == 0) && random.below(20) > 0 {
                positional.extend(values(arg, random, 12));
            } else if !arg.is_positional() && wanted && random.below(20) > 0 {
                put(&mut line, arg, random, 12);
            }
        }
        let mut optional: Vec<&Arg> = command
            .get_arguments()
            .filter(|arg| !arg.is_positional() && !arg.is_required_set() && !needed(arg.get_id().as_str()))
            .filter(|arg| !["help", "version"].contains(&arg.get_id().as_str()))
            .collect();
        for _ in 0..random.below(5) {
            if !optional.is_empty() {
                let arg = optional.swap_remove(random.below(optional.len()));
                put(&mut line, arg, random, 6);
            }
        }
        // What takes long by itself is made short; an odd value of the same option comes in its own right.
        for (flag, value) in [("--max-steps", "2"), ("-n", "3"), ("--keep", "0"), ("--max-new", "4")] {
            let name = flag.trim_start_matches('-');
            let takes = command.get_arguments().any(|arg| {
                arg.get_long() == Some(name) || arg.get_short().is_some_and(|short| name == short.to_string())
            });
            if takes
                && !line.iter().any(|word| word.to_string_lossy().starts_with(flag))
                && random.below(30) > 0
            {
                line.extend([flag.into(), value.into()]);
            }
        }
        line.extend(positional);
        line
    }
}

fn leaves(command: &Command, words: &[String], all: &mut Vec<(Vec<String>, Command)>) {
    let children = command.get_subcommands().filter(|child| child.get_name() != "help");
    let mut any = false;
    for child in children {
        any = true;
        leaves(child, &[words, &[child.get_name().to_owned()]].concat(), all);
    }
    if !any {
        all.push((words.to_vec(), command.clone()));
    }
}

/// Options without which little happens.
fn needed(id: &str) -> bool {
    ["model", "data", "prompts", "rewards", "output", "adapter", "to", "file"].contains(&id)
}

fn put(line: &mut Vec<OsString>, arg: &Arg, random: &mut Random, right: usize) {
    let Some(flag) = arg
        .get_long()
        .map(|long| format!("--{long}"))
        .or_else(|| arg.get_short().map(|short| format!("-{short}")))
    else {
        return;
    };
    let times = if random.below(40) == 0 { 2 } else { 1 };
    for _ in 0..times {
        if !matches!(arg.get_action(), ArgAction::Set | ArgAction::Append) {
            line.push(flag.clone().into());
            continue;
        }
        for value in values(arg, random, right) {
            // With a sign of equality values may begin with a dash.
            if random.below(2) == 0 {
                let mut word = OsString::from(format!("{flag}="));
                word.push(value);
                line.push(word);
            } else {
                line.extend([flag.clone().into(), value]);
            }
        }
    }
}

/// One value, or a few; one in so many is odd.
fn values(arg: &Arg, random: &mut Random, right: usize) -> Vec<OsString> {
    let id = arg.get_id().as_str();
    let output = ["output", "plot"].contains(&id);
    if random.below(right) != 0 {
        return vec![good(arg, id, random).into()];
    }
    let input = [
        "model", "data", "adapter", "adapters", "from", "file", "input", "prompts", "load", "journal", "val",
    ];
    match random.below(12) {
        0 => vec![bytes()],
        1 => vec!["n".repeat(300).into()],
        2..=5 if output => vec![random.of(&ODD_OUTPUTS).into()],
        2..=5 if input.contains(&id) => vec![random.of(&ODD_INPUTS).into()],
        _ => vec![random.of(&ODD).into()],
    }
}

#[cfg(unix)]
fn bytes() -> OsString {
    std::os::unix::ffi::OsStringExt::from_vec(vec![b'a', 0xff, 0xfe])
}

#[cfg(not(unix))]
fn bytes() -> OsString {
    "a".into()
}

/// A value that may well be right.
fn good(arg: &Arg, id: &str, random: &mut Random) -> String {
    let choices = arg.get_possible_values();
    if !choices.is_empty() {
        return choices[random.below(choices.len())].get_name().to_owned();
    }
    let fixed: &[&str] = match id {
        "model" | "input" => &["model.gguf", "model.gguf", "tiny"],
        "data" => &["data.jsonl", "pairs.jsonl", "thumbs.jsonl"],
        "prompts" => &["prompts.jsonl"],
        "rewards" => &[
            "exact",
            "numeric",
            "length:3",
            "regex:[a-z]+*2",
            "model:judge",
            "schema:schema.json",
            "length:2*-1",
        ],
        "output" => &["new", "new.gguf", "newer", "odd/new", "deep/er/new"],
        "plot" => &["loss.svg", "new.svg", "odd/loss.svg"],
        "adapter" | "adapters" | "from" => &["a.gguf", "a", "mine.gguf", "judge.gguf", "a:0.5", "live"],
        "file" => &["text.txt", "questions.jsonl", "a.gguf", "model.gguf"],
        "journal" => &["journal.jsonl", "home/journal.jsonl"],
        "load" => &["talk.json"],
        "val" => &["0.3", "pairs.jsonl", "data.jsonl"],
        "chat_template" => &["chatml", "template.jinja", "llama3"],
        "format" | "output_type" | "embedding_type" => &["q8_0", "f16", "Q4_K", "f32", "q4_0"],
        "budget" => &["1k", "64MiB", "1G"],
        "duty" => &["50%", "0.5"],
        "recompute" => &["auto", "none", "all", "1"],
        "threads" | "ctx_size" | "n_predict" | "seq" => &["2", "16", "64"],
        "device" => &["cpu", "cpu", "cpu", "nothing"],
        "completion" | "prompt" | "text" | "system" => &["red blue", "one", "two\nthree"],
        "name" => &["tiny", "t"],
        "batches" => &["1,2"],
        _ => &["1", "2", "1", "2", "3", "0.1"],
    };
    let default = arg.get_default_values().first().and_then(|value| value.to_str());
    match default {
        Some(default) if fixed.len() == 6 && random.below(2) == 0 => default.to_owned(),
        _ => random.of(fixed).to_owned(),
    }
}

/// What is typed in a chat.
pub fn conversation(random: &mut Random) -> String {
    let says = [
        "red",
        "/good",
        "/bad",
        "/bad because",
        "/edit better",
        "/again",
        "/withdraw",
        "/journal",
        "/reset",
        "/stats",
        "/system be brief",
        "/system",
        "/adapter a",
        "/adapter none",
        "/adapter odd/torn.gguf",
        "/adapter a:nan",
        "/help",
        "/load talk.json",
        "/load odd/utf16.txt",
        "/load odd/folder",
        "/save talk.json",
        "/save odd/precious.txt",
        "/save odd/device",
        "/save odd/link",
        "/save odd/folder",
        "/save new.json",
        "/save data.jsonl",
        "/save odd/round",
        "/save model.gguf",
        "/nothing",
        "\\",
        "\u{1b}[2J",
        "日本語",
        "/",
        "/quit",
    ];
    (0..1 + random.below(8)).map(|_| format!("{}\n", random.of(&says))).collect()
}
