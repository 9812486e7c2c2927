//! `ember perplexity`: how well a model predicts a text.

use std::io::Write;
use std::time::Instant;

use clap::Args;
use serde_json::json;

use crate::cli::args::{ContextArgs, DeviceArgs, ModelArgs, session_options, tokens};
use crate::cli::engine;
use crate::cli::error::{CliError, CliResult};
use crate::cli::input::InputArgs;
use crate::cli::interrupt::Listen;
use crate::cli::lora::{LoraArgs, in_words};
use crate::cli::progress::Bar;
use crate::cli::term;
use crate::session::{Modes, Session};

/// Window length without `-c`.
const WINDOW: usize = 512;

/// Measure how well a model predicts a text
///
/// The text is cut into windows of -c tokens; every token of a window is predicted from those before it in the
/// window. Prints the mean negative log-likelihood (in nats) and its exponential, the perplexity.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  ember perplexity -f wiki.txt -c 2048\n  ember perplexity -m model-q4_0.gguf -f wiki.txt --json"
)]
pub struct PerplexityArgs {
    #[command(flatten)]
    input: InputArgs,
    #[command(flatten)]
    model: ModelArgs,
    /// Most tokens to read; -1 for all
    #[arg(short = 'n', long, value_name = "N", value_parser = tokens)]
    max_tokens: Option<usize>,
    /// Texts of special tokens, such as <|im_end|>, become those tokens
    #[arg(long)]
    special: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    lora: LoraArgs,
    #[command(flatten)]
    context: ContextArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Sums over predicted tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Score {
    count: u64,
    sum: f64,
    squares: f64,
}

impl Score {
    pub(super) fn add(&mut self, logprob: f32) {
        let nll = -f64::from(logprob);
        self.count += 1;
        self.sum += nll;
        self.squares += nll * nll;
    }

    pub(super) fn mean(&self) -> f64 {
        self.sum / self.count as f64
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Standard error of the mean.
    pub(super) fn error(&self) -> f64 {
        let n = self.count as f64;
        if self.count < 2 {
            0.0
        } else {
            ((self.squares / n - self.mean().powi(2)).max(0.0) / (n - 1.0)).sqrt()
        }
    }
}

/// Runs the command.
pub fn run(args: &PerplexityArgs) -> CliResult {
    let text = args.input.read()?;
    let model = engine::open(&args.model)?;
    let tokenizer = engine::tokenizer(model.file())?;
    let mut options = session_options(&args.device, &args.context, Modes::SCORE);
    let window = options.positions(model.config().train_ctx, WINDOW);
    options.ctx = Some(window);
    let mut tokens = tokenizer.encode(&text, args.special, false);
    tokens.truncate(args.max_tokens.unwrap_or(usize::MAX));
    let bos = tokenizer.bos().filter(|_| tokenizer.adds_bos());
    let windows = windows(&tokens, window, bos);
    if windows.is_empty() {
        let what = format!("nothing to predict: the text has {} token(s), the window {window}", tokens.len());
        return Err(CliError::failed(what).advise("a longer text, and -c 2 or more"));
    }
    let adapters = args.lora.load(&model)?;
    let mut session = engine::boot_with(&model, options, &adapters)?;
    engine::announce(&session);
    let start = Instant::now();
    let score = score_all(&mut session, &windows)?;
    let seconds = start.elapsed().as_secs_f64();
    let (mean, error) = (score.mean(), score.error());
    let mut out = term::report(args.json);
    if args.json {
        let json = json!({
            "tokens": tokens.len(), "predicted": score.count, "windows": windows.len(), "window": window,
            "mean_nll": mean, "standard_error": error, "perplexity": mean.exp(), "seconds": seconds,
            "device": session.executor().device().name, "adapters": in_words(session.adapters()),
        });
        writeln!(out, "{json:#}")?;
    } else {
        writeln!(
            out,
            "tokens      {} in {} window(s) of {window}, {} predicted",
            tokens.len(),
            windows.len(),
            score.count
        )?;
        writeln!(out, "mean NLL    {mean:.6} ± {error:.6}")?;
        writeln!(out, "perplexity  {:.4} ± {:.4}", mean.exp(), mean.exp() * error)?;
        writeln!(out, "time        {seconds:.1} s, {:.1} tok/s", score.count as f64 / seconds)?;
    }
    Ok(())
}

/// Windows of at most `length` tokens, each with something to predict. Where the model wants a beginning-of-text
/// token, every window begins with one.
fn windows(tokens: &[u32], length: usize, bos: Option<u32>) -> Vec<Vec<u32>> {
    let taken = length - usize::from(bos.is_some()).min(length);
    if taken == 0 {
        return Vec::new();
    }
    let window = |part: &[u32]| bos.into_iter().chain(part.iter().copied()).collect::<Vec<_>>();
    tokens.chunks(taken).map(window).filter(|w| w.len() >= 2).collect()
}

fn score_all(session: &mut Session, windows: &[Vec<u32>]) -> CliResult<Score> {
    let listen = Listen::new();
    let mut bar = Bar::phase("measuring", windows.len() as u64);
    let mut score = Score::default();
    for (done, window) in windows.iter().enumerate() {
        let message = if done == 0 { String::new() } else { format!("perplexity {:.3}", score.mean().exp()) };
        bar.item(done as u64, &message);
        if listen.pressed() {
            bar.clear();
            return Err(CliError::interrupted());
        }
        session.score(window)?.into_iter().for_each(|logprob| score.add(logprob));
    }
    bar.clear();
    Ok(score)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounds;

    #[test]
    fn windows_cover_the_text() {
        let tokens: Vec<u32> = (10..20).collect();
        assert_eq!(windows(&tokens, 4, None), [vec![10, 11, 12, 13], vec![14, 15, 16, 17], vec![18, 19]]);
        assert_eq!(windows(&tokens[..5], 4, None).len(), 1, "a window of one token predicts nothing");
        assert_eq!(windows(&tokens[..5], 4, Some(1)), [vec![1, 10, 11, 12], vec![1, 13, 14]]);
        assert!(windows(&tokens, 1, Some(1)).is_empty() && windows(&tokens, 1, None).is_empty());
    }

    #[test]
    fn mean_and_error() {
        let mut score = Score::default();
        [-1.0, -2.0, -3.0].into_iter().for_each(|l| score.add(l));
        assert!((score.mean() - 2.0).abs() < bounds::DOUBLES);
        assert!((score.error() - (1.0f64 / 3.0).sqrt()).abs() < bounds::DOUBLES);
    }
}
