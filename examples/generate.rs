//! Continues a text: open a model, boot a session, stream the tokens.
//!
//! `cargo run --release --example generate -- model.gguf "Once upon a time"`
use std::io::Write;
use std::ops::ControlFlow;

use emberlm::model::Model;
use emberlm::session::{Request, Session, SessionOptions};
use emberlm::text::{SamplerParams, Tokenizer};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or("usage: generate MODEL.gguf [TEXT]")?;
    let text = args.next().unwrap_or_else(|| "Once upon a time".into());

    let model = Model::open(&path)?;
    let tokenizer = Tokenizer::from_metadata(&model.gguf().metadata)?;
    let mut session = Session::new(&model, &SessionOptions { ctx: Some(512), ..SessionOptions::default() })?;
    let device = session.executor().device();
    eprintln!("{} on {} ({})", model.config().name, device.name, device.why);

    // Control tokens in the text count, the model's beginning-of-text token is added if it wants one.
    let prompt = tokenizer.encode(&text, true, true);
    let sampler = SamplerParams { temperature: 0.7, seed: 1, ..SamplerParams::greedy() };
    let mut pieces = tokenizer.stream(true);
    print!("{text}");
    let request = [Request::turn(&prompt, sampler, &tokenizer)];
    let done = session.generate_batch(&request, 100, &mut |_, token| {
        print!("{}", pieces.push(&tokenizer, token));
        match std::io::stdout().flush() {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    })?;
    println!("{}", pieces.finish());

    let done = &done[0];
    let rate = done.tokens.len().saturating_sub(1) as f64 / done.decode.as_secs_f64().max(1e-9);
    eprintln!("{} prompt tokens, {} generated, {rate:.1} tok/s", done.computed, done.tokens.len());
    Ok(())
}
