//! What a training was given: `--config FILE` puts a file's settings before those of the command line, `--effort` puts what it
//! stands for before both, and what came of it is written beside the result as such a file.

use std::ffi::OsString;
use std::path::Path;
use std::sync::OnceLock;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};
use toml::{Table, Value};

use crate::cli::error::{CliError, CliResult};
use crate::cli::input::text_file;
use crate::cli::tune::effort::{self, Effort};

/// The command whose trainings these are.
const TUNE: &str = "tune";
/// Key of the objective in a file.
const OBJECTIVE: &str = "objective";
/// Options that say how a run is begun, not what it is.
const NOT_KEPT: [&str; 7] = ["config", "resume", "restart", "replace", "preview", "pause-at", "help-all"];

/// What this process was given, once its command line has been read: there is one.
static GIVEN: OnceLock<String> = OnceLock::new();

/// What this process was given to train with, as a file of settings.
pub fn recorded() -> Option<&'static str> {
    GIVEN.get().map(String::as_str)
}

/// A command line with the settings of its file and its effort, and what is to be said of them.
pub struct Expanded {
    /// The command line.
    pub arguments: Vec<OsString>,
    /// What --effort chose.
    pub said: Option<String>,
}

/// Puts the settings of `--config` and what `--effort` stands for where nothing was said.
///
/// # Errors
/// A file that cannot be read, or says what the objective does not know.
pub fn expanded(command: &Command, arguments: &[OsString]) -> CliResult<Expanded> {
    let as_it_is = || Expanded { arguments: arguments.to_vec(), said: None };
    let Some((objective, said)) = said(command, arguments) else { return Ok(as_it_is()) };
    let given = |arg: &Arg| said.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine);
    let config = match said.try_get_raw("config").ok().flatten().and_then(|mut values| values.next()) {
        Some(path) => settings(Path::new(path), objective)?,
        None => Vec::new(),
    };
    let config: Vec<_> = config.into_iter().filter(|(arg, _)| !given(arg)).collect();
    let mut more: Vec<OsString> = Vec::new();
    config.iter().for_each(|(_, words)| more.extend(words.iter().map(OsString::from)));
    let named = |long: &str| {
        objective.get_arguments().find(|arg| arg.get_long() == Some(long)).is_some_and(given)
            || config.iter().any(|(arg, _)| arg.get_long() == Some(long))
    };
    let in_file = config.iter().find(|(arg, _)| arg.get_long() == Some("effort"));
    let effort = match in_file.and_then(|(_, words)| words.first()) {
        Some(word) => word.strip_prefix("--effort=").map(Effort::parse),
        None => said.try_get_one::<Effort>("effort").ok().flatten().map(|effort| Some(*effort)),
    };
    let has = |long: &str| objective.get_arguments().any(|arg| arg.get_long() == Some(long));
    let effort = effort.flatten().unwrap_or_default();
    let chosen = effort::chosen(effort, &|long| has(long) && !named(long), &named);
    let mut all = arguments[..3].to_vec();
    all.extend(chosen.iter().map(OsString::from));
    all.extend(more);
    all.extend_from_slice(&arguments[3..]);
    Ok(Expanded { arguments: all, said: effort.in_words(&chosen) })
}

/// The objective of a training, and what its command line says by itself. Nothing where it cannot be read, which its reader
/// will say.
fn said<'c>(command: &'c Command, arguments: &[OsString]) -> Option<(&'c Command, ArgMatches)> {
    let word = |index: usize| arguments.get(index).and_then(|word| word.to_str());
    let tune = command.find_subcommand(TUNE).filter(|_| word(1) == Some(TUNE))?;
    let objective = tune.find_subcommand(word(2)?)?;
    let lenient = objective.clone().mut_args(|arg| arg.required(false));
    let matches = lenient.try_get_matches_from(&arguments[2..]).ok()?;
    Some((objective, matches))
}

