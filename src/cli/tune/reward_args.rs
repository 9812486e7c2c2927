//! Rewards at the command line.

use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;

use crate::cli::args::{or, positive};
use crate::cli::error::{CliError, CliResult};
use crate::train::reward::{CommandOptions, Mix, RULES, RewardError, Rule, RuleKind};

/// What is rewarded.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Reward")]
pub struct RewardArgs {
    /// What is rewarded: rules, each with an argument and a weight.
    #[arg(
        help = "What is rewarded: RULE[:ARGUMENT][*WEIGHT]; several add up; --help-all lists the rules",
        long = "reward", value_name = "RULE", required = true, value_parser = rule, long_help = rules())]
    pub rewards: Vec<Rule>,
    /// Longest time a `command` may take for an answer.
    #[arg(help = or("Longest time a `command` may take for an answer", CommandOptions::default().timeout.as_secs()), long, value_name = "SECONDS", value_parser = seconds)]
    pub reward_timeout: Option<Duration>,
    /// Times that a `command` which fails is started again within a batch.
    #[arg(help = or("Times that a `command` which fails is started again within a batch", CommandOptions::default().restarts), long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=100))]
    pub reward_restarts: Option<u32>,
}

/// The rewards, ready to judge.
#[derive(Debug)]
pub struct ParsedRewards {
    /// Those that judge by themselves.
    pub mix: Mix,
    /// Adapters of reward models, as given, with their weights; they are evaluated on the trainer's engine.
    pub models: Vec<(String, f32)>,
}

impl RewardArgs {
    /// How commands are driven.
    fn commands(&self) -> CommandOptions {
        let defaults = CommandOptions::default();
        CommandOptions {
            timeout: self.reward_timeout.unwrap_or(defaults.timeout),
            restarts: self.reward_restarts.unwrap_or(defaults.restarts),
        }
    }

    /// Refuses options of commands where none is started.
    ///
    /// # Errors
    /// The option.
    pub fn check(&self) -> CliResult {
        let given = [
            ("--reward-timeout", self.reward_timeout.is_some()),
            ("--reward-restarts", self.reward_restarts.is_some()),
        ];
        let commands = self.rewards.iter().any(|rule| matches!(rule.kind, RuleKind::Command(..)));
        match given.iter().find(|(_, given)| *given) {
            Some((flag, _)) if !commands => {
                Err(CliError::usage(format!("{flag} has no effect: no --reward is a command"))
                    .advise("leave it out, or --reward command:PROGRAM"))
            }
            _ => Ok(()),
        }
    }

    /// Reads schemas and starts commands.
    ///
    /// # Errors
    /// Rewards that cannot judge, and weights that are all 0.
    pub fn build(&self) -> CliResult<ParsedRewards> {
        if self.rewards.iter().all(|rule| rule.weight == 0.0) {
            let failure = CliError::usage("every --reward has the weight 0: there is nothing to learn from");
            return Err(failure.advise("give one of them a weight, such as `--reward exact*1`"));
        }
        let options = self.commands();
        let mut parsed = ParsedRewards { mix: Mix::new(), models: Vec::new() };
        for rule in &self.rewards {
            match &rule.kind {
                RuleKind::Model(adapter) => parsed.models.push((adapter.clone(), weight(rule)?)),
                _ => parsed.mix.push(rule.reward(&options)?, rule.weight),
            }
        }
        Ok(parsed)
    }
}

fn weight(rule: &Rule) -> CliResult<f32> {
    let weight = rule.weight as f32;
    if weight.is_finite() {
        return Ok(weight);
    }
    Err(CliError::usage(format!("the weight {} of `{}` is too large", rule.weight, rule.name)))
}

fn rule(text: &str) -> Result<Rule, String> {
    text.parse::<Rule>().map_err(|error| match error {
        RewardError::Rule { why, .. } => why,
        other => other.to_string(),
    })
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = positive(text)?;
    Duration::try_from_secs_f32(seconds).map_err(|_| "is longer than can be waited".into())
}

