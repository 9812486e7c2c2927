//! Help that fits a screen: `-h` and `--help` show what people use first, `--help-all` shows every option. One table says
//! which those are; the rest is done to all commands alike.

use std::ffi::{OsStr, OsString};

use clap::{Arg, ArgAction, Command};

/// The option that shows everything.
pub const ALL: &str = "help-all";
/// A command with at most so many options shows them all.
const FEW: usize = 8;

/// Options that short help shows, in this order, by the command's name or its beginning (`tune` for `tune sft`). Names that a
/// command does not have are passed over. Commands that are not here show all.
const FIRST: &[(&str, &[&str])] = &[
    (
        "chat",
        &[
            "model",
            "system",
            "adapter",
            "load",
            "temp",
            "seed",
            "n-predict",
            "ctx-size",
            "think",
            "device",
            "no-journal",
        ],
    ),
    (
        "run",
        &[
            "prompt",
            "file",
            "model",
            "system",
            "raw",
            "adapter",
            "temp",
            "seed",
            "n-predict",
            "ctx-size",
            "think",
            "device",
            "quiet",
        ],
    ),
    (
        "tune",
        &[
            "data",
            "prompts",
            "reward",
            "model",
            "output",
            "effort",
            "epochs",
            "lr",
            "val",
            "group",
            "n-predict",
            "from",
            "preview",
            "resume",
            "config",
            "device",
        ],
    ),
    (
        "pretrain",
        &[
            "text", "output", "size", "steps", "val", "from", "prompt", "dry-run", "resume", "config",
            "duty", "budget", "device",
        ],
    ),
    ("adapt", &["dry-run", "yes", "model", "journal", "minutes", "duty", "again", "min-entries", "device"]),
    (
        "plan",
        &["model", "ctx-size", "kv", "adapter", "budget", "tune", "data", "full", "seq", "json", "device"],
    ),
    (
        "bench",
        &[
            "model",
            "n-prompt",
            "n-gen",
            "n-depth",
            "repetitions",
            "batches",
            "tune",
            "json",
            "device",
            "threads",
        ],
    ),
    ("eval", &["model", "adapter", "n-predict", "limit", "show", "json", "device"]),
    #[cfg(feature = "gpu")]
    ("doctor", &["device", "measure", "model", "export-tuning", "import-tuning", "replace", "profile"]),
    ("perplexity", &["prompt", "file", "model", "adapter", "ctx-size", "json", "device"]),
    ("score", &["adapter", "data", "model", "json", "device", "seq"]),
    ("tokenize", &["file", "model", "ids", "count", "special"]),
    ("tokenizer train", &["text", "vocab", "output", "special", "chat-template", "limit", "replace"]),
    ("explain", &["prompt", "file", "model", "html", "json", "layer", "head", "run", "device"]),
];

/// What short help says of an option instead of the first part of its help: its value's name and a few words. Options of one name
/// mean the same in all commands.
const BRIEF: &[(&str, &str, &str)] = &[
    ("model", "NAME|PATH", "Model: one of `ember models`, or a GGUF file"),
    ("adapter", "NAME", "Adapter: a file, a name, or `live`; NAME:0.5 weakens it"),
    ("ctx-size", "N", "Context length in tokens [default: up to 4096]"),
    ("device", "DEVICE", "auto, gpu, cpu, or part of a GPU's name"),
    ("think", "WHEN", "Think before answering: on, off or auto"),
    ("n-predict", "N", "Most tokens of an answer"),
    ("output", "NAME", "Name of what is written [default: the data's]"),
    ("effort", "EFFORT", "light, normal or thorough"),
    ("epochs", "N", "Times to go through the data [default: by its size]"),
    ("val", "PART", "Hold a part (0.1) or a file out to validate on"),
    ("prompts", "FILE", "Prompts, and what rewards look at, as JSON lines"),
    ("reward", "RULE", "What is rewarded: RULE[:ARGUMENT][*WEIGHT]"),
    ("preview", "N", "Show the first examples, and stop"),
    ("config", "FILE", "Settings, as a run writes them beside its result"),
    ("budget", "SIZE", "Refuse to start if more memory is needed"),
    ("load", "FILE", "Go on with a saved conversation"),
    ("text", "PATH", "Texts to learn: files, or folders of them"),
    ("duty", "PART", "Work only this part of the time (e.g. 40%)"),
    ("size", "SIZE", "About how many weights: 1m, 3m, 30m [default: 3m]"),
    ("journal", "FILE", "Journal to learn from"),
    ("kv", "TYPE", "Precision of the KV cache: f16 or f32"),
    ("tune", "OBJECTIVE", "Of a training step: sft, dpo, grpo, ppo or pretrain"),
    ("seq", "N", "Most tokens of a sequence"),
    ("run", "NAME", "Show how the loss of a training run fell"),
    ("vocab", "N", "Tokens of the vocabulary"),
    ("batches", "LIST", "Sequences generated together: 1,2,4"),
    ("threads", "N", "Threads of the CPU"),
];

