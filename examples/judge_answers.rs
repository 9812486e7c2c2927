//! Has a model answer prompts, with an adapter or without, and judges the answers by rules (those of `ember tune grpo`):
//!
//! `cargo run --release --example judge_answers -- MODEL.gguf PROMPTS.jsonl [ADAPTER.gguf] temp=0.7 seed=1 each=2 n=128
//! json:name,age 'regex:^\{'`
//!
//! Answers go to stdout as JSON lines, each rule's mean to stderr.
use std::error::Error;

use emberlm::adapter::Adapter;
use emberlm::model::Model;
use emberlm::session::{Request, Session, SessionOptions, adapter_room};
use emberlm::text::{ChatTemplate, SamplerParams, Tokenizer};
use emberlm::train::data::{EncodeOptions, Encoder, Prompts};
use emberlm::train::reward::{CommandOptions, Completion, Mix, Rule};
use serde_json::json;

struct Args {
    model: String,
    prompts: String,
    adapter: Option<String>,
    /// 0 takes the likeliest token.
    temperature: f32,
    seed: u32,
    /// Answers to each prompt.
    each: usize,
    /// Most tokens of an answer.
    max_new: usize,
    threads: Option<usize>,
    rules: Mix,
}

fn args() -> Result<Args, Box<dyn Error>> {
    let mut given = std::env::args().skip(1);
    let (Some(model), Some(prompts)) = (given.next(), given.next()) else {
        return Err(
            "usage: judge_answers MODEL.gguf PROMPTS.jsonl [ADAPTER.gguf] [temp=T] [seed=N] [each=N] [n=N] \
                    [threads=N] RULE..."
                .into(),
        );
    };
    let (temperature, seed, each, max_new) = (1.0, 0, 1, 128);
    let (adapter, threads, rules) = (None, None, Mix::new());
    let mut args = Args { model, prompts, adapter, temperature, seed, each, max_new, threads, rules };
    for word in given {
        match word.split_once('=') {
            Some(("temp", value)) => args.temperature = value.parse()?,
            Some(("seed", value)) => args.seed = value.parse()?,
            Some(("each", value)) => args.each = value.parse()?,
            Some(("n", value)) => args.max_new = value.parse()?,
            Some(("threads", value)) => args.threads = Some(value.parse()?),
            _ if word.ends_with(".gguf") => args.adapter = Some(word),
            _ => args.rules.push(word.parse::<Rule>()?.reward(&CommandOptions::default())?, 1.0),
        }
    }
    Ok(args)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = args()?;
    let model = Model::open(&args.model)?;
    let tokenizer = Tokenizer::from_metadata(&model.gguf().metadata)?;
    let template = ChatTemplate::from_metadata(&model.gguf().metadata, &tokenizer)?;
    let encoder = Encoder::new(&tokenizer, template.as_ref(), EncodeOptions::default());
    let (prompts, _) = Prompts::load(&[&args.prompts], &encoder)?;
    let longest = prompts.items.iter().map(|p| p.tokens.len()).max().unwrap_or(1);
    let adapter = args.adapter.as_deref().map(Adapter::open).transpose()?;
    let options = SessionOptions {
        slots: 8,
        ctx: Some(longest + args.max_new),
        threads: args.threads,
        adapters: adapter_room(&adapter),
        ..SessionOptions::default()
    };
    let mut session = Session::new(&model, &options)?;
    let used: Vec<(&Adapter, f32)> = adapter.iter().map(|a| (a, 1.0)).collect();
    session.set_adapters(&used)?;

    let (mut requests, mut of) = (Vec::new(), Vec::new());
    for prompt in &prompts.items {
        for _ in 0..args.each {
            let seed = args.seed.wrapping_mul(0x9e37_79b9).wrapping_add(requests.len() as u32);
            let full = SamplerParams { top_k: 0, top_p: 1.0, min_p: 0.0, ..SamplerParams::default() };
            let sampler = SamplerParams { temperature: args.temperature, seed, ..full };
            requests.push(Request::turn(&prompt.tokens, sampler, &tokenizer));
            of.push(prompt);
        }
    }
    let answers = session.write(&requests, args.max_new)?;
    let rows: Vec<_> = of.iter().map(|prompt| prompt.row()).collect();
    let texts: Vec<String> = answers.iter().map(|a| tokenizer.decode(&a.tokens, true)).collect();
    let completions: Vec<Completion<'_>> = (0..answers.len())
        .map(|i| Completion {
            prompt: &of[i].text,
            completion: &texts[i],
            row: &rows[i],
            tokens: answers[i].tokens.len(),
            truncated: !answers[i].ended(),
        })
        .collect();
    let scores = args.rules.score(&completions)?;
    for (i, c) in completions.iter().enumerate() {
        let rewards: Vec<f64> = scores.parts.iter().map(|(_, values)| values[i]).collect();
        let row = json!({ "prompt": c.prompt, "completion": c.completion, "tokens": c.tokens,
            "ended": !c.truncated, "rewards": rewards });
        println!("{row}");
    }
    let mean = |sum: f64| sum / completions.len().max(1) as f64;
    eprintln!("{} answers", completions.len());
    for (name, values) in &scores.parts {
        eprintln!("{:8.4}  {name}", mean(values.iter().sum()));
    }
    eprintln!("{:8.1}  tokens", mean(completions.iter().map(|c| c.tokens as f64).sum()));
    eprintln!("{:8.4}  ended", mean(completions.iter().filter(|c| !c.truncated).count() as f64));
    Ok(())
}
