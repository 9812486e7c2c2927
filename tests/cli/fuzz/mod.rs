//! Random command lines made of real flags with odd values: none panics, is killed by a signal or cannot be stopped, and no
//! file that was there before is gone or changed, unless an option said so.
//!
//! `EMBER_FUZZ=10000` sets how many (`scripts/test fuzz` does), `EMBER_FUZZ_SEED` where they begin.

mod line;
mod place;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use line::{Lines, Random};
use place::Place;

/// Of an ordinary test run.
const FEW: u64 = 300;
/// After so many a new place is made, as what commands write piles up.
const IN_A_PLACE: u64 = 150;
/// After this a command is asked to stop, as Ctrl-C does.
const PATIENCE: Duration = Duration::from_secs(6);
/// And after this it is said not to.
const STOPPING: Duration = Duration::from_secs(30);
/// Failures after which no more are looked for.
const MOST: usize = 20;

/// A number that the environment may set.
pub fn from_env(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn random_command_lines_do_no_harm() {
    let (count, seed) = (from_env("EMBER_FUZZ", FEW), from_env("EMBER_FUZZ_SEED", 20_261_129));
    let lines = Lines::new();
    let mut failures = Vec::new();
    let mut codes = std::collections::BTreeMap::new();
    let mut place = Place::new();
    let begun = Instant::now();
    for number in 0..count {
        if number > 0 && number.is_multiple_of(IN_A_PLACE) {
            place = Place::new();
        }
        let mut random = Random::new(seed.wrapping_add(number));
        let args = lines.random(&mut random);
        let said = if random.below(4) == 0 { line::conversation(&mut random) } else { String::new() };
        let before = place.look();
        let outcome = run(&place, &args, &said);
        let harm = outcome.harm.or_else(|| place.harm(&before, &args, outcome.stopped));
        *codes.entry(outcome.code).or_insert(0u64) += 1;
        if outcome.stopped || std::env::var_os("EMBER_FUZZ_SHOW").is_some() {
            eprintln!("{number}: {} by ember {}", outcome.code, shown(&args));
        }
        if let Some(harm) = harm {
            failures.push(format!("{number}: ember {}\n  {harm}", shown(&args)));
            place = Place::new();
        }
        if failures.len() >= MOST {
            break;
        }
        if number % 500 == 499 {
            eprintln!(
                "{} of {count}, {:.0} s, exit codes {codes:?}",
                number + 1,
                begun.elapsed().as_secs_f64()
            );
        }
    }
    println!("{count} command lines from seed {seed}: exit codes {codes:?}");
    assert!(failures.is_empty(), "{} command lines did harm:\n{}", failures.len(), failures.join("\n"));
    // Commands that do something were among them.
    assert!(codes.get(&0).is_some_and(|done| *done * 20 > count), "{codes:?}");
}

fn shown(args: &[std::ffi::OsString]) -> String {
    args.iter().map(|arg| format!("{arg:?}")).collect::<Vec<_>>().join(" ")
}

struct Outcome {
    code: i32,
    stopped: bool,
    harm: Option<String>,
}

/// Runs a command line, stops it as Ctrl-C does if it takes long, and tells what harm it did to itself.
fn run(place: &Place, args: &[std::ffi::OsString], said: &str) -> Outcome {
    let (out, err, input) = (place.log("out"), place.log("err"), place.log("in"));
    std::fs::write(&input, said).unwrap();
    let file = |path| std::fs::File::create(path).unwrap();
    let mut command = place.command();
    command.args(args).stdin(std::fs::File::open(&input).unwrap()).stdout(file(&out)).stderr(file(&err));
    let mut child = command.spawn().unwrap();
    let begun = Instant::now();
    let mut pressed = Duration::ZERO;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        let took = begun.elapsed();
        if took > PATIENCE + STOPPING {
            child.kill().unwrap();
            child.wait().unwrap();
            break None;
        }
        if took > PATIENCE && took > pressed + Duration::from_secs(4) {
            pressed = took;
            interrupt(child.id());
        }
        std::thread::sleep(Duration::from_millis(if took < Duration::from_millis(100) { 2 } else { 10 }));
    };
    let text = |path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
    let err = text(&err);
    let tail = || err.chars().rev().take(600).collect::<Vec<_>>().into_iter().rev().collect::<String>();
    let code = status.and_then(|status| status.code()).unwrap_or(-1);
    let harm = if status.is_none() {
        Some(format!("does not stop when it is asked to: {}", tail()))
    } else if err.contains("panicked") || code == 101 {
        Some(format!("panicked: {}", tail()))
    } else if ![0, 1, 2, 130].contains(&code) {
        Some(format!("ended with {status:?}: {}", tail()))
    } else if code != 0 && code != 130 && err.trim().is_empty() {
        Some(format!("failed with {code} and says nothing"))
    } else {
        None
    };
    Outcome { code, stopped: pressed > Duration::ZERO, harm }
}

fn interrupt(process: u32) {
    let _ = Command::new("kill").args(["-INT", &process.to_string()]).stderr(Stdio::null()).status();
}
