//! Rewards that are given as one string each: `RULE[:ARGUMENT][*WEIGHT]`.

use std::path::PathBuf;
use std::str::FromStr;

use regex::Regex;

use super::error::shorten;
use super::json::Scope;
use super::{CommandOptions, CommandReward, Completion, Reward, RewardError, json, number, words};
use crate::train::data::{Match, normalized};

/// A reward as it is written: `RULE[:ARGUMENT][*WEIGHT]`. The weight is what follows the last `*` if that is a plain
/// number right behind it, so an argument that ends like this needs a weight of its own: `regex:^\d*2*1`.
#[derive(Clone, Debug)]
pub struct Rule {
    /// As it was given, without the weight.
    pub name: String,
    /// How often it counts, 1 unless given; 0 only reports it, below 0 it is a penalty.
    pub weight: f64,
    /// What it rewards.
    pub kind: RuleKind,
}

/// What a rule rewards, each from 0 to 1. All but `Regex`, `Length` and `Command` judge what comes after the last
/// `</think>`; `None` as the text stands for the row's column `answer` (a text, a number, or a list of which one suffices),
/// and a row that has none gets nothing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum RuleKind {
    /// `regex:PATTERN`: the pattern matches somewhere.
    Regex(Regex),
    /// `exact[:TEXT]`: equal but for case, white space and final punctuation.
    Exact(Option<String>),
    /// `contains[:TEXT]`: contained, compared likewise.
    Contains(Option<String>),
    /// `not-contains:TEXT`: not contained, compared likewise.
    NotContains(String),
    /// `f1[:TEXT]`: the F1 score of the words in common.
    F1(Option<String>),
    /// `numeric[:NUMBER]`: the last number is equal, within one part in a million.
    Numeric(Option<f64>),
    /// `length:MAX`, `length:MIN-MAX`: the number of tokens; below MIN its share of it, above MAX falling to 0 at twice MAX.
    Length {
        /// Fewest tokens of a full reward.
        min: usize,
        /// Most tokens of a full reward.
        max: usize,
    },
    /// `json[:KEY,KEY]`, `fenced-json`: a JSON value, or an object with these keys, and nothing else but white space.
    Json(Scope, Vec<String>),
    /// `json-parts:KEY,KEY`, `fenced-json-parts`: partial credit on the way to such an object; where a fence is wanted and
    /// there is none, half of what the text gets without.
    JsonParts(Scope, Vec<String>),
    /// `schema:FILE`, `fenced-schema`: JSON that a JSON schema accepts.
    Schema(Scope, PathBuf),
    /// `command:PROGRAM ARGUMENTS`: what a program answers; see [`CommandReward`].
    Command(String),
    /// `model:ADAPTER`: a reward model's score. The trainer computes it on its own engine.
    Model(String),
}

impl RuleKind {
    /// Whether it compares with the row's column `answer`.
    pub fn compares_with_answer(&self) -> bool {
        use RuleKind::{Contains, Exact, F1, Numeric};
        matches!(self, Exact(None) | Contains(None) | F1(None) | Numeric(None))
    }
}

/// A rule's entry in a help text.
#[derive(Clone, Copy, Debug)]
pub struct RuleHelp {
    /// Its form.
    pub form: &'static str,
    /// One use of it.
    pub example: &'static str,
    /// What it rewards.
    pub says: &'static str,
}

const fn help(form: &'static str, example: &'static str, says: &'static str) -> RuleHelp {
    RuleHelp { form, example, says }
}

/// All rules.
pub const RULES: &[RuleHelp] = &[
    help("exact[:TEXT]", "exact", "equals the row's `answer`, but for case and final punctuation"),
    help("contains[:TEXT]", "contains:thank you", "contains the row's `answer` or TEXT"),
    help("not-contains:TEXT", "not-contains:as an AI", "does not contain TEXT"),
    help("f1[:TEXT]", "f1", "words in common with the row's `answer`, from 0 to 1"),
    help("numeric[:NUMBER]", "numeric", "the last number equals that of the row's `answer`"),
    help("regex:PATTERN", r"regex:^\w+\.$", "PATTERN matches somewhere"),
    help("length:[MIN-]MAX", "length:20-60", "tokens; falls to 0 at none and at twice MAX"),
    help("json[:KEY,KEY]", "json:name,age", "is JSON and nothing else: any, or an object with the keys"),
    help(
        "json-parts:KEY,KEY",
        "json-parts:name,age",
        "partial credit on the way there, to learn from at first",
    ),
    help("schema:FILE", "schema:person.schema.json", "is JSON that a JSON schema accepts"),
    help("fenced-json, fenced-…", "fenced-json:name", "the last three, for what is in the first ``` block"),
    help("command:PROGRAM", "command:python3 judge.py", "a program's answers: JSON lines in, numbers out"),
    help("model:ADAPTER", "model:judge.gguf", "the score of a reward model's adapter"),
];

