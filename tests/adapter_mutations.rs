//! Five thousand damaged GGUF adapters and as many damaged PEFT and MLX ones: a typed error or a sound adapter, no
//! panic, and memory within a few times the file. Its own test binary, because it counts what the allocator gives out.
#![cfg(feature = "train")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod gguf_support;

use std::time::{Duration, Instant};

use emberlm::adapter::hf::{self, Layout};
use emberlm::adapter::{Adapter, AdapterError, BaseFingerprint, LoraPair};
use emberlm::gguf::GgufFile;
use emberlm::io::MemStream;
use gguf_support::Random;
use gguf_support::counting::{Counting, NOW, PEAK};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const MUTATIONS: u64 = 5_000;
const ONE_FILE: Duration = Duration::from_secs(2);
/// Header tables and an adapter decoded from Q8_0 or half floats, side by side.
const TIMES: usize = 8;
/// For tiny files: buffers of a fixed size and the error's message.
const SLACK: usize = 48 << 10;

/// Reads `len` bytes of input with `read` and checks time, memory and what came of it.
fn within_bounds(
    name: &str,
    len: usize,
    read: impl FnOnce() -> Result<Adapter, AdapterError>,
) -> Option<Adapter> {
    let start = Instant::now();
    let before = NOW.get();
    PEAK.set(before);
    let outcome = read();
    let peak = PEAK.get() - before;
    assert!(peak <= TIMES * len + SLACK, "{name}: {peak} bytes of memory for {len} bytes of input");
    assert!(start.elapsed() < ONE_FILE, "{name}: took {:?}", start.elapsed());
    match outcome {
        Ok(adapter) => {
            adapter.check().unwrap_or_else(|e| panic!("{name}: not sound: {e}"));
            assert!(adapter.pairs.iter().all(|pair| pair.norm() >= 0.0), "{name}");
            Some(adapter)
        }
        Err(error) => {
            assert!(error.to_string().len() < 2000, "{name}: {error}");
            None
        }
    }
}

fn numbers(count: usize, random: &mut Random) -> Vec<f32> {
    (0..count).map(|_| random.below(2001) as f32 / 1000.0 - 1.0).collect()
}

fn base() -> GgufFile {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/arch");
    GgufFile::open(folder.join("llama-untied.gguf")).unwrap()
}

/// A small adapter that fits `base`.
fn adapter(base: &GgufFile, targets: &[(&str, usize)]) -> Adapter {
    let mut random = Random(7);
    let pairs = targets.iter().map(|&(target, rank)| {
        let tensor = base.header().require_tensor(&format!("{target}.weight")).unwrap();
        let (inputs, outputs) = (tensor.dim(0) as usize, tensor.dim(1) as usize);
        let (a, b) = (numbers(rank * inputs, &mut random), numbers(outputs * rank, &mut random));
        LoraPair { target: target.into(), rank, inputs, outputs, a, b }
    });
    let mut adapter =
        Adapter { architecture: "llama".into(), alpha: 8.0, pairs: pairs.collect(), ..Adapter::default() };
    adapter.base = Some(BaseFingerprint::of(base).unwrap());
    adapter.info.insert("loss".into(), "1.25".into());
    adapter
}

/// A damaged copy; three in four wounds are in the first `head` bytes.
fn mutate(bytes: &[u8], head: usize, random: &mut Random) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for _ in 0..1 + random.below(3) {
        let reach = if random.below(4) == 0 { out.len() } else { out.len().min(head) }.max(1);
        let at = random.below(reach).min(out.len());
        let end = (at + 1 + random.below(24)).min(out.len());
        match random.below(7) {
            0 | 1 => out[at..end].iter_mut().take(2).for_each(|byte| *byte ^= 1 << random.below(8)),
            2 => out.truncate(at),
            3 => drop(out.drain(at..end)),
            4 => {
                let number =
                    [0, 1, u64::MAX, 1 << 31, 1 << 40, out.len() as u64][random.below(6)].to_le_bytes();
                out[at..end].iter_mut().zip(number).for_each(|(byte, new)| *byte = new);
            }
            5 => out[at..end]
                .iter_mut()
                .for_each(|byte| *byte = b"0123456789[]{}\",:.eE-_AB"[random.below(24)]),
            _ => {
                let from = random.below(out.len().max(1));
                let piece = out[from.min(out.len())..(from + 40).min(out.len())].to_vec();
                drop(out.splice(at..at, piece));
            }
        }
    }
    out
}

