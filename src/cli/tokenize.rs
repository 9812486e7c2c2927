//! `ember tokenize`: text to token ids.

use std::io::Write;

use clap::Args;

use crate::cli::args::ModelArgs;
use crate::cli::engine;
use crate::cli::error::{CliError, CliResult};
use crate::cli::input::InputArgs;
use crate::cli::term::{self, Paint};
use crate::gguf::GgufFile;

/// Show the tokens of a text
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  ember tokenize \"Hello world\"\n  ember tokenize --ids -f book.txt")]
pub struct TokenizeArgs {
    /// The text; without it, -p, -f, or what is piped in
    #[arg(value_name = "TEXT", conflicts_with_all = ["prompt", "file"])]
    text: Option<String>,
    #[command(flatten)]
    input: InputArgs,
    #[command(flatten)]
    model: ModelArgs,
    /// Only the ids, as a JSON array
    #[arg(long)]
    ids: bool,
    /// Only how many there are
    #[arg(long, conflicts_with = "ids")]
    count: bool,
    /// Texts of special tokens, such as <|im_end|>, become those tokens
    #[arg(long)]
    special: bool,
    /// Without the beginning-of-text token, where the model wants one
    #[arg(long)]
    no_bos: bool,
}

/// Runs the command.
pub fn run(args: &TokenizeArgs) -> CliResult {
    let text = args.text.clone().map_or_else(|| args.input.read(), Ok)?;
    let path = engine::find(&args.model)?;
    let file = GgufFile::open(&path).map_err(|e| CliError::from(e).at(path.display()))?;
    let tokenizer = engine::tokenizer(&file)?;
    let ids = tokenizer.encode(&text, args.special, !args.no_bos);
    let mut out = std::io::BufWriter::new(term::data());
    if args.count {
        writeln!(out, "{}", ids.len())?;
    } else if args.ids {
        let list: Vec<String> = ids.iter().map(u32::to_string).collect();
        writeln!(out, "[{}]", list.join(", "))?;
    } else {
        let paint = Paint::stdout();
        for id in ids {
            let piece = shown(tokenizer.token_bytes(id).unwrap_or_default());
            writeln!(out, "{}  {piece}", paint.dim(format!("{id:>7}")))?;
        }
    }
    out.flush()?;
    Ok(())
}

/// A piece of a token, quoted: text where it is text, escaped bytes elsewhere.
fn shown(piece: &[u8]) -> String {
    match std::str::from_utf8(piece) {
        Ok(text) => format!("{text:?}"),
        Err(_) => format!("\"{}\"", piece.escape_ascii()),
    }
}