const NAMES: &str = "exact, contains, not-contains, f1, numeric, regex, length, json, json-parts, schema, fenced-json, \
                     fenced-json-parts, fenced-schema, command and model";

impl FromStr for Rule {
    type Err = RewardError;

    fn from_str(text: &str) -> Result<Self, RewardError> {
        parse(text).map_err(|why| RewardError::Rule { rule: shorten(text, 80), why })
    }
}

fn parse(text: &str) -> Result<Rule, String> {
    let (rest, weight) = cut_weight(text)?;
    let (name, argument) = match rest.split_once(':') {
        Some((name, argument)) => (name.trim(), Some(argument)),
        None => (rest.trim(), None),
    };
    if argument.is_some_and(|argument| argument.trim().is_empty()) {
        return Err("there is nothing after the colon".into());
    }
    Ok(Rule { name: rest.trim().to_owned(), weight, kind: kind(name, argument)? })
}

/// Cuts `*WEIGHT` off.
fn cut_weight(text: &str) -> Result<(&str, f64), String> {
    let Some((rest, number)) = text.trim_end().rsplit_once('*') else { return Ok((text, 1.0)) };
    let is_number = number.contains(|c: char| c.is_ascii_digit())
        && number.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '.' | '+' | '-'))
        && number.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | '+' | '-' | 'e' | 'E'));
    match number.parse::<f64>() {
        Ok(weight) if is_number && weight.is_finite() => Ok((rest, weight)),
        Ok(_) if is_number => Err(format!("the weight {number} is too large")),
        _ if text.contains(':') => Ok((text, 1.0)),
        _ => Err(format!("`{}` is no weight; write a number behind `*`", shorten(number, 20))),
    }
}

fn kind(name: &str, argument: Option<&str>) -> Result<RuleKind, String> {
    let need = |what: &str, example: &str| {
        argument.ok_or_else(|| format!("it needs {what}, such as `{name}:{example}`"))
    };
    let (part, plain) = match name.strip_prefix("fenced-") {
        Some(plain) => (Scope::Fenced, plain),
        None => (Scope::Whole, name),
    };
    Ok(match plain {
        "json" => RuleKind::Json(part, argument.map(keys).transpose()?.unwrap_or_default()),
        "json-parts" => RuleKind::JsonParts(part, keys(need("the keys of an object", "name,age")?)?),
        "schema" => RuleKind::Schema(part, need("a file", "person.schema.json")?.trim().into()),
        _ if part == Scope::Fenced => return Err(unknown()),
        "regex" => RuleKind::Regex(words::pattern(need("a pattern", "^yes")?)?),
        "exact" => RuleKind::Exact(argument.map(comparable).transpose()?),
        "contains" => RuleKind::Contains(argument.map(comparable).transpose()?),
        "not-contains" => RuleKind::NotContains(comparable(need("a text", "as an AI")?)?),
        "f1" => RuleKind::F1(argument.map(comparable).transpose()?),
        "numeric" => RuleKind::Numeric(argument.map(own_number).transpose()?),
        "length" => length(need("a number of tokens", "60")?)?,
        "command" => RuleKind::Command(need("a program", "python3 judge.py")?.trim().to_owned()),
        "model" => RuleKind::Model(need("an adapter", "judge.gguf")?.trim().to_owned()),
        _ => return Err(unknown()),
    })
}

fn unknown() -> String {
    format!("there is no such rule; known are {NAMES}")
}

/// A text that is something after normalization.
fn comparable(text: &str) -> Result<String, String> {
    if normalized(text).is_empty() {
        return Err("its text has no letters or digits to compare; use `regex` for punctuation".into());
    }
    Ok(text.to_owned())
}

fn own_number(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => Err(format!("`{}` is not a number", shorten(text.trim(), 40))),
    }
}