/// The damage must be neither always fatal nor mostly without effect, or these tests would show nothing.
fn tell(what: &str, accepted: usize, of: u64) {
    println!("{what}: {accepted} of {of} accepted");
    assert!(
        accepted as u64 > of / 100 && (accepted as u64) < of * 9 / 10,
        "{what}: {accepted} of {of} accepted"
    );
}

#[test]
fn damaged_gguf_adapters() {
    let base = base();
    let small = adapter(&base, &[("blk.0.attn_q", 1)]);
    let large = adapter(&base, &[("blk.0.attn_k", 2), ("blk.1.ffn_down", 3), ("output", 1)]);
    let files = [small, large].map(|adapter| adapter.write_gguf(Vec::new()).unwrap());
    let read = |bytes: &[u8], name: &str| {
        within_bounds(name, bytes.len(), || Adapter::read_gguf(&mut MemStream::new(bytes)))
    };
    files.iter().for_each(|file| drop(read(file, "sound").unwrap()));
    let mut accepted = 0;
    for seed in 0..MUTATIONS {
        let mut random = Random(0x9E37_79B9_7F4A_7C15 ^ (seed + 1));
        let damaged = mutate(&files[seed as usize % 2], 900, &mut random);
        accepted += usize::from(read(&damaged, &format!("mutation {seed}")).is_some());
    }
    tell("GGUF", accepted, MUTATIONS);
}

#[test]
fn damaged_folders() {
    let base = base();
    let sound = adapter(&base, &[("blk.0.attn_q", 1), ("blk.1.ffn_down", 3), ("blk.2.attn_k", 1)]);
    let folders = [Layout::Peft, Layout::Mlx].map(|layout| {
        let (weights, config) = hf::to_bytes(&sound, base.header(), layout).unwrap();
        (weights, config.to_string().into_bytes())
    });
    let read = |weights: &[u8], config: &[u8], name: &str| {
        let len = weights.len() + config.len();
        within_bounds(name, len, || hf::from_bytes(weights, Some(config), None, base.header()))
    };
    folders.iter().for_each(|(weights, config)| drop(read(weights, config, "sound").unwrap()));
    let mut accepted = 0;
    for seed in 0..MUTATIONS {
        let mut random = Random(0x517C_C1B7_2722_0A95 ^ (seed + 1));
        let (weights, config) = &folders[seed as usize % 2];
        let name = format!("mutation {seed}");
        let outcome = if seed % 4 < 2 {
            read(&mutate(weights, 700, &mut random), config, &name)
        } else {
            read(weights, &mutate(config, config.len(), &mut random), &name)
        };
        accepted += usize::from(outcome.is_some());
    }
    tell("folders", accepted, MUTATIONS);
}

/// Headers that are well-formed and made to be dear.
#[test]
fn dear_headers_stay_within_bounds() {
    let base = base();
    let entry = |i: usize| {
        format!("\"{i:x}.lora_a\":{{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[{i},{}]}}", i + 1)
    };
    let header = format!("{{{}}}", (0..20_000).map(entry).collect::<Vec<_>>().join(","));
    let mut many = (header.len() as u64).to_le_bytes().to_vec();
    many.extend(header.as_bytes());
    many.resize(many.len() + 20_000, 0);
    // The tables of a header are about ten times its text, which is why its length is limited.
    let read = |bytes: &[u8]| hf::from_bytes(bytes, None, Some(1.0), base.header());
    assert!(within_bounds("many", 2 * many.len(), || read(&many)).is_none());
    let mut endless = (5u64 << 20).to_le_bytes().to_vec();
    endless.resize(6 << 20, b' ');
    assert!(within_bounds("endless", 0, || read(&endless)).is_none());
    let sound = adapter(&base, &[("blk.0.attn_q", 1)]);
    let (weights, _) = hf::to_bytes(&sound, base.header(), Layout::Peft).unwrap();
    let list = |item: &str| vec![item; 50_000].join(",");
    for config in [
        format!("{{\"peft_type\":\"LORA\",\"modules_to_save\":[{}]}}", list("\"a\"")),
        format!("{{\"peft_type\":\"LORA\",\"layer_replication\":[{}]}}", list("0")),
        format!("{{\"peft_type\":\"LORA\",\"rank_pattern\":{{{}}}}}", list("\"a\":1")),
        format!(
            "{{\"peft_type\":\"LORA\",\"target_modules\":{}1{}}}",
            "[".repeat(100_000),
            "]".repeat(100_000)
        ),
        "[".repeat(2 << 20),
    ] {
        let read = || hf::from_bytes(&weights, Some(config.as_bytes()), None, base.header());
        let outcome = within_bounds("config", 2 * (weights.len() + config.len()), read);
        assert!(outcome.is_none(), "{}", &config[..60]);
    }
}
