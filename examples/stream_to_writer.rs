//! Streams an answer into any `embedded_io::Write`: a serial port, a socket, here a line-buffered display.
//!
//! `cargo run --release --example stream_to_writer -- model.gguf "The weather today"`
use std::ops::ControlFlow;

use embedded_io::Write;
use emberlm::model::Model;
use emberlm::session::{Request, Session, SessionOptions};
use emberlm::text::{SamplerParams, Tokenizer};

/// A display of so many columns: what a device without an operating system might have.
struct Display {
    line: Vec<u8>,
    columns: usize,
}

impl embedded_io::ErrorType for Display {
    type Error = core::convert::Infallible;
}

impl Write for Display {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error> {
        for byte in bytes {
            if *byte != b'\n' {
                self.line.push(*byte);
            }
            if *byte == b'\n' || self.line.len() == self.columns {
                self.flush()?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Self::Error> {
        println!("| {:width$} |", String::from_utf8_lossy(&self.line), width = self.columns);
        self.line.clear();
        Ok(())
    }
}

/// Writes the continuation of `text` to `out` as it comes.
fn stream<W: Write>(
    session: &mut Session,
    tokenizer: &Tokenizer,
    text: &str,
    out: &mut W,
) -> Result<(), String> {
    let prompt = tokenizer.encode(text, true, true);
    let mut pieces = tokenizer.stream(true);
    let mut written = Ok(());
    let request = [Request::turn(&prompt, SamplerParams::greedy(), tokenizer)];
    let done = session.generate_batch(&request, 60, &mut |_, token| {
        written = out.write_all(pieces.push(tokenizer, token).as_bytes());
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    done.map_err(|e| e.to_string())?;
    let rest = written.and_then(|()| out.write_all(pieces.finish().as_bytes()));
    rest.and_then(|()| out.flush()).map_err(|e| format!("{e:?}"))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or("usage: stream_to_writer MODEL.gguf [TEXT]")?;
    let text = args.next().unwrap_or_else(|| "The weather today".into());
    let model = Model::open(&path)?;
    let tokenizer = Tokenizer::from_metadata(&model.gguf().metadata)?;
    let mut session = Session::new(&model, &SessionOptions { ctx: Some(256), ..SessionOptions::default() })?;
    Ok(stream(&mut session, &tokenizer, &text, &mut Display { line: Vec::new(), columns: 32 })?)
}