/// The settings of a file, as options of an objective.
fn settings<'c>(path: &Path, objective: &'c Command) -> CliResult<Vec<(&'c Arg, Vec<String>)>> {
    let bad = |what: String| CliError::failed(what).at(path.display());
    let table: Table = text_file(path)?.parse().map_err(|e: toml::de::Error| bad(e.to_string()))?;
    let mut all = Vec::new();
    for (key, value) in &table {
        if key == OBJECTIVE {
            if value.as_str() != Some(objective.get_name()) {
                let other = value.as_str().unwrap_or("?");
                return Err(bad(format!("it is of `tune {other}`, not of `tune {}`", objective.get_name()))
                    .advise(format!("`ember tune {other} --config {}`", path.display())));
            }
            continue;
        }
        let is = |arg: &&Arg| {
            let aliases = arg.get_all_aliases().unwrap_or_default();
            arg.get_long() == Some(key) || aliases.contains(&key.as_str())
        };
        let known = objective.get_arguments().filter(|_| !NOT_KEPT.contains(&key.as_str())).find(is);
        let Some(arg) = known else {
            return Err(bad(format!("there is no setting `{key}`")).advise(format!(
                "an option of `ember tune {} --help-all`, without its dashes",
                objective.get_name()
            )));
        };
        all.push((arg, words(arg, value).map_err(|why| bad(format!("`{key}` {why}")))?));
    }
    Ok(all)
}

/// A setting as it stands on a command line.
fn words(arg: &Arg, value: &Value) -> Result<Vec<String>, String> {
    let long = arg.get_long().unwrap_or_default();
    let with = |text: String| format!("--{long}={text}");
    let takes = arg.get_action().takes_values();
    Ok(match value {
        Value::Boolean(on) if !takes => on.then(|| format!("--{long}")).into_iter().collect(),
        _ if !takes => return Err("is true or false".into()),
        Value::String(text) => vec![with(text.clone())],
        Value::Integer(number) => vec![with(number.to_string())],
        Value::Float(number) => vec![with(number.to_string())],
        Value::Array(list) => {
            let each: Result<Vec<Vec<String>>, String> = list.iter().map(|value| words(arg, value)).collect();
            each?.concat()
        }
        _ => return Err("is a text, a number, or a list of them".into()),
    })
}

/// Keeps what a training was given, for [`recorded`].
pub fn keep(command: &Command, matches: &ArgMatches) {
    let Some((TUNE, tune)) = matches.subcommand() else { return };
    let Some((name, given)) = tune.subcommand() else { return };
    let objective = command.find_subcommand(TUNE).and_then(|tune| tune.find_subcommand(name));
    if let Some(text) = objective.and_then(|objective| as_toml(objective, given)) {
        // There is one command line.
        let _ = GIVEN.set(text);
    }
}

/// The options that were given, as a file of settings. None if one is no text.
fn as_toml(objective: &Command, given: &ArgMatches) -> Option<String> {
    let name = objective.get_name();
    let mut text = format!("# ember tune {name} --config FILE\n{OBJECTIVE} = \"{name}\"\n");
    for arg in objective.get_arguments() {
        let (id, Some(long)) = (arg.get_id().as_str(), arg.get_long()) else { continue };
        let unsaid = matches!(given.value_source(id), None | Some(ValueSource::DefaultValue));
        if unsaid || NOT_KEPT.contains(&long) {
            continue;
        }
        let values: Option<Vec<String>> =
            given.get_raw(id)?.map(|value| value.to_str().map(as_value)).collect();
        let values = values?;
        text += &match values.as_slice() {
            _ if !arg.get_action().takes_values() => format!("{long} = true\n"),
            [one] if arg.get_num_args().is_none_or(|n| n.max_values() <= 1) => format!("{long} = {one}\n"),
            all => format!("{long} = [{}]\n", all.join(", ")),
        };
    }
    Some(text)
}

