//! What the stages of a model made, in one table:
//! `from_scratch_table answers EVAL.json > rows.jsonl` makes rows for `ember score` of what `ember eval --json --show` printed;
//! `from_scratch_table table NAME EVAL.json SCORES.jsonl [NAME EVAL.json SCORES.jsonl]...` prints a line for each stage: the
//! loss of the right answers, how many answers are exactly right, and the mean reward of all of them.
use std::collections::BTreeMap;
use std::error::Error;
use std::fs::read_to_string;

use serde_json::{Value, json};

type Outcome<T> = Result<T, Box<dyn Error>>;

const USAGE: &str = "usage: from_scratch_table answers EVAL.json\n       \
    from_scratch_table table NAME EVAL.json SCORES.jsonl [NAME EVAL.json SCORES.jsonl]...";

fn read(path: &str) -> Outcome<Value> {
    let text = read_to_string(path).map_err(|e| format!("{path}: {e}"))?;
    Ok(serde_json::from_str(&text).map_err(|e| format!("{path}: {e}"))?)
}

/// Questions with the answers that a model gave.
fn answers(eval: &Value) -> Outcome<Vec<Value>> {
    let all =
        eval["answers"].as_array().ok_or("there are no answers; give `ember eval` --json and --show N")?;
    let row = |case: &Value| {
        // An empty answer is none to judge; what comes nearest is a stop.
        let said = case["base"]["answer"].as_str().filter(|said| !said.is_empty()).unwrap_or(".");
        json!({ "prompt": case["question"], "completion": said })
    };
    Ok(all.iter().map(row).collect())
}

/// How many answers are right, by what the right one begins with: its action.
fn by_action(eval: &Value) -> Counts {
    let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for case in eval["answers"].as_array().into_iter().flatten() {
        let action = case["expected"][0].as_str().and_then(|text| text.split('"').nth(3)).unwrap_or("?");
        let count = counts.entry(action.to_owned()).or_default();
        count.0 += usize::from(case["base"]["right"] == true);
        count.1 += 1;
    }
    counts
}

fn mean_reward(path: &str) -> Outcome<f64> {
    let text = read_to_string(path).map_err(|e| format!("{path}: {e}"))?;
    let rewards = text.lines().map(serde_json::from_str::<Value>).collect::<Result<Vec<_>, _>>()?;
    let rewards: Vec<f64> = rewards.iter().filter_map(|row| row["reward"].as_f64()).collect();
    if rewards.is_empty() {
        return Err(format!("{path}: there are no rewards").into());
    }
    Ok(rewards.iter().sum::<f64>() / rewards.len() as f64)
}

fn table(stages: &[&[String]]) -> Outcome<()> {
    println!("| stage | loss of the right answer | exactly right | mean reward |");
    println!("|---|---|---|---|");
    let mut actions: Vec<(String, Counts)> = Vec::new();
    for stage in stages {
        let [name, eval, scores] = stage else { return Err(USAGE.into()) };
        let eval = read(eval)?;
        let loss = eval["base"]["reply"]["mean_nll"].as_f64();
        let (right, of) = (&eval["base"]["exact"]["right"], &eval["base"]["exact"]["of"]);
        let share = eval["base"]["exact"]["share"].as_f64().ok_or("no answer was compared")?;
        let loss = loss.map_or_else(|| "-".to_owned(), |loss| format!("{loss:.4}"));
        let reward = mean_reward(scores)?;
        println!("| {name} | {loss} | {right} of {of} ({:.1}%) | {reward:.3} |", share * 100.0);
        actions.push((name.clone(), by_action(&eval)));
    }
    println!("\n| action | {} |\n|---|{}", names(&actions), "---|".repeat(actions.len()));
    for action in actions.first().map(|(_, counts)| counts.keys()).into_iter().flatten() {
        let count = |(_, counts): &(String, Counts)| {
            counts.get(action).map_or_else(|| "-".to_owned(), |(right, of)| format!("{right}/{of}"))
        };
        println!("| {action} | {} |", actions.iter().map(count).collect::<Vec<_>>().join(" | "));
    }
    Ok(())
}

/// Right answers and questions of each action.
type Counts = BTreeMap<String, (usize, usize)>;

fn names(actions: &[(String, Counts)]) -> String {
    actions.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(" | ")
}

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.split_first() {
        Some((what, [eval])) if what == "answers" => {
            answers(&read(eval)?)?.iter().for_each(|row| println!("{row}"));
            Ok(())
        }
        Some((what, stages)) if what == "table" && !stages.is_empty() => {
            table(&stages.chunks(3).collect::<Vec<_>>())
        }
        _ => Err(USAGE.into()),
    }
}
