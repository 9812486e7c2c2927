//! Fine-tuning at the command line.

pub mod args;
pub mod bench;
pub mod curve;
pub(crate) mod differences;
pub(crate) mod drive;
pub mod effort;
pub mod files;
pub(crate) mod identity;
pub(crate) mod keep;
pub mod plan;
pub mod plan_data;
mod prefer;
pub mod preview;
pub mod reward_args;
mod rl;
pub mod samples;
mod sft;
pub mod shared;
pub(crate) mod steps;

use clap::{Args, Subcommand};

use crate::cli::args::shown;
use crate::cli::error::CliResult;
use crate::train::objective::{Ipo, Orpo, Ppo, Rloo, SimPo};
use crate::train::rl::{Method, RlOptions};

/// Help of the learning rate where it differs from that of `sft`.
const LR: &str = "Learning rate; adapters learn best at about ten times that of --full";

fn rloo() -> RlOptions {
    RlOptions::of(Method::Rloo(Rloo::default()))
}

fn ppo() -> RlOptions {
    RlOptions::of(Method::Ppo(Ppo::default()))
}

/// Fine-tune a model on this machine
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  ember tune sft --data examples.jsonl -o mine\n  \
    ember tune dpo --data pairs.jsonl --from mine.gguf -o better\n  \
    ember tune reward --data pairs.jsonl --val 0.1 -o judge\n  \
    ember tune grpo --prompts questions.jsonl --reward exact -o right\n\
    `ember tune OBJECTIVE --help` has the rest.")]