/// Whether a command line asks for everything.
fn wants_all(arguments: &[OsString]) -> bool {
    arguments.iter().any(|argument| argument == OsStr::new("--help-all"))
}

/// All commands with help that fits a screen, for this command line.
pub fn fitted(command: Command, arguments: &[OsString]) -> Command {
    fit(command, "", wants_all(arguments))
}

fn fit(command: Command, name: &str, all: bool) -> Command {
    let within = |sub: &Command| match name {
        "" => sub.get_name().to_owned(),
        name => format!("{name} {}", sub.get_name()),
    };
    let names: Vec<(String, String)> =
        command.get_subcommands().map(|sub| (sub.get_name().to_owned(), within(sub))).collect();
    let count = command.get_arguments().filter(|arg| !arg.is_hide_set()).count();
    let first = first(name).filter(|_| count > FEW);
    let mut command = command.disable_help_flag(true).disable_help_subcommand(true);
    if !all {
        command = command.mut_args(|arg| short(arg, first));
    }
    command = command.arg(
        Arg::new("help")
            .short('h')
            .long("help")
            .action(ArgAction::HelpShort)
            .help("Show this")
            .help_heading(None)
            .display_order(900),
    );
    let everything = match first {
        Some(_) => format!("All {count} options, and more about each"),
        None => "More about each".into(),
    };
    command = command.arg(
        Arg::new(ALL)
            .long(ALL)
            .action(ArgAction::HelpLong)
            .help(everything)
            .help_heading(None)
            .display_order(901),
    );
    names
        .into_iter()
        .fold(command, |command, (sub, path)| command.mut_subcommand(sub, |sub| fit(sub, &path, all)))
}

/// The options that a command shows first.
fn first(name: &str) -> Option<&'static [&'static str]> {
    let begins =
        |whole: &str| name == whole || name.strip_prefix(whole).is_some_and(|rest| rest.starts_with(' '));
    FIRST.iter().find(|(whole, _)| begins(whole)).map(|(_, first)| *first)
}

/// An option as short help shows it, or hidden there.
fn short(arg: Arg, first: Option<&[&str]>) -> Arg {
    let Some(first) = first else { return arg };
    if arg.is_positional() {
        return arg;
    }
    match arg.get_long().and_then(|long| first.iter().position(|name| *name == long)) {
        Some(place) => {
            let arg = arg.help_heading(None).display_order(place).hide_env(true);
            let arg = if arg.get_action().takes_values() { arg.hide_possible_values(true) } else { arg };
            let brief = BRIEF.iter().find(|(long, ..)| arg.get_long() == Some(long));
            match (brief, arg.get_help().map(|help| shortened(&help.to_string()))) {
                (Some((_, value, help)), _) if arg.get_action().takes_values() => {
                    arg.value_name(value).help(*help)
                }
                (_, Some(help)) => arg.help(help),
                (_, None) => arg,
            }
        }
        None => arg.hide_short_help(true),
    }
}

/// The first part of a line of help: to its first semicolon outside of brackets, with the default that ends it.
fn shortened(help: &str) -> String {
    let mut depth = 0_i32;
    let outside = |c: char| {
        depth += i32::from(matches!(c, '[' | '(')) - i32::from(matches!(c, ']' | ')'));
        c == ';' && depth == 0
    };
    let (begin, rest) = help.split_at(help.find(outside).unwrap_or(help.len()));
    match rest.rfind(" [default: ") {
        Some(default) => format!("{begin}{}", &rest[default..]),
        None => begin.to_owned(),
    }
}

