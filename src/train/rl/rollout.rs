//! Letting the model write answers, as it is now, and having them judged.

use crate::session::Request;
use crate::text::{SamplerParams, Tokenizer};
use crate::train::data::Random;
use crate::train::reward::{Completion, Mix, Scores};
use crate::train::rl::{RlOptions, RlPrompt};
use crate::train::{Engine, TrainError, rewards};

/// An answer of the model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// Which prompt.
    pub prompt: usize,
    /// Prompt and answer.
    pub tokens: Vec<u32>,
    /// Tokens of the prompt.
    pub start: usize,
    /// Log-probability of each of the answer's tokens when it was sampled.
    pub old: Vec<f32>,
    /// It has no end.
    pub truncated: bool,
    /// As text, without the token that ends it.
    pub text: String,
}

impl Answer {
    /// Its tokens without the prompt's.
    pub fn len(&self) -> usize {
        self.tokens.len() - self.start
    }

    /// Whether it has no tokens.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Which tokens are targets.
    pub fn trained(&self) -> Vec<bool> {
        (0..self.tokens.len()).map(|i| i >= self.start).collect()
    }
}

/// Has a group of answers to each of the prompts written. The same engine, seed and step give the same answers.
///
/// # Errors
/// [`TrainError::Exec`] if the device fails, [`TrainError::Data`] if the model's logits are no numbers.
pub fn write(
    engine: &mut Engine,
    tokenizer: &Tokenizer,
    prompts: &[(usize, &RlPrompt)],
    options: &RlOptions,
    seed: u64,
    step: u64,
) -> Result<Vec<Answer>, TrainError> {
    let mut random = Random::new(seed ^ 0x726f_6c6c, step);
    let mut requests = Vec::new();
    for (_, prompt) in prompts {
        for _ in 0..options.group {
            let sampler = SamplerParams {
                temperature: options.temperature,
                top_k: 0,
                top_p: 1.0,
                min_p: 0.0,
                seed: random.next_u64() as u32,
                ..SamplerParams::greedy()
            };
            requests.push(Request::turn(&prompt.tokens, sampler, tokenizer));
        }
    }
    let session = engine.session();
    // Keys and values of the model as it was before the last update are of no use.
    session.reset();
    let written = session.write(&requests, options.max_new);
    let written = written?;
    let owners = prompts.iter().flat_map(|(index, _)| std::iter::repeat_n(*index, options.group));
    let answers = owners.zip(&requests).zip(written).map(|((prompt, request), made)| Answer {
        prompt,
        start: request.prompt.len(),
        tokens: [request.prompt, &made.tokens].concat(),
        text: tokenizer.decode(made.body(), true),
        truncated: !made.ended(),
        old: made.log_probs,
    });
    Ok(answers.collect())
}

/// A reward model on the engine.
#[derive(Clone)]
pub(super) struct ModelJudge {
    pub name: String,
    pub branch: usize,
    pub weight: f64,
}

/// Judges answers: rules, programs and closures, then reward models.
///
/// # Errors
/// [`TrainError::Reward`] if a reward cannot judge at all.
pub(super) fn judge(
    engine: &mut Engine,
    mix: &mut Mix,
    models: &[ModelJudge],
    prompts: &[RlPrompt],
    answers: &[Answer],
) -> Result<Scores, TrainError> {
    let empty = serde_json::Map::new();
    let completions: Vec<Completion<'_>> = answers
        .iter()
        .map(|answer| {
            let prompt = prompts.get(answer.prompt);
            Completion {
                prompt: prompt.map_or("", |p| &p.text),
                completion: &answer.text,
                row: prompt.map_or(&empty, |p| &p.row),
                tokens: answer.len(),
                truncated: answer.truncated,
            }
        })
        .collect();
    let mut scores = mix.score(&completions)?;
    let texts: Vec<&[u32]> = answers.iter().map(|answer| answer.tokens.as_slice()).collect();
    for model in models {
        let values: Vec<Option<f64>> = rewards(engine, model.branch, &texts)?.into_iter().map(Some).collect();
        scores.add(&model.name, model.weight, &values)?;
    }
    Ok(scores)
}
