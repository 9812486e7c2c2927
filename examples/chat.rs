//! A conversation: the model's chat template, its end of a turn, and the oldest turns dropped when the context is full.
//!
//! `cargo run --release --example chat -- model.gguf [SYSTEM PROMPT]`, a message a line; `/again` asks for another answer.
use std::io::{BufRead, Write};
use std::ops::ControlFlow;

use emberlm::chat::{Chat, Piece};
use emberlm::model::Model;
use emberlm::session::SessionOptions;

/// Prints what comes: thoughts apart from the answer.
fn show(piece: Piece<'_>) -> ControlFlow<()> {
    match piece {
        Piece::Answer(text) => print!("{text}"),
        Piece::Thought(text) => eprint!("{text}"),
        Piece::Dropped(turns) => eprintln!("(the oldest {turns} turns were dropped)"),
        Piece::Moved { why, device } => eprintln!("({why}; going on, on {})", device.name),
        Piece::Token(_) => {}
    }
    match std::io::stdout().flush() {
        Ok(()) => ControlFlow::Continue(()),
        // Nobody reads any more.
        Err(_) => ControlFlow::Break(()),
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or("usage: chat MODEL.gguf [SYSTEM PROMPT]")?;
    let model = Model::open(&path)?;
    let mut chat = Chat::open(&model, SessionOptions { ctx: Some(1024), ..SessionOptions::default() })?;
    chat.conversation.talk.system = args.next();
    chat.conversation.manner.limit = 256;
    for line in std::io::stdin().lock().lines() {
        let answer = match line?.trim() {
            "" => continue,
            "/again" => chat.answer_again(&mut show)?,
            text => chat.say(text, &mut show)?,
        };
        let why = if answer.cut() { ", cut short" } else { "" };
        println!();
        eprintln!("[{} tokens, {} of the prompt reused{why}]", answer.done.tokens.len(), answer.done.reused);
    }
    Ok(())
}
