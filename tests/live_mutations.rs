//! Five thousand damaged states of the live adapter, each in a commit that is sound, so that the damage gets past the
//! checksum, and as many damaged slots: a typed error or a sound state, no panic, and memory within a few times the
//! state. Its own test binary, because it counts what the allocator gives out.
#![cfg(feature = "train")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod gguf_support;

use std::time::{Duration, Instant};

use emberlm::adapter::{Adapter, LoraPair};
use emberlm::io::{CommitStore, FaultyDisk, Halves};
use emberlm::journal::live::{Figure, Learnt, Live, LiveError, Refused};
use emberlm::journal::{Entry, Key, Said};
use gguf_support::Random;
use gguf_support::counting::{Counting, NOW, PEAK};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const MUTATIONS: u64 = 5_000;
const ONE_READ: Duration = Duration::from_secs(2);
/// The state's text beside the versions read from it, vectors that grow by doubling, and an adapter read from its bytes.
const TIMES: usize = 6;
/// For what has a fixed size: the checksum's buffer, and the error's message.
const SLACK: usize = 96 << 10;
const HALF: usize = 48 << 10;
const TIME: &str = "2026-11-25T03:04:11Z";

type Disk = Live<Halves<FaultyDisk>>;

fn slots(disk: FaultyDisk) -> Halves<FaultyDisk> {
    Halves::new(disk, 1).unwrap()
}

fn adapter(n: usize) -> Adapter {
    let pair = |i: usize| LoraPair {
        target: format!("blk.{i}.attn_q"),
        rank: 1,
        inputs: 20 + n,
        outputs: 10,
        a: vec![0.5; 20 + n],
        b: vec![-0.25; 10],
    };
    Adapter {
        architecture: "llama".into(),
        alpha: 1.0,
        pairs: (0..2).map(pair).collect(),
        ..Adapter::default()
    }
}

fn key(n: usize) -> Key {
    Entry { messages: vec![Said::user(n.to_string())], ..Entry::default() }.key()
}

/// A store with a history: versions, a roll back, a refusal.
fn sound() -> Disk {
    let mut live = Live::open(slots(FaultyDisk::new(2 * HALF, 512))).unwrap();
    let figure =
        |name: &str| Figure { name: name.into(), before: Some(1.5), limit: Some(2.0), ..Figure::default() };
    for n in 0..4 {
        let keys = |from: usize| (from..from + 8).map(key).collect();
        let learnt = Learnt {
            learnt: keys(16 * n),
            held_out: keys(16 * n + 8),
            figures: vec![figure("loss"), figure("kl")],
            ..Learnt::default()
        };
        live.switch(&adapter(n), learnt, TIME).unwrap();
    }
    live.roll_back(None, TIME).unwrap();
    let refused =
        Refused { entries: 7, figures: vec![figure("loss")], why: "it \"rose\"".into(), lesson: "7".into() };
    live.refuse(refused, TIME).unwrap();
    live
}

/// Opens what `disk` holds, reads every adapter, and changes it, within bounds of the `len` bytes it holds. Gives whether
/// it was accepted.
fn use_it(disk: FaultyDisk, len: usize, name: &str) -> bool {
    let start = Instant::now();
    let slots = slots(disk);
    let before = NOW.get();
    PEAK.set(before);
    let said = |error: LiveError| {
        assert!(!error.to_string().is_empty() && error.to_string().len() < 2000, "{name}: {error}");
    };
    let accepted = match Live::open(slots) {
        Err(error) => {
            said(error);
            false
        }
        Ok(mut live) => {
            let numbers: Vec<u64> = live.versions().iter().map(|v| v.number).collect();
            for number in numbers {
                if let Err(error) = live.adapter(number) {
                    said(error);
                }
            }
            assert!(live.current().is_none_or(|version| version.kept), "{name}");
            let _ = live.cursor().standing(key(0));
            if let Err(error) = live.roll_back(None, TIME) {
                said(error);
            }
            true
        }
    };
    let peak = PEAK.get() - before;
    assert!(peak <= TIMES * len + SLACK, "{name}: {peak} bytes of memory for {len}");
    assert!(start.elapsed() < ONE_READ, "{name}: took {:?}", start.elapsed());
    accepted
}

