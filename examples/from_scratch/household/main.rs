//! Writes the household: texts and rows from which a tiny model is made, all of them made here from a seed.
//! `cargo run --release --example household -- --seed 1 --out DIR [--size MEGABYTES]`

// The tests look at more than this program does.
#[allow(dead_code)]
mod generate;

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use generate::corpus::document;
use generate::rng::Rng;
use generate::rows::{self, Sizes};
use serde_json::{Value, json};

const USAGE: &str = "usage: household --seed N --out DIR [--size MEGABYTES]\n\
    Writes corpus/train.jsonl and corpus/val.jsonl, sft.jsonl, sft_val.jsonl, prompts.jsonl, pairs.jsonl, test.jsonl and\n\
    fewshot.jinja into DIR, which must not exist or be empty. The corpus has 8 megabytes unless --size says otherwise.";

struct Args {
    seed: u64,
    out: PathBuf,
    megabytes: f64,
}

impl Args {
    fn read() -> Result<Self, Box<dyn Error>> {
        let (mut seed, mut out, mut megabytes) = (None, None, 8.0);
        let mut words = std::env::args().skip(1);
        while let Some(flag) = words.next() {
            let value = words.next().ok_or(USAGE)?;
            match flag.as_str() {
                "--seed" => seed = Some(value.parse()?),
                "--out" => out = Some(PathBuf::from(value)),
                "--size" => megabytes = value.parse()?,
                _ => return Err(USAGE.into()),
            }
        }
        if !(megabytes > 0.0 && megabytes <= 1000.0) {
            return Err("--size is between 0 and 1000 megabytes".into());
        }
        Ok(Self { seed: seed.ok_or(USAGE)?, out: out.ok_or(USAGE)?, megabytes })
    }
}

fn write(path: &Path, rows: impl IntoIterator<Item = Value>) -> Result<(), Box<dyn Error>> {
    let mut file = BufWriter::new(fs::File::create_new(path)?);
    let mut count = 0;
    for row in rows {
        writeln!(file, "{row}")?;
        count += 1;
    }
    file.flush()?;
    println!("{:8} rows, {:9} bytes  {}", count, fs::metadata(path)?.len(), path.display());
    Ok(())
}

/// Documents of about so many bytes together.
fn documents(bytes: f64, mut rng: Rng) -> impl Iterator<Item = Value> {
    let mut left = bytes;
    std::iter::from_fn(move || {
        let text = (left > 0.0).then(|| document(&mut rng))?;
        left -= text.len() as f64;
        Some(json!({ "text": text }))
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::read()?;
    let at = |name: &str| args.out.join(name);
    let rng = |purpose: &str| Rng::new(args.seed, purpose);
    fs::create_dir_all(at("corpus"))?;
    let sizes = Sizes::default();
    write(&at("corpus/train.jsonl"), documents(args.megabytes * 1e6, rng("corpus")))?;
    write(&at("corpus/val.jsonl"), documents(args.megabytes.min(8.0) * 2e4, rng("corpus val")))?;
    let mut taken = BTreeSet::new();
    write(&at("sft.jsonl"), rows::chats(sizes.sft, &mut taken, &mut rng("sft")))?;
    write(&at("sft_val.jsonl"), rows::chats(sizes.sft_val, &mut taken, &mut rng("sft val")))?;
    write(&at("prompts.jsonl"), rows::prompts(sizes.prompts, &mut rng("prompts")))?;
    write(&at("pairs.jsonl"), rows::pairs(sizes.pairs, &mut rng("pairs")))?;
    write(&at("test.jsonl"), rows::test(sizes.test, &mut rng("test")))?;
    fs::write(at("fewshot.jinja"), rows::fewshot(&mut rng("fewshot")))?;
    Ok(())
}