/// `help chat` as `chat --help`, wherever commands have commands.
pub fn asked(command: &Command, mut arguments: Vec<OsString>) -> Vec<OsString> {
    let mut here = command;
    for index in 1..arguments.len() {
        if arguments[index] == OsStr::new("help") && here.has_subcommands() {
            arguments.remove(index);
            arguments.push("--help".into());
            break;
        }
        match arguments[index].to_str().and_then(|name| here.find_subcommand(name)) {
            Some(sub) => here = sub,
            None => break,
        }
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A screen of 80 columns.
    const COLUMNS: usize = 80;
    const LINES: usize = 32;

    /// All commands below one, with their names.
    fn below(command: &Command, name: &str, all: &mut Vec<(String, Command)>) {
        for sub in command.get_subcommands() {
            let path = format!("{name} {}", sub.get_name());
            below(sub, &path, all);
            all.push((path, sub.clone()));
        }
    }

    fn commands(arguments: &[&str]) -> Vec<(String, Command)> {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        let mut root = fitted(crate::cli::command(), &arguments);
        root.build();
        let mut all = Vec::new();
        below(&root, "ember", &mut all);
        all
    }

    #[test]
    fn short_help_of_every_command_fits_a_screen() {
        let all = commands(&[]);
        assert!(all.len() > 30, "{}", all.len());
        let mut long = Vec::new();
        for (name, command) in all {
            let help = command.term_width(COLUMNS).render_help().to_string();
            let widest = help.lines().map(|line| line.chars().count()).max().unwrap_or(0);
            if help.lines().count() > LINES {
                long.push(format!("{name}: {} lines\n{help}", help.lines().count()));
            }
            // Examples are command lines, which are not broken.
            let text = help.split("Example").next().unwrap_or_default();
            let wide = text.lines().find(|line| line.chars().count() > COLUMNS && !line.starts_with("Usage"));
            assert!(wide.is_none(), "{name}: {widest} columns: {wide:?}");
            assert!(help.contains("--help-all"), "{name}");
        }
        assert!(long.is_empty(), "{}", long.join("\n"));
    }

    #[test]
    fn all_options_are_in_the_whole_help() {
        for (name, command) in commands(&["--help-all"]) {
            let help = command.clone().render_long_help().to_string();
            for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
                let Some(long) = arg.get_long() else { continue };
                assert!(help.contains(&format!("--{long}")), "{name} lacks --{long}");
            }
        }
    }

    #[test]
    fn what_comes_first_is_there() {
        let all = commands(&[]);
        for (whole, first) in FIRST {
            let of = |name: &str| name == *whole || name.starts_with(&format!("{whole} "));
            let mine: Vec<&Command> =
                all.iter().filter(|(name, _)| of(&name["ember ".len()..])).map(|(_, c)| c).collect();
            assert!(!mine.is_empty(), "{whole}");
            for long in *first {
                let has = |c: &&Command| c.get_arguments().any(|arg| arg.get_long() == Some(long));
                assert!(mine.iter().any(has), "{whole} has no --{long}");
            }
        }
    }

    #[test]
    fn help_is_asked_for_in_words_too() {
        let asked = |line: &str| {
            let words = line.split(' ').map(OsString::from).collect();
            let words = asked(&crate::cli::command(), words);
            words.iter().map(|w| w.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(asked("ember help"), "ember --help");
        assert_eq!(asked("ember help run"), "ember run --help");
        assert_eq!(asked("ember help tune sft"), "ember tune sft --help");
        assert_eq!(asked("ember tune help sft"), "ember tune sft --help");
        assert_eq!(asked("ember run -p help"), "ember run -p help");
        assert_eq!(asked("ember pull help"), "ember pull help");
    }

    #[test]
    fn a_line_of_help_is_cut_at_its_first_part() {
        assert_eq!(shortened("Temperature; 0 always takes the most likely token"), "Temperature");
        assert_eq!(shortened("Seed; -1 is new; x [default: -1]"), "Seed [default: -1]");
        assert_eq!(shortened("Plain [default: 3; small more often]"), "Plain [default: 3; small more often]");
    }
}
