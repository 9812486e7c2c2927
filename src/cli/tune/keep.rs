//! Texts of the model's own, on which it is to stay as it was.

use std::ops::ControlFlow;

use crate::cli::error::CliResult;
use crate::cli::progress::Bar;
use crate::cli::prompt::Prompter;
use crate::cli::term;
use crate::learn::{QuestionEncoder, texts as written};
use crate::model::Model;
use crate::session::SessionOptions;

/// Lets the model write: continuations of openings, and answers where it has a chat template.
pub fn texts(
    model: &Model,
    prompter: &Prompter,
    device: &SessionOptions,
    seed: u32,
) -> CliResult<Vec<Vec<u32>>> {
    let voice = QuestionEncoder::new(model, prompter.template().cloned())?
        .with_system(prompter.system().map(str::to_owned));
    term::say("letting the model write the texts on which it is to stay as it is");
    let mut bar: Option<Bar> = None;
    let texts = written(model, &voice, device, seed, &mut |done, total| {
        bar.get_or_insert_with(|| Bar::phase("writing", total as u64)).item(done as u64, "texts");
        ControlFlow::Continue(())
    });
    if let Some(mut bar) = bar {
        bar.clear();
    }
    Ok(texts?.unwrap_or_default())
}
