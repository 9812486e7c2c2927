//! Generating to stdout: pieces of text as they come, until the end of the turn, Ctrl-C or the limit.

use std::io::{self, Write};
use std::ops::ControlFlow;

use crate::cli::error::CliResult;
use crate::cli::interrupt::Listen;
use crate::session::{Generated, Session};
use crate::text::{SamplerParams, Tokenizer};

/// What came of it.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The text.
    pub text: String,
    /// Ctrl-C ended it.
    pub interrupted: bool,
    /// Counts and times.
    pub done: Generated,
}

/// Streams the continuation of `prompt` to `out`.
pub fn stream(
    session: &mut Session,
    tokenizer: &Tokenizer,
    prompt: &[u32],
    sampler: SamplerParams,
    limit: usize,
    out: &mut dyn Write,
) -> CliResult<Answer> {
    let listen = Listen::new();
    let mut pieces = tokenizer.stream(true);
    let mut text = String::new();
    let mut failed: io::Result<()> = Ok(());
    let done = session.generate(prompt, sampler, limit, &mut |token| {
        if listen.pressed() || tokenizer.is_eog(token) {
            return ControlFlow::Break(());
        }
        let piece = pieces.push(tokenizer, token);
        text.push_str(piece);
        failed = out.write_all(piece.as_bytes()).and_then(|()| out.flush());
        if failed.is_err() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    failed?;
    let rest = pieces.finish();
    out.write_all(rest.as_bytes())?;
    text.push_str(rest);
    Ok(Answer { text, interrupted: listen.pressed(), done })
}
