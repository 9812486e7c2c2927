//! Two requests on one session: the second joins while the first one's prompt is still being computed, and the first is
//! cancelled while the second goes on.
//!
//! `cargo run --release --example two_at_once -- model.gguf`
use std::ops::ControlFlow;
use std::time::Instant;

use emberlm::chat::Voice;
use emberlm::model::Model;
use emberlm::session::{Event, Job, Scheduler, Session, SessionOptions};
use emberlm::text::{Message, SamplerParams};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: two_at_once MODEL.gguf")?;
    let model = Model::open(&path)?;
    let voice = Voice::of(&model)?;
    let options = SessionOptions { ctx: Some(1024), slots: 2, ..SessionOptions::default() };
    let session = Session::new(&model, &options)?;
    let ask = |text: &str, limit| -> Result<Job, Box<dyn std::error::Error>> {
        let prompt = voice.prompt(&[Message::new("user", text)])?;
        Ok(Job::new(prompt, SamplerParams::default(), limit))
    };

    let mut scheduler = Scheduler::new(session, voice.tokenizer());
    let letter = "I live in a small house by the sea, and every morning I feed the gulls. ".repeat(20);
    let long = scheduler.submit(ask(&format!("{letter}\nSum this up, please."), 400)?)?;
    let start = Instant::now();
    let (mut short, mut steps, mut texts) = (None, 0, [String::new(), String::new()]);
    loop {
        let more = scheduler.step(&mut |event| {
            match event {
                Event::Token(..) => {}
                Event::Text(id, text) => texts[usize::from(id != long)].push_str(text),
                Event::Done(id, made) => println!(
                    "{:5.2} s: {} has ended ({:?}): {} tokens, the first after {:.2} s",
                    start.elapsed().as_secs_f64(),
                    if id == long { "the long one" } else { "the short one" },
                    made.stop,
                    made.tokens.len(),
                    made.first_token.as_secs_f64()
                ),
            }
            ControlFlow::Continue(())
        })?;
        steps += 1;
        if steps == 2 {
            short = Some(scheduler.submit(ask("What is a lighthouse?", 60)?.stop_at(["\n\n"]))?);
        }
        if texts[0].len() > 80 && scheduler.cancel(long) {
            println!("{:5.2} s: the long one is cancelled", start.elapsed().as_secs_f64());
        }
        if !more && short.is_some() {
            break;
        }
    }
    println!("\nlong:  {}…\nshort: {}", texts[0].trim(), texts[1].trim());
    Ok(())
}
