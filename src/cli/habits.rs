//! Command lines as llama.cpp's users write them: options of more than one letter behind one dash, and what to write instead of
//! those that are not there.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::cli::error::CliError;

/// Options that mean the same here under another name.
const SAME: &[(&str, &str)] = &[
    ("-ngl", "--gpu-layers"),
    ("-sys", "--system"),
    ("-dev", "--device"),
    ("-hf", "--hf-repo"),
    ("-hfr", "--hf-repo"),
];

/// Options whose value is a text, which may look like an option.
const TEXTS: &[&str] = &["-p", "--prompt", "--system", "--system-prompt", "-r", "--stop", "--reverse-prompt"];

/// Options that are not there, and what to do.
const OTHERS: &[(&[&str], &str)] = &[
    (
        &["-b", "--batch-size", "-ub", "--ubatch-size"],
        "leave it out: prompts are read in pieces of the size that suits the device",
    ),
    (&["-fa", "--flash-attn"], "leave it out: attention never keeps its scores"),
    (
        &["-ctk", "--cache-type-k", "-ctv", "--cache-type-v"],
        "--kv f16 or --kv f32, for keys and values alike",
    ),
    (
        &["-hff", "--hf-file", "-mu", "--model-url"],
        "-hf OWNER/REPO:QUANT, `ember pull NAME` for a model of `ember models`, or -m with the path of a file",
    ),
    (&["-cnv", "--conversation", "-i", "--interactive", "-if", "--interactive-first"], "`ember chat`"),
    (&["-no-cnv", "--no-conversation"], "`ember run --raw`"),
    (&["-st", "--single-turn"], "`ember run -p TEXT`"),
    (&["--jinja", "--no-jinja"], "leave it out: chat templates are Jinja, always"),
    (&["-co", "--color"], "leave it out: a terminal has colours, unless NO_COLOR=1 is set"),
    (
        &["--mlock", "--mmap", "--no-mmap", "--numa"],
        "leave it out: the file is mapped on the CPU, and copied to a GPU once",
    ),
    (
        &["-e", "--escape", "--no-escape"],
        "leave it out: text is taken as it is, apart from \\n and \\t in --stop",
    ),
    (&["--lora-scaled", "--lora-base", "--lora-init-without-apply"], "--adapter PATH:SCALE"),
    (
        &["--presence-penalty", "--frequency-penalty"],
        "--repeat-penalty and --repeat-last-n, or --dry-multiplier",
    ),
    (
        &[
            "--mirostat",
            "--mirostat-lr",
            "--mirostat-ent",
            "--typical",
            "--tfs",
            "--xtc-probability",
            "--xtc-threshold",
            "--top-nsigma",
            "--top-n-sigma",
            "--dynatemp-range",
            "--samplers",
            "--sampling-seq",
            "-l",
            "--logit-bias",
        ],
        "--temp, --top-k, --top-p and --min-p",
    ),
    (
        &["--grammar", "--grammar-file", "-j", "--json-schema", "-jf", "--json-schema-file"],
        "say in the prompt what form the answer is to have: answers cannot be held to a grammar",
    ),
    (&["--dry-sequence-breaker"], "leave it out: repetitions end at control tokens and at line ends"),
    (&["--ignore-eos"], "leave it out: an answer ends where the model ends it, or after -n tokens"),
    (
        &["--keep", "--context-shift", "--no-context-shift"],
        "leave it out: a chat drops its oldest turns, a run ends with the context",
    ),
    (
        &["-sm", "--split-mode", "-ts", "--tensor-split", "-mg", "--main-gpu", "--override-tensor"],
        "--device with part of a GPU's name: a model runs on one device",
    ),
    (&["--reasoning-budget"], "--think off (instead of 0), or leave it out"),
    (&["--reasoning-format", "--reasoning"], "--thoughts apart, hide or inline"),
    (&["--chat-template-kwargs"], "--think on or --think off"),
    (&["--log-disable", "-lv", "--log-verbosity", "--verbosity"], "--quiet"),
    (&["--no-display-prompt", "--display-prompt", "--no-warmup", "--simple-io", "--no-perf"], "leave it out"),
    (&["-tb", "--threads-batch"], "-t, for prompts as for answers"),
    (&["--perplexity"], "`ember perplexity`"),
    (
        &["-p", "--prompt", "-f", "--file"],
        "`ember run` for a text; a chat takes what is typed or piped in, and --system",
    ),
    (
        &["--rope-scaling", "--rope-scale", "--rope-freq-base", "--rope-freq-scale", "--yarn-orig-ctx"],
        "leave it out: the model file says how its positions are scaled",
    ),
    (&["--in-prefix", "--in-suffix", "--in-prefix-bos"], "--chat-template FILE"),
    (&["--image", "--mmproj", "--audio"], "text: images and sound are not read"),
];

/// The command line in this program's own words.
pub fn translated(arguments: Vec<OsString>) -> Vec<OsString> {
    let mut text = false;
    let translate = |argument: OsString| {
        let same = SAME.iter().find(|(theirs, _)| !text && argument == *theirs);
        text = TEXTS.iter().any(|option| argument == *option);
        same.map_or(argument, |(_, ours)| (*ours).into())
    };
    arguments.into_iter().map(translate).collect()
}

/// A command line with one of these options of several letters behind one dash, which the parser would take for another
/// with a value.
pub fn misread(arguments: &[OsString]) -> Option<CliError> {
    let mut text = false;
    arguments.iter().skip(1).find_map(|argument| {
        let value = std::mem::replace(&mut text, TEXTS.iter().any(|option| argument == *option));
        let option = argument.to_str()?.split('=').next()?;
        let several = option.len() > 2 && !option.starts_with("--");
        if several && !value { instead_of(option) } else { None }
    })
}

/// What to do instead of an option that the parser does not know.
pub fn unknown(error: &clap::Error) -> Option<CliError> {
    match error.get(ContextKind::InvalidArg)? {
        ContextValue::String(option) if error.kind() == ErrorKind::UnknownArgument => instead_of(option),
        _ => None,
    }
}

fn instead_of(option: &str) -> Option<CliError> {
    let (_, instead) = OTHERS.iter().find(|(names, _)| names.contains(&option))?;
    Some(CliError::usage(format!("there is no `{option}` here")).advise(instead))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn other_names_become_ours_but_texts_stay() {
        let line = "ember run -ngl 99 -sys x -p -ngl -dev cpu";
        assert_eq!(
            translated(words(line)),
            words("ember run --gpu-layers 99 --system x -p -ngl --device cpu")
        );
    }

    #[test]
    fn what_is_not_there_comes_with_what_is() {
        let of = |line: &str| misread(&words(line)).map(|e| (e.what, e.advice.concat()));
        let (what, advice) = of("ember run -fa -p x").unwrap();
        assert!(what.contains("`-fa`") && advice.contains("leave it out"));
        assert!(of("ember run -ctk=f16 -p x").is_some());
        assert_eq!(of("ember tune sft --keep 0"), None, "the parser knows what a command has");
        assert_eq!(of("ember run -p -fa"), None);
        assert_eq!(of("ember run -p x --temp 1 -j 2"), None);
    }

    #[test]
    fn no_name_stands_twice() {
        let mut names: Vec<&str> = OTHERS.iter().flat_map(|(names, _)| names.iter().copied()).collect();
        names.extend(SAME.iter().map(|(theirs, _)| *theirs));
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