/// A text as a value of TOML: a number where it is one and is written as one.
fn as_value(text: &str) -> String {
    let number = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'e' | b'+'));
    let same = |value: &Value| match value {
        Value::Integer(n) => n.to_string() == text,
        Value::Float(n) => n.is_finite(),
        _ => false,
    };
    let parsed = format!("x = {text}").parse::<Table>().ok();
    if number && parsed.as_ref().and_then(|table| table.get("x")).is_some_and(same) {
        return text.to_owned();
    }
    // JSON's escapes are TOML's, but that TOML wants one more.
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(words: &str) -> Vec<OsString> {
        words.split(' ').map(OsString::from).collect()
    }

    fn expand(words: &str) -> Result<String, CliError> {
        let expanded = expanded(&crate::cli::command(), &line(words))?;
        let words: Vec<_> = expanded.arguments.iter().map(|w| w.to_string_lossy().into_owned()).collect();
        Ok(words.join(" "))
    }

    fn file(text: &str) -> (tempfile::TempDir, String) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.toml");
        std::fs::write(&path, text).unwrap();
        let path = path.display().to_string();
        (dir, path)
    }

    #[test]
    fn the_command_line_decides_over_the_file() {
        let (_dir, path) =
            file("data = [\"a.jsonl\", \"b.jsonl\"]\nlr = 1e-4\nrank = 4\npack = true\nfull = false\n");
        let given = format!("ember tune sft --config {path}");
        assert_eq!(
            expand(&given).unwrap(),
            format!(
                "ember tune sft --data=a.jsonl --data=b.jsonl --lr=0.0001 --pack --rank=4 --config {path}"
            )
        );
        assert_eq!(
            expand(&format!("{given} --lr 1 --data c.jsonl")).unwrap(),
            format!("ember tune sft --pack --rank=4 --config {path} --lr 1 --data c.jsonl")
        );
    }

    #[test]
    fn a_file_of_something_else_is_refused() {
        for (text, says) in [
            ("objective = \"dpo\"\n", "it is of `tune dpo`"),
            ("speed = 3\n", "no setting `speed`"),
            ("resume = true\n", "no setting `resume`"),
            ("pack = 3\n", "`pack` is true or false"),
            ("lr = {a = 1}\n", "`lr` is a text"),
            ("lr = \n", "TOML"),
        ] {
            let (_dir, path) = file(text);
            let error = expand(&format!("ember tune sft --config {path}")).unwrap_err();
            assert!(error.what.contains(says) && error.place == Some(path), "{text}: {error}");
        }
        assert!(expand("ember tune sft --config nowhere.toml").unwrap_err().what.contains("no such file"));
    }

    #[test]
    fn effort_sets_what_nobody_set() {
        assert_eq!(expand("ember tune sft --data x").unwrap(), "ember tune sft --data x");
        let thorough = expand("ember tune sft --data x --effort thorough").unwrap();
        assert!(thorough.contains("--rank=32") && thorough.contains("--schedule=cosine"), "{thorough}");
        let own = expand("ember tune sft --data x --effort thorough --rank 4").unwrap();
        assert!(!own.contains("--rank=") && own.contains("--schedule=cosine"), "{own}");
        for given in ["--full", "--from a.gguf"] {
            let line = expand(&format!("ember tune sft --data x --effort light {given}")).unwrap();
            assert!(!line.contains("--rank="), "{line}");
        }
        let (_dir, path) = file("effort = \"light\"\nschedule = \"wsd\"\n");
        let line = expand(&format!("ember tune dpo --data x --config {path}")).unwrap();
        assert!(line.contains("--rank=8") && line.contains("--schedule=wsd"), "{line}");
    }

    #[test]
    fn other_command_lines_stay_as_they_are() {
        for words in [
            "ember",
            "ember run -p tune",
            "ember tune",
            "ember tune nothing --config x",
            "ember tune sft --lr",
        ] {
            assert_eq!(expand(words).unwrap(), words);
        }
    }

    #[test]
    fn what_is_written_asks_for_the_same() {
        let command = crate::cli::command();
        let mut words = line("ember tune sft --data a.jsonl --lr 5e-4 --pack --stop");
        words.truncate(8);
        words.extend(
            ["--system", "say \"hi\"\n\u{7f}", "--targets", "q,k", "--seed", "007", "-o", "m", "--resume"]
                .map(Into::into),
        );
        let matches = command.clone().try_get_matches_from(&words).unwrap();
        let objective = command.find_subcommand("tune").unwrap().find_subcommand("sft").unwrap();
        let given = |m: &ArgMatches| m.subcommand().unwrap().1.subcommand().unwrap().1.clone();
        let text = as_toml(objective, &given(&matches)).unwrap();
        assert!(text.contains("lr = 5e-4") && text.contains("seed = \"007\""), "{text}");
        assert!(text.contains("targets = [\"q\", \"k\"]") && !text.contains("resume"), "{text}");
        let (_dir, path) = file(&text);
        let again = expanded(&command, &line(&format!("ember tune sft --config {path}"))).unwrap();
        let again = command.clone().try_get_matches_from(&again.arguments).unwrap();
        // A number is the same however it is written.
        let same = text.replace("5e-4", "0.0005");
        assert_eq!(as_toml(objective, &given(&again)).unwrap(), same);
    }
}