/// A damaged copy; most of the damage falls on the first `head` bytes.
fn mutate(bytes: &[u8], head: usize, random: &mut Random) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for _ in 0..1 + random.below(3) {
        let reach = if random.below(5) == 0 { out.len() } else { out.len().min(head) }.max(1);
        let at = random.below(reach).min(out.len());
        let end = (at + 1 + random.below(12)).min(out.len());
        match random.below(6) {
            0 => out[at..end].iter_mut().take(1).for_each(|byte| *byte ^= 1 << random.below(8)),
            1 | 2 => {
                out[at..end]
                    .iter_mut()
                    .for_each(|byte| *byte = b"0123456789[]{}\",:nullabcdef "[random.below(28)]);
            }
            3 => {
                // A digit for a digit: what parses, and means something else.
                let digit = out[at..].iter().position(u8::is_ascii_digit);
                if let Some(digit) = digit {
                    out[at + digit] = b'0' + random.below(10) as u8;
                }
            }
            4 => {
                let number = [0, u64::MAX, 1 << 40, out.len() as u64][random.below(4)].to_le_bytes();
                out[at..end].iter_mut().zip(number).for_each(|(byte, new)| *byte = new);
            }
            // Pieces change places; the lengths stay.
            _ => {
                let from = random.below(out.len().saturating_sub(16).max(1));
                let piece = out[from..(from + 12).min(out.len())].to_vec();
                out[at..].iter_mut().zip(piece).for_each(|(byte, new)| *byte = new);
            }
        }
        if random.below(12) == 0 {
            out.truncate(at);
        }
    }
    out
}

#[test]
fn damaged_states_cause_no_panic_and_no_waste() {
    let disk = sound().into_slots().into_inner();
    let payload = CommitStore::open(slots(disk)).unwrap().read_all().unwrap().unwrap();
    assert!(payload.len() < HALF - 1024, "{}", payload.len());
    let committed = |bytes: &[u8]| {
        let mut store = CommitStore::open(slots(FaultyDisk::new(2 * HALF, 512))).unwrap();
        store.commit_bytes(bytes).unwrap();
        store.into_slots().into_inner()
    };
    assert!(use_it(committed(&payload), payload.len(), "sound"));
    let mut accepted = 0;
    for seed in 0..MUTATIONS {
        let mut random = Random(seed.wrapping_mul(0x5851_F42D_4C95_7F2D));
        let damaged = mutate(&payload, 6 << 10, &mut random);
        accepted += u64::from(use_it(committed(&damaged), damaged.len(), &format!("mutation {seed}")));
    }
    println!("{accepted} of {MUTATIONS} accepted");
    // The damage must be neither always fatal nor mostly without effect, or this test would show nothing.
    assert!(accepted > MUTATIONS / 50 && accepted < MUTATIONS / 2, "{accepted} of {MUTATIONS} were accepted");
}

#[test]
fn damaged_slots_are_the_state_before_or_an_error() {
    let mut disk = sound().into_slots().into_inner();
    let mut medium = vec![0; 2 * HALF];
    embedded_io::Seek::seek(&mut disk, embedded_io::SeekFrom::Start(0)).unwrap();
    embedded_io::Read::read_exact(&mut disk, &mut medium).unwrap();
    let mut accepted = 0;
    for seed in 0..MUTATIONS {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut damaged = medium.clone();
        for half in damaged.chunks_mut(HALF) {
            if random.below(3) > 0 {
                let new = mutate(half, 16 << 10, &mut random);
                half[..new.len()].copy_from_slice(&new);
            }
        }
        let disk = FaultyDisk::with_contents(damaged, 512);
        accepted += u64::from(use_it(disk, HALF, &format!("slots {seed}")));
    }
    println!("{accepted} of {MUTATIONS} accepted");
    assert!(
        accepted > MUTATIONS / 50 && accepted < MUTATIONS * 9 / 10,
        "{accepted} of {MUTATIONS} were accepted"
    );
}
