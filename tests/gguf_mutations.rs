//! Twenty thousand damaged files: the reader must not panic, hang, or take more memory than four times the file.
//! Its own test binary, because it counts what the allocator gives out.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod gguf_support;

use std::sync::mpsc;
use std::time::{Duration, Instant};

use emberlm::gguf::{Array, Gguf, GgufError, Metadata, StringArray, TensorSpec, Value, copy_tensor};
use emberlm::io::MemStream;
use gguf_support::counting::{Counting, NOW, PEAK};
use gguf_support::{Bytes, Random, hostile, rich_metadata, some_tensors, written};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Above four times the file: rounding in tiny files, and the error's message.
const SLACK: usize = 4096;
const MUTATIONS: usize = 20_000;
const ONE_FILE: Duration = Duration::from_secs(2);
const ALL_FILES: Duration = Duration::from_secs(240);

/// Reads `bytes` and gives the outcome, after checking the time and the memory it took.
fn read_within_bounds(bytes: &[u8], name: &str) -> Result<Gguf, GgufError> {
    let start = Instant::now();
    let before = NOW.get();
    PEAK.set(before);
    let outcome =
        Gguf::read(MemStream::new(bytes)).inspect_err(|error| assert!(!error.to_string().is_empty()));
    let peak = PEAK.get() - before;
    assert!(peak <= 4 * bytes.len() + SLACK, "{name}: {peak} bytes of memory for a file of {}", bytes.len());
    assert!(start.elapsed() < ONE_FILE, "{name}: took {:?}", start.elapsed());
    outcome
}

/// Looks at everything that a file which was accepted says, as a loader would.
fn use_it(gguf: &Gguf, bytes: &[u8], name: &str) {
    for (key, value) in gguf.metadata.iter() {
        assert_eq!(gguf.metadata.value(key).map(Value::kind), Some(value.kind()), "{name}");
        assert!(value.to_string().len() < 8192, "{name}: {key} is not one short line");
        if let Value::Array(array) = value
            && let Array::Str(strings) = &**array
        {
            assert_eq!(strings.iter().count(), strings.len(), "{name}");
        }
    }
    let mut buffer = [0; 512];
    let mut total = 0u64;
    for tensor in &gguf.tensors {
        assert_eq!(gguf.tensor(&tensor.name), Some(tensor), "{name}");
        let mut copied = 0;
        copy_tensor(&mut MemStream::new(bytes), tensor, &mut buffer, |piece| {
            copied += piece.len() as u64;
            Ok::<(), GgufError>(())
        })
        .unwrap();
        assert_eq!(copied, tensor.bytes, "{name}");
        total += copied;
    }
    assert!(total <= bytes.len() as u64, "{name}: tensors overlap");
}

fn sound_files() -> Vec<Vec<u8>> {
    let tiny: Metadata = [("a", 1u8)].into_iter().collect();
    let tokens: StringArray = (0..300).map(|i| format!("token {i} é")).collect();
    let vocabulary: Metadata =
        [("tokenizer.ggml.tokens", Value::from(tokens)), ("x", Value::from(vec![0.5f32; 300]))]
            .into_iter()
            .collect();
    let many: Vec<TensorSpec> = (0..60).map(|i| TensorSpec::new(format!("t{i}"), [1 + i % 7], 24)).collect();
    let inner = |n: u8| Array::from(vec![n; 3]);
    let nested = Array::Array(vec![Array::Array(vec![inner(1), inner(2)].into()), inner(3)].into());
    let nested: Metadata =
        [("n", Value::from(nested)), ("general.alignment", Value::from(8u32))].into_iter().collect();
    vec![
        written(&rich_metadata(), &some_tensors()),
        written(&rich_metadata(), &[]),
        written(&tiny, &[TensorSpec::new("w", [32], 2)]),
        written(&vocabulary, &many[..2]),
        written(&Metadata::new(), &many),
        written(&nested, &many[..5]),
    ]
}

/// Numbers that lengths and offsets should not be.
fn bad_number(random: &mut Random, len: usize) -> u64 {
    let len = len as u64;
    let numbers = [
        0,
        1,
        2,
        7,
        8,
        13,
        255,
        len / 14,
        len / 8,
        len - 1,
        len,
        len + 1,
        4 * len,
        1 << 20,
        1 << 31,
        1 << 32,
        1 << 40,
        1 << 62,
        i64::MAX as u64,
        1 << 63,
        u64::MAX - 31,
        u64::MAX,
    ];
    numbers[random.below(numbers.len())]
}