/// The help of `--reward`.
fn rules() -> String {
    let mut help = String::from(
        "What is rewarded: RULE[:ARGUMENT][*WEIGHT]; several add up\n\n\
         `answer` is a column of the prompts' data: a text, a number, or a list of which one suffices. A weight of 0 only \
         reports, one below 0 is a penalty. An argument that ends with `*` and a number needs a weight of its own.\n\n",
    );
    for rule in RULES {
        // The example has a line of its own, so that it is not broken.
        let _ = writeln!(help, "{}: {}\n    --reward '{}'", rule.form, rule.says, rule.example);
    }
    help += "\nA command is started once through the shell. For each completion it reads a line of JSON ({\"prompt\", \
             \"completion\", \"row\", \"tokens\", \"truncated\"}) and answers with a line, a number or {\"reward\": NUMBER}; \
             examples/rewards has one. What a model writes before </think> counts for regex, length and command only.";
    help
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Parser, Debug)]
    struct Line {
        #[command(flatten)]
        reward: RewardArgs,
    }

    fn parse(words: &[&str]) -> Result<RewardArgs, String> {
        let line = Line::try_parse_from(["test"].iter().chain(words));
        line.map(|l| l.reward).map_err(|e| e.to_string())
    }

    #[test]
    fn rules_and_models_are_told_apart() {
        let words = ["--reward", "exact*2", "--reward", "model:judge.gguf*0.5", "--reward", "length:60*-1"];
        let parsed = parse(&words).unwrap().build().unwrap();
        let parts: Vec<(&str, f64)> = parsed.mix.parts().collect();
        assert_eq!(parts, [("exact", 2.0), ("length:60", -1.0)]);
        assert_eq!(parsed.models, [("judge.gguf".to_owned(), 0.5)]);
    }

    #[test]
    fn wrong_rewards_say_what_is_right() {
        for (words, says) in [
            (vec![], "--reward <RULE>"),
            (vec!["--reward", "exakt"], "known are exact"),
            (vec!["--reward", "exact", "--reward-timeout", "0"], "greater than 0"),
            (vec!["--reward", "exact", "--reward-timeout", "1e30"], "longer than"),
            (vec!["--reward", "exact", "--reward-restarts", "101"], "--reward-restarts"),
        ] {
            let refusal = parse(&words).unwrap_err();
            assert!(refusal.contains(says), "{words:?}: {refusal}");
        }
        let build = |rule: &str| parse(&["--reward", rule]).unwrap().build().unwrap_err();
        assert!(build("exact*0").what.contains("nothing to learn from"));
        assert!(build("model:x*1e300").what.contains("too large"));
        let missing = build("schema:/nowhere/x.json");
        assert!(missing.place.is_some_and(|place| place.contains("x.json")), "{}", missing.what);
    }

    #[test]
    fn time_and_restarts_reach_the_commands() {
        let args =
            parse(&["--reward", "exact", "--reward-timeout", "1.5", "--reward-restarts", "0"]).unwrap();
        let set = args.commands();
        assert_eq!((set.timeout, set.restarts), (Duration::from_millis(1500), 0));
        let defaults = parse(&["--reward", "exact"]).unwrap();
        assert_eq!(defaults.commands(), CommandOptions::default());
        // Where no command is started they would say nothing.
        assert!(args.check().unwrap_err().what.contains("--reward-timeout has no effect"));
        assert!(defaults.check().is_ok());
    }

    #[test]
    fn the_help_has_an_example_of_every_rule() {
        let help = Line::command().render_long_help().to_string();
        for rule in RULES {
            assert!(help.contains(&format!("--reward '{}'", rule.example)), "{help}");
        }
    }

    /// `scripts/setup` installs Python.
    #[cfg(unix)]
    #[test]
    fn the_example_program_judges() {
        use crate::train::reward::Completion;
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/rewards/plain_words.py");
        let mut parsed =
            parse(&["--reward", &format!("command:python3 '{script}'*2")]).unwrap().build().unwrap();
        let row = serde_json::Map::new();
        let of = |text| Completion { prompt: "", completion: text, row: &row, tokens: 9, truncated: false };
        let texts = ["A cat is a small pet.", "Extraordinary", "One. Two!", "…\n", "É bon chat \u{1f408}."];
        let scores = parsed.mix.score(&texts.map(of)).unwrap();
        assert_eq!(scores.total, [2.0, 0.0, 1.0, 0.0, 2.0]);
        assert_eq!(scores.silent, [1]);
    }
}