fn keys(list: &str) -> Result<Vec<String>, String> {
    let mut keys: Vec<String> = Vec::new();
    for key in list.split(',').map(str::trim) {
        if key.is_empty() {
            return Err("a key is empty; write them as `name,age`".into());
        }
        if !keys.iter().any(|known| known == key) {
            keys.push(key.to_owned());
        }
    }
    Ok(keys)
}

/// `MAX` or `MIN-MAX`, in tokens.
fn length(text: &str) -> Result<RuleKind, String> {
    let tokens = |text: &str| {
        let parsed = text.trim().parse::<u32>();
        parsed.map_err(|_| {
            format!("`{}` is not a number of tokens; write MAX or MIN-MAX", shorten(text.trim(), 40))
        })
    };
    let (min, max) = match text.split_once('-') {
        Some((min, max)) => (tokens(min)?, tokens(max)?),
        None => (0, tokens(text)?),
    };
    if max == 0 || min > max {
        return Err(format!("no completion has from {min} to {max} tokens"));
    }
    Ok(RuleKind::Length { min: min as usize, max: max as usize })
}

/// What a rule comes down to.
type Judge = Box<dyn Fn(&Completion<'_>) -> Option<f64> + Send>;

impl Rule {
    /// The reward: reads the schema, starts the command.
    ///
    /// # Errors
    /// A schema or a command that cannot be used, and [`RuleKind::Model`], which is no reward that can judge by itself.
    pub fn reward(&self, options: &CommandOptions) -> Result<Box<dyn Reward>, RewardError> {
        if let RuleKind::Command(line) = &self.kind {
            return Ok(Box::new(CommandReward::start(line, *options)?));
        }
        Ok(Box::new(Judged { name: self.name.clone(), judge: self.judge()? }))
    }

    fn judge(&self) -> Result<Judge, RewardError> {
        let yes = |yes: bool| f64::from(u8::from(yes));
        Ok(match self.kind.clone() {
            RuleKind::Regex(pattern) => Box::new(move |c| Some(yes(pattern.is_match(c.completion)))),
            RuleKind::Exact(own) => Box::new(move |c| words::matches(c, own.as_deref(), Match::Exact)),
            RuleKind::Contains(own) => Box::new(move |c| words::matches(c, own.as_deref(), Match::Contains)),
            RuleKind::NotContains(text) => {
                Box::new(move |c| words::matches(c, Some(&text), Match::Contains).map(|found| 1.0 - found))
            }
            RuleKind::F1(own) => Box::new(move |c| words::f1(c, own.as_deref())),
            RuleKind::Numeric(own) => Box::new(move |c| number::numeric(c, own)),
            RuleKind::Length { min, max } => Box::new(move |c| Some(words::length(c.tokens, min, max))),
            RuleKind::Json(part, keys) => {
                Box::new(move |c| Some(yes(part.of(c.said()).is_some_and(|text| json::valid(text, &keys)))))
            }
            RuleKind::JsonParts(part, keys) => Box::new(move |c| Some(json::parts_of(c.said(), part, &keys))),
            RuleKind::Schema(part, path) => schema(part, &path)?,
            RuleKind::Command(_) | RuleKind::Model(_) => return Err(self.not_here()),
        })
    }

    fn not_here(&self) -> RewardError {
        let why = "it is not judged by itself; the trainer evaluates reward models on its engine".to_owned();
        RewardError::Rule { rule: shorten(&self.name, 80), why }
    }
}

#[cfg(feature = "schema")]
fn schema(part: Scope, path: &std::path::Path) -> Result<Judge, RewardError> {
    let schema = super::schema::read(path)?;
    Ok(Box::new(move |c| {
        let accepted = part.of(c.said()).is_some_and(|text| super::schema::accepts(&schema, text));
        Some(f64::from(u8::from(accepted)))
    }))
}

#[cfg(not(feature = "schema"))]
fn schema(_: Scope, path: &std::path::Path) -> Result<Judge, RewardError> {
    let why = "this build reads no JSON schemas; build it with the feature `schema`".to_owned();
    Err(RewardError::Schema { path: path.to_owned(), why })
}

/// A built-in rule as a reward.
struct Judged {
    name: String,
    judge: Judge,
}

impl Reward for Judged {
    fn name(&self) -> &str {
        &self.name
    }

    fn rewards(&mut self, batch: &[Completion<'_>]) -> Result<Vec<Option<f64>>, RewardError> {
        Ok(batch.iter().map(&self.judge).collect())
    }
}
