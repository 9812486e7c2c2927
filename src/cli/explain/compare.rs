//! `--compare`: one question to several models.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::args::{ModelArgs, PromptArgs};
use crate::cli::engine;
use crate::cli::error::{CliError, CliResult};
use crate::cli::interrupt::Listen;
use crate::cli::prompt::Prompter;
use crate::explain::Answer;
use crate::session::{Request, SessionOptions};
use crate::text::SamplerParams;

/// Context of an answer, where the model allows it and the text needs no more.
const CTX: usize = 4096;

/// Which models, and how they are asked.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Comparison")]
pub(super) struct CompareArgs {
    /// Show what this model answers to TEXT, beside the others; a file or a name of `ember models`; may be repeated. A model that
    /// has a chat template is asked through it, another goes on with the text; all take the likeliest token each time
    #[arg(long, value_name = "[LABEL=]FILE", value_parser = labelled)]
    compare: Vec<Labelled>,
    /// No chat templates: all go on with the text
    #[arg(long, requires = "compare")]
    raw: bool,
    /// Most tokens of an answer
    #[arg(long, value_name = "N", default_value_t = 64, requires = "compare", value_parser = clap::value_parser!(u32).range(1..=1024))]
    n_predict: u32,
}

/// A model on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Labelled {
    label: Option<String>,
    model: String,
}

/// `LABEL=FILE`, unless a file has that very name.
fn labelled(text: &str) -> Result<Labelled, String> {
    let whole = || Labelled { label: None, model: text.to_owned() };
    match text.split_once('=') {
        _ if text.is_empty() => Err("the path of a model is missing".into()),
        Some(_) if Path::new(text).exists() => Ok(whole()),
        Some((_, "")) => Err(format!("`{text}` names no file; write LABEL=FILE")),
        Some((label, model)) if !label.is_empty() => {
            Ok(Labelled { label: Some(label.to_owned()), model: model.to_owned() })
        }
        _ => Ok(whole()),
    }
}

/// A model to be asked.
pub(super) struct Compared {
    label: String,
    /// Its file.
    pub path: PathBuf,
}

impl CompareArgs {
    /// The models' files.
    pub fn find(&self, args: &ModelArgs) -> CliResult<Vec<Compared>> {
        let one = |wanted: &Labelled| {
            let path = engine::find(&ModelArgs {
                model: Some(wanted.model.clone()),
                hf_repo: None,
                ..args.clone()
            })?;
            let stem = || path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            Ok(Compared { label: wanted.label.clone().unwrap_or_else(stem), path })
        };
        self.compare.iter().map(one).collect()
    }
}

impl Compared {
    /// What the model answers, always taking the likeliest token.
    pub fn answer(&self, args: &CompareArgs, text: &str, options: &SessionOptions) -> CliResult<Answer> {
        let model = engine::open_file(&self.path)?;
        let prompter = Prompter::for_text(&model, &PromptArgs::default(), args.raw)?;
        let manner = match (args.raw, prompter.template()) {
            (true, _) => "goes on with the text",
            (false, Some(_)) => "asked in its chat template",
            (false, None) => "goes on with the text: it has no chat template",
        };
        let prompt = prompter.single(text)?;
        let needed = prompt.len() + args.n_predict as usize;
        let ctx = options.positions(model.config().train_ctx, CTX).max(needed);
        engine::warn_of_context(&model, ctx);
        let mut session = engine::boot(&model, &SessionOptions { ctx: Some(ctx), ..options.clone() })?;
        let (listen, tokenizer) = (Listen::new(), prompter.tokenizer());
        let limit = (args.n_predict as usize).min(session.ctx());
        let turn = [Request::turn(&prompt, SamplerParams::greedy(), tokenizer)];
        let done = session.generate_batch(&turn, limit, &mut |_, _| {
            if listen.pressed() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        if listen.pressed() {
            return Err(CliError::interrupted());
        }
        let done = done.map_err(|e| CliError::from(e).at(self.path.display()))?;
        let done = done.first().ok_or_else(|| CliError::failed("the model did not answer"))?;
        let (ended, text) = (done.ended(), tokenizer.decode(done.body(), true).trim().to_owned());
        Ok(Answer { label: self.label.clone(), manner: manner.to_owned(), text, ended })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_stand_before_the_first_equals_sign() {
        let of = |text: &str| labelled(text).map(|l| (l.label.unwrap_or_default(), l.model));
        assert_eq!(of("a.gguf"), Ok((String::new(), "a.gguf".into())));
        assert_eq!(of("before=x/a=b.gguf"), Ok(("before".into(), "x/a=b.gguf".into())));
        assert_eq!(of("=a.gguf"), Ok((String::new(), "=a.gguf".into())));
        assert!(of("").is_err() && of("before=").is_err());
    }
}
