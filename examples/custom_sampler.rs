//! A sampler of one's own: logits cross to the host, and only tokens without a forbidden letter are allowed.
//!
//! `cargo run --release --example custom_sampler -- model.gguf e "My favourite"`
use std::ops::ControlFlow;

use emberlm::model::Model;
use emberlm::session::{Modes, Session, SessionOptions};
use emberlm::text::{Sampler, SamplerError, SamplerParams, Tokenizer, choose};

/// Writes without one letter, like Perec.
struct Lipogram {
    forbidden: Vec<usize>,
    params: SamplerParams,
}

impl Lipogram {
    fn new(tokenizer: &Tokenizer, letter: char) -> Self {
        let (lower, upper) = (letter.to_ascii_lowercase() as u8, letter.to_ascii_uppercase() as u8);
        let has = |id: &usize| {
            let bytes = tokenizer.token_bytes(*id as u32).unwrap_or_default();
            bytes.contains(&lower) || bytes.contains(&upper)
        };
        let forbidden = (0..tokenizer.vocab_len()).filter(has).collect();
        Self {
            forbidden,
            params: SamplerParams { temperature: 0.7, top_k: 20, seed: 3, ..SamplerParams::greedy() },
        }
    }
}

impl Sampler for Lipogram {
    fn sample(&mut self, logits: &mut [f32], history: &[u32]) -> Result<u32, SamplerError> {
        for id in &self.forbidden {
            logits[*id] = f32::NEG_INFINITY;
        }
        // The library's own choice among what is left; the position seeds the draw.
        Ok(choose(logits, history, &self.params, history.len() as u32)?.token)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or("usage: custom_sampler MODEL.gguf [LETTER] [TEXT]")?;
    let letter = args.next().and_then(|s| s.chars().next()).unwrap_or('e');
    let text = args.next().unwrap_or_else(|| "My favourite".into());

    let model = Model::open(&path)?;
    let tokenizer = Tokenizer::from_metadata(&model.gguf().metadata)?;
    let options = SessionOptions { ctx: Some(256), modes: Modes::LOGITS, ..SessionOptions::default() };
    let mut session = Session::new(&model, &options)?;
    let mut sampler = Lipogram::new(&tokenizer, letter);
    let prompt = tokenizer.encode(&text, true, true);
    let done = session.generate_with(&prompt, &mut sampler, 60, &mut |token| {
        if tokenizer.is_eog(token) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    println!("{text}{}", tokenizer.decode(&done.tokens, true));
    Ok(())
}
