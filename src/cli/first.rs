//! The first start of a chat: what the small default model is good for, and which one would suit this machine better.

use std::io::IsTerminal;

use crate::cli::args::ModelArgs;
use crate::cli::engine;
use crate::cli::error::CliResult;
use crate::cli::store::{Catalog, Home, Model, TINY_NAME};
use crate::cli::term::{self, Paint};
use crate::exec::cpu::bandwidth;

/// Share of the memory's bandwidth that weights are read with while an answer is written: between that of few and of many cores.
const EFFICIENCY: f64 = 0.5;
/// Slower than this is no conversation, in tokens a second.
const LEAST: f64 = 5.0;
/// Memory beside the weights: the cache, activations, the program.
const BESIDE: u64 = 400 << 20;
/// Memory that is taken to be there where the system does not say.
const UNSAID: u64 = 3 << 30;
/// Bytes read to measure the bandwidth: a tenth of a second's work.
const PROBED: u64 = 128 << 20;

/// Asks once which model is to be the default one, where nobody has said, a person can answer, and another would do better.
pub fn ask(args: &ModelArgs) -> CliResult {
    let terminals = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    if !terminals || args.offline || args.model.is_some() || args.hf_repo.is_some() {
        return Ok(());
    }
    let (catalog, home) = (Catalog::load()?, Home::find()?);
    if home.asked() || home.chosen().is_some() {
        return Ok(());
    }
    let small = catalog.get(&catalog.default)?;
    let memory = crate::train::available_memory().unwrap_or(UNSAID);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let Some((better, rate)) = fitting(&catalog, memory, bandwidth::measure(PROBED, threads)) else {
        return Ok(home.note_asked()?);
    };
    let paint = Paint::stderr();
    term::say(format!(
        "{} ({} parameters) is the default: quick and small, good for trying things out and for short tasks that it was \
         taught. It knows little and makes things up.",
        paint.bold(&small.name),
        small.parameters,
    ));
    term::say(format!("This machine can run a better one: {}", offer(better, rate)));
    term::say_raw("y fetches it and makes it the default, Enter stays with the small one [y/Enter] ");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    home.note_asked()?;
    if matches!(line.trim().to_lowercase().as_str(), "y" | "yes") {
        match engine::find(&ModelArgs { model: Some(better.name.clone()), ..args.clone() }) {
            Ok(_) => home.remember(Some(&better.name))?,
            // The small one may be here.
            Err(error) => error.print(),
        }
    }
    term::say(paint.dim("`ember models use NAME` changes the default at any time"));
    Ok(())
}

/// `qwen3-1.7b: 1.8 GB, about 9 tok/s here`.
fn offer(model: &Model, rate: f64) -> String {
    let size = model.size.map_or(String::new(), term::bytes);
    format!("{}: {size}, about {rate:.0} tok/s here; {}", model.name, model.licence)
}

/// The largest model of the catalogue that fits the memory (bytes) and is fast enough at this bandwidth (GB/s), if it is
/// larger than the default one; and tokens a second.
fn fitting(catalog: &Catalog, memory: u64, bandwidth: f64) -> Option<(&Model, f64)> {
    let rate = |size: u64| bandwidth * 1e9 * EFFICIENCY / size as f64;
    let small = catalog.get(&catalog.default).ok()?.size.unwrap_or(0);
    let candidates = catalog.models.iter().filter(|model| model.name != TINY_NAME && !model.base);
    let fits = candidates.filter_map(|model| {
        let size = model.size.filter(|size| *size > small)?;
        (size + BESIDE <= memory && rate(size) >= LEAST).then_some((model, size))
    });
    fits.max_by_key(|(_, size)| *size).map(|(model, size)| (model, rate(size)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_that_fits_memory_and_speed_is_offered() {
        let catalog = Catalog::built_in().unwrap();
        let offered = |memory: u64, bandwidth: f64| {
            fitting(&catalog, memory, bandwidth).map(|(model, rate)| (model.name.clone(), rate.round()))
        };
        let (name, rate) = offered(16 << 30, 40.0).unwrap();
        assert_eq!((name.as_str(), rate), ("qwen3-1.7b", 11.0));
        assert_eq!(offered(16 << 30, 10.0).unwrap().0, "llama-3.2-1b-instruct");
        assert_eq!(offered(1 << 30, 40.0).unwrap().0, "qwen3-0.6b");
        assert_eq!(offered(16 << 30, 3.0), None, "the small one is all that is quick enough");
        assert_eq!(offered(300 << 20, 40.0), None);
        let model = catalog.get("qwen3-1.7b").unwrap();
        assert_eq!(offer(model, 9.2), "qwen3-1.7b: 1.8 GB, about 9 tok/s here; Apache-2.0");
    }
}