pub struct TuneArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Clone, Debug)]
enum What {
    Sft(Box<sft::SftArgs>),
    /// Prefer answers over others (direct preference optimization)
    ///
    /// DATA is JSONL of `prompt`, `chosen` and `rejected`, strings or lists of messages, or of `chosen` and `rejected`
    /// alone, as conversations with the same beginning. What is learnt is to make the better answer likelier than the
    /// worse one, measured against the model as it was (Rafailov et al. 2023).
    #[command(
        mut_arg("lr", |a| a.default_value("5e-5").help(LR)),
        after_help = "Examples:\n  ember tune dpo --data pairs.jsonl -o better\n  \
            ember tune dpo --data pairs.jsonl --from mine.gguf --val 0.1 --beta 0.3 --sft 0.1 -o better"
    )]
    Dpo(Box<prefer::ReferredArgs>),
    /// Prefer answers over others, by a set amount (identity preference optimization)
    ///
    /// As `dpo`, but the better answer is to be ahead by 1/(2 beta) a token and no more, so that pairs that are already
    /// told apart do not drive it on (Azar et al. 2023).
    #[command(
        mut_arg("lr", |a| a.default_value("5e-5").help(LR)),
        mut_arg("beta", |a| a.default_value(shown(Ipo::default().beta))),
        after_help = "Example:\n  ember tune ipo --data pairs.jsonl -o better"
    )]
    Ipo(Box<prefer::ReferredArgs>),
    /// Learn the better answers, and prefer them (odds ratio preference optimization)
    ///
    /// As `dpo`, but without a reference: the better answer is learnt as in `sft`, and its odds against the worse one's
    /// are raised (Hong et al. 2024).
    #[command(
        mut_arg("lr", |a| a.default_value("1e-4").help(LR)), mut_arg("keep", |a| a.default_value("1")),
        mut_arg("beta", |a| a.default_value(shown(Orpo::default().beta)).help("Weight of the odds ratio")),
        after_help = "Example:\n  ember tune orpo --data pairs.jsonl -o better"
    )]
    Orpo(Box<prefer::OrpoArgs>),
    /// Prefer answers over others, without a reference (simple preference optimization)
    ///
    /// As `dpo`, but an answer's reward is its mean log-probability a token, and the better one's is to be ahead by
    /// gamma (Meng et al. 2024).
    #[command(
        mut_arg("lr", |a| a.default_value("5e-5").help(LR)), mut_arg("keep", |a| a.default_value("1")),
        mut_arg("beta", |a| a.default_value(shown(SimPo::default().beta)).help("Scale of the rewards")),
        after_help = "Example:\n  ember tune simpo --data pairs.jsonl -o better"
    )]
    Simpo(Box<prefer::SimpoArgs>),
    /// Learn from answers that were liked or not, one by one (Kahneman-Tversky optimization)
    ///
    /// DATA is JSONL of `prompt`, `completion` and `label` (true or false); pairs of `chosen` and `rejected` do too
    /// (Ethayarajh et al. 2024).
    #[command(
        mut_arg("lr", |a| a.default_value("5e-5").help(LR)),
        mut_arg("data", |a| a.help("Rated answers: JSONL or JSON files of `prompt`, `completion` and `label`, or pairs")),
        after_help = "Example:\n  ember tune kto --data thumbs.jsonl --undesirable-weight 1.5 -o better"
    )]
    Kto(Box<prefer::KtoArgs>),
    /// Train a reward model, which judges answers, on pairs of answers
    ///
    /// DATA is as for `dpo`; `margin` in a row says by how much the better one is ahead. The adapter has a head that
    /// makes one number of a text: `ember score` prints it, and `--reward model:FILE` of `grpo`, `rloo` and `ppo`
    /// learns from it (Ouyang et al. 2022).
    #[command(
        mut_arg("lr", |a| a.default_value("1e-4").help(LR)),
        after_help = "Examples:\n  ember tune reward --data pairs.jsonl --val 0.1 -o judge\n  \
            ember score --adapter judge --data others.jsonl"
    )]
    Reward(Box<prefer::JudgeArgs>),
    /// Learn from rewards: a prompt's answers against each other (group relative policy optimization)
    ///
    /// The model answers prompts, several times each; rules, programs or a reward model judge (`--reward`), and what was
    /// better than the group's mean becomes likelier (Shao et al. 2024). The model itself is there once: all that writes,
    /// judges and compares are adapters on it.
    #[command(
        mut_arg("lr", |a| a.default_value("1e-4").help(LR)),
        after_help = "Examples:\n  ember tune grpo --prompts questions.jsonl --reward exact -o right\n  \
            ember tune grpo --prompts questions.jsonl --reward 'command:./judge*2' --reward length:60 -n 128 -o right\n  \
            ember tune grpo --prompts questions.jsonl --reward model:judge.gguf --beta 0.05 -o liked"
    )]
    Grpo(Box<rl::GrpoArgs>),
    /// Learn from rewards: each answer against the others (REINFORCE, leave one out)
    ///
    /// As `grpo`, but an answer's reward, less what its departure from the reference costs, is measured against the mean
    /// of the other answers to its prompt (Ahmadian et al. 2024).
    #[command(
        mut_arg("lr", |a| a.default_value("1e-4").help(LR)),
        mut_arg("prompts_per_step", |a| a.default_value(shown(rloo().prompts))),
        mut_arg("group", |a| a.default_value(shown(rloo().group))),
        mut_arg("passes", |a| a.default_value(shown(rloo().passes))),
        after_help = "Example:\n  ember tune rloo --prompts questions.jsonl --reward exact -o right"
    )]
    Rloo(Box<rl::RlooArgs>),
    /// Learn from rewards with a value model (proximal policy optimization)
    ///
    /// As `grpo`, but each token's part is measured against a value model, which is trained along and begins with the
    /// first reward model; a departure from the reference costs rewards (Schulman et al. 2017, Ouyang et al. 2022).
    #[command(
        mut_arg("lr", |a| a.default_value("1e-4").help(LR)),
        mut_arg("prompts_per_step", |a| a.default_value(shown(ppo().prompts))),
        mut_arg("group", |a| a.default_value(shown(ppo().group))),
        mut_arg("passes", |a| a.default_value(shown(ppo().passes))),
        after_help = "Example:\n  ember tune ppo --prompts questions.jsonl --from mine.gguf --reward model:judge.gguf -o liked"
    )]
    Ppo(Box<rl::PpoArgs>),
}

/// Runs the command.
pub fn run(args: &TuneArgs) -> CliResult {
    match &args.what {
        What::Sft(args) => sft::run(args),
        What::Dpo(args) => prefer::dpo(args),
        What::Ipo(args) => prefer::ipo(args),
        What::Orpo(args) => prefer::orpo(args),
        What::Simpo(args) => prefer::simpo(args),
        What::Kto(args) => prefer::kto(args),
        What::Reward(args) => prefer::reward(args),
        What::Grpo(args) => rl::grpo(args),
        What::Rloo(args) => rl::rloo(args),
        What::Ppo(args) => rl::ppo(args),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::train::objective::Grpo;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        tune: TuneArgs,
    }

    #[test]
    fn what_is_not_said_of_rewards_is_as_the_library_has_it() {
        let parse = |method: &str| {
            let words = ["tune", method, "--prompts", "a.jsonl", "--reward", "exact"];
            Line::try_parse_from(words).map(|line| line.tune.what)
        };
        let Ok(What::Grpo(args)) = parse("grpo") else { panic!("grpo") };
        assert_eq!(args.options().unwrap(), RlOptions::of(Method::Grpo(Grpo::default())));
        let Ok(What::Rloo(args)) = parse("rloo") else { panic!("rloo") };
        assert_eq!(args.options().unwrap(), rloo());
        let Ok(What::Ppo(args)) = parse("ppo") else { panic!("ppo") };
        assert_eq!(args.options().unwrap(), ppo());
    }
}
