//! Texts of the model's own, on which it is to stay as it was.

use crate::cli::error::CliResult;
use crate::cli::progress::Bar;
use crate::cli::prompt::Prompter;
use crate::cli::term;
use crate::model::Model;
use crate::session::{Modes, Request, Session, SessionOptions};
use crate::text::SamplerParams;
use crate::train::KEPT_TOKENS;

/// Sequences generated at once.
const SLOTS: usize = 8;
/// Beginnings of texts, of many kinds.
const OPENINGS: [&str; 24] = [
    "The history of",
    "In recent years, researchers",
    "She opened the door and",
    "The town lies on the river",
    "import numpy as np\n\n",
    "Ingredients:\n",
    "The film received",
    "According to the report,",
    "Question: Why",
    "The species is found in",
    "He was born in",
    "The algorithm works by",
    "Dear Sir or Madam,",
    "On the morning of",
    "The team won the",
    "= = Career = =\n",
    "The album was released",
    "Water is",
    "The government announced",
    "A function is",
    "During the war, the",
    "The building was designed by",
    "Once upon a time",
    "The price of",
];
/// Questions that have nothing to do with anybody's data.
const QUESTIONS: [&str; 16] = [
    "What is photosynthesis?",
    "How do I boil an egg?",
    "Write a short poem about the sea.",
    "What is the capital of Japan?",
    "Explain what a loop is in programming.",
    "How many days are there in a year?",
    "Give me three tips for sleeping better.",
    "What causes the seasons?",
    "Translate 'good morning' into French.",
    "Who wrote Hamlet?",
    "What is 12 times 9?",
    "Suggest a name for a bakery.",
    "How does a bicycle stay upright?",
    "What is the difference between weather and climate?",
    "Write a sentence with the word 'lantern'.",
    "Why is the sky blue?",
];

/// Lets the model write: continuations of openings, and answers where it has a chat template.
pub fn texts(
    model: &Model,
    prompter: &Prompter,
    device: &SessionOptions,
    seed: u32,
) -> CliResult<Vec<Vec<u32>>> {
    let tokenizer = prompter.tokenizer();
    let mut prompts: Vec<Vec<u32>> =
        OPENINGS.iter().map(|text| tokenizer.encode(text, false, true)).collect();
    if prompter.template().is_some() {
        for question in QUESTIONS {
            prompts.push(prompter.single(question)?);
        }
    }
    let options =
        SessionOptions { ctx: Some(2 * KEPT_TOKENS), slots: SLOTS, modes: Modes::GENERATE, ..device.clone() };
    let mut session = Session::new(model, &options)?;
    let sampler =
        SamplerParams { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, seed, ..SamplerParams::greedy() };
    term::say("letting the model write the texts on which it is to stay as it is");
    let mut bar = Bar::phase("writing", prompts.len() as u64);
    let mut texts = Vec::new();
    for batch in prompts.chunks(SLOTS) {
        let shortest = batch.iter().map(Vec::len).min().unwrap_or(1);
        let limit = KEPT_TOKENS.saturating_sub(shortest).max(1);
        let batch: Vec<Request<'_>> =
            batch.iter().filter(|p| !p.is_empty()).map(|prompt| Request { prompt, sampler }).collect();
        let written = session.generate_batch(&batch, limit, &mut |_, token| {
            if tokenizer.is_eog(token) {
                std::ops::ControlFlow::Break(())
            } else {
                std::ops::ControlFlow::Continue(())
            }
        })?;
        for (prompt, written) in batch.iter().zip(written) {
            texts.push([prompt.prompt, written.tokens.as_slice()].concat());
        }
        bar.item(texts.len() as u64, "texts");
    }
    bar.clear();
    Ok(texts)
}
