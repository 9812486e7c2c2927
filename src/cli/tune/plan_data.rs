//! `ember plan --tune … --data FILE`: the sizes that a training of these data has, instead of the largest that it may have.

use std::path::PathBuf;

use crate::cli::args::PromptArgs;
use crate::cli::error::{CliError, CliResult};
use crate::cli::prompt::Prompter;
use crate::cli::term;
use crate::cli::tune::args::TuneShapeArgs;
use crate::cli::tune::plan::Objective;
use crate::cli::tune::shared::read;
use crate::model::Model;
use crate::train::data::{Dataset, EncodeOptions, Example, Items, Pair, Prompts};
use crate::train::objective::Grpo;
use crate::train::rl::{Method, RlOptions};
use crate::train::{ANCHOR_TOKENS, EngineOptions, Sequence};

/// What a training of some data needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Items: sequences, pairs or prompts.
    items: usize,
    /// Rows of the longest of them.
    longest: usize,
    /// Most rows of a step.
    rows: usize,
}

impl Sizes {
    /// Reads data as training with this objective would.
    ///
    /// # Errors
    /// Data that cannot be read, or have nothing to learn.
    pub fn of(
        objective: Objective,
        paths: &[PathBuf],
        model: &Model,
        shape: &TuneShapeArgs,
    ) -> CliResult<Self> {
        let prompter = Prompter::for_text(model, &PromptArgs::default(), false)?;
        let encode = EncodeOptions { max_len: shape.seq as usize, ..EncodeOptions::default() };
        let sizes = match objective {
            Objective::Sft => {
                let data: Dataset = read(paths, &prompter, encode)?;
                let rows: Vec<usize> = data.items.iter().map(rows).collect();
                Self::of_steps(rows, shape.batch() as usize, ANCHOR_TOKENS)
            }
            Objective::Dpo => {
                let data: Items<Pair> = read(paths, &prompter, encode)?;
                let both = data.items.iter().map(|pair| rows(&pair.chosen) + rows(&pair.rejected));
                Self::of_steps(both.collect(), 1, 0)
            }
            Objective::Grpo | Objective::Ppo => {
                let data: Prompts = read(paths, &prompter, encode)?;
                let max_new = RlOptions::of(Method::Grpo(Grpo::default())).max_new;
                let with_answer = data.items.iter().map(|prompt| prompt.tokens.len() + max_new);
                let sizes = Self::of_steps(with_answer.collect(), 1, 0);
                // Answers go through the model together with as much room each as the longest may take.
                Self { rows: sizes.longest * shape.answers() as usize, ..sizes }
            }
            Objective::Pretrain => {
                return Err(CliError::usage(
                    "--data has no effect with --tune pretrain, whose steps are all of --seq tokens",
                )
                .advise("leave it out"));
            }
        };
        if sizes.items == 0 {
            let failure = CliError::failed("there is nothing to learn in the data");
            return Err(paths.iter().fold(failure, |e, path| e.at(path.display())));
        }
        Ok(sizes)
    }

    /// Of steps with so many items, the largest of which may come together.
    fn of_steps(mut items: Vec<usize>, together: usize, least: usize) -> Self {
        items.sort_unstable_by(|a, b| b.cmp(a));
        let rows = items.iter().take(together).sum::<usize>().max(least);
        Self { items: items.len(), longest: items.first().copied().unwrap_or(0), rows }
    }

    /// The engine of such a training.
    pub fn put(self, objective: Objective, options: EngineOptions) -> EngineOptions {
        let rollouts = options.rollouts.map(|r| crate::train::Rollouts { ctx: self.longest, ..r });
        let seq =
            if matches!(objective, Objective::Grpo | Objective::Ppo) { self.longest } else { options.seq };
        EngineOptions { rows: self.rows, seq, rollouts, ..options }
    }

    /// For people.
    pub fn in_words(self) -> String {
        format!(
            "for these data: {} items, the longest of {} token rows",
            term::grouped(self.items as u64),
            self.longest
        )
    }

    /// As JSON.
    pub fn as_json(self) -> serde_json::Value {
        serde_json::json!({ "items": self.items, "longest_rows": self.longest })
    }
}

fn rows(example: &Example) -> usize {
    Sequence { tokens: &example.tokens, trained: &example.trained }.rows()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_as_large_as_the_largest_items_together() {
        assert_eq!(Sizes::of_steps(vec![3, 9, 5], 2, 0), Sizes { items: 3, longest: 9, rows: 14 });
        assert_eq!(Sizes::of_steps(vec![3, 9, 5], 8, 96), Sizes { items: 3, longest: 9, rows: 96 });
        assert_eq!(Sizes::of_steps(vec![], 8, 0), Sizes { items: 0, longest: 0, rows: 0 });
    }
}