/// A damaged copy of `bytes`; most damage falls into the first part, where the header is.
fn mutate(bytes: &[u8], others: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for _ in 0..1 + random.below(4) / 2 {
        let reach = if random.below(4) == 0 { out.len() } else { out.len().min(1200) };
        let at = random.below(reach);
        match random.below(8) {
            0 | 1 => (0..=random.below(8)).for_each(|_| {
                let at = random.below(reach.max(1));
                if let Some(byte) = out.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }),
            2 => out.truncate(at),
            3 => {
                let other = &others[random.below(others.len())];
                let from = random.below(other.len());
                let piece = &other[from..(from + random.below(200)).min(other.len())];
                let end = (at + random.below(200)).min(out.len());
                out.splice(at..end, piece.iter().copied());
            }
            4 | 5 => {
                let width = if random.below(3) == 0 { 4 } else { 8 };
                let number = bad_number(random, out.len().max(1)).to_le_bytes();
                let end = (at + width).min(out.len());
                out[at..end].copy_from_slice(&number[..end - at]);
            }
            6 => {
                // A count at its known place: tensors at 8, entries at 16, the first length at 24.
                let at = 8 + 8 * random.below(3);
                let number = bad_number(random, out.len().max(1)).to_le_bytes();
                if let Some(field) = out.get_mut(at..at + 8) {
                    field.copy_from_slice(&number);
                }
            }
            _ => {
                let end = (at + random.below(40)).min(out.len());
                out.drain(at..end);
            }
        }
    }
    out
}

#[test]
fn damaged_files_cause_no_panic_no_hang_and_no_waste() {
    let (progress, seen) = mpsc::channel();
    let worker = std::thread::spawn(move || {
        let files = sound_files();
        for (i, file) in files.iter().enumerate() {
            let name = format!("sound file {i}");
            use_it(&read_within_bounds(file, &name).unwrap(), file, &name);
        }
        let mut accepted = 0;
        for seed in 0..MUTATIONS {
            progress.send(seed).unwrap();
            let mut random = Random(0x9E37_79B9_7F4A_7C15 ^ (seed as u64 + 1));
            for _ in 0..8 {
                random.next();
            }
            let damaged = mutate(&files[seed % files.len()], &files, &mut random);
            let name = format!("mutation {seed}");
            if let Ok(gguf) = read_within_bounds(&damaged, &name) {
                use_it(&gguf, &damaged, &name);
                accepted += 1;
            }
        }
        accepted
    });
    // A hang would stop the worker, so somebody else has to watch the clock.
    let start = Instant::now();
    let mut last = None;
    while let Ok(seed) = seen.recv_timeout(ALL_FILES.saturating_sub(start.elapsed())) {
        last = Some(seed);
    }
    assert!(start.elapsed() < ALL_FILES, "no end in sight at mutation {last:?}");
    let accepted = worker.join().unwrap_or_else(|_| panic!("failed at mutation {last:?}"));
    assert_eq!(last, Some(MUTATIONS - 1));
    println!("{accepted} of {MUTATIONS} accepted in {:?}", start.elapsed());
    // The damage must be neither always fatal nor mostly without effect, or this test would show nothing.
    assert!(accepted > MUTATIONS / 30 && accepted < MUTATIONS / 2, "{accepted} of {MUTATIONS} were accepted");
}

#[test]
fn hostile_files_take_no_memory_to_speak_of() {
    for case in hostile() {
        assert!(read_within_bounds(&case.bytes, case.name).is_err(), "{}", case.name);
    }
}

/// Sound files made of whatever takes the most memory per byte of file still stay within four times the file.
#[test]
fn the_dearest_sound_files_stay_within_the_bound() {
    const COUNT: u64 = 40_000;
    // Counts just above three quarters of a power of two make the sparsest hash tables.
    const SPARSE: u64 = 49_153;
    let key = |i: u64| format!("{i:x}");
    let tiny = (0..SPARSE).fold(Bytes::header(3, 0, SPARSE), |b, i| b.key(&key(i), 0).raw(&[1]));
    let empty_arrays = (0..SPARSE).fold(Bytes::header(3, 0, SPARSE), |b, i| b.array(&key(i), 8, 0));
    let empty_strings = Bytes::header(3, 0, 1).array("s", 8, COUNT).zeros(8 * COUNT as usize);
    let nested = (0..COUNT).fold(Bytes::header(3, 0, 1).array("n", 9, COUNT), |b, _| b.u32(0).u64(0));
    let tensors = (0..SPARSE).fold(Bytes::header(3, SPARSE, 1).key("general.alignment", 4).u32(8), |b, i| {
        b.tensor(&key(i), &[], 24, 8 * i)
    });
    let tensors = tensors.pad().zeros(8 * SPARSE as usize);
    let files = [
        ("tiny entries", tiny),
        ("arrays", empty_arrays),
        ("strings", empty_strings),
        ("nested", nested),
        ("tensors", tensors),
    ];
    for (name, file) in files {
        let before = NOW.get();
        let gguf = read_within_bounds(&file.0, name).unwrap_or_else(|error| panic!("{name}: {error}"));
        println!("{name}: {:.2} times the file", (PEAK.get() - before) as f64 / file.0.len() as f64);
        assert!(gguf.metadata.len() + gguf.tensors.len() > 0);
    }
}

/// Every claim fits by itself, all together they do not: the reader must stop at the bound.
#[test]
fn claims_that_add_up_are_refused() {
    let strings = 1_000_000;
    let entries = (strings * 8) / 14;
    let file = Bytes::header(3, 0, entries).array("a", 8, strings).zeros(8 * strings as usize);
    let error = read_within_bounds(&file.0, "entries and strings").unwrap_err();
    assert!(matches!(error, GgufError::Memory { .. }), "{error}");
    assert!(error.to_string().contains("metadata key \"a\""), "{error}");
}
