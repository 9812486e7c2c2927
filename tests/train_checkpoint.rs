//! Checkpoints of a real run, on a disk that loses its power at every byte of a save, and damaged in thousands of ways.
#![cfg(feature = "train")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{golden, open};
use emberlm::io::commit::Halves;
use emberlm::io::{CommitStore, FaultyDisk, Unflushed};
use emberlm::session::{DeviceChoice, SessionOptions};
use emberlm::train::data::{Example, Source};
use emberlm::train::{LoraOptions, Place, Settings, Trainer};

const BLOCK: u32 = 512;
const HALF: usize = 16 << 10;
const IDENTITY: &str = "a test";

type Store = CommitStore<Halves<FaultyDisk>>;

/// A run whose state is a few kilobytes: rank 1 on one kind of matrix.
fn trainer() -> Trainer {
    let model = open(&golden("arch/llama-tied.gguf"));
    let vocab = model.config().vocab as u32;
    let tokens = |i: u32| (0..6).map(|k| (i * 31 + k * 7 + 3) % vocab).collect();
    let examples = (0..5).map(|i| Example::new(tokens(i), vec![true; 6], Source::default())).collect();
    let lora = LoraOptions { rank: 1, targets: vec!["attn_k".into()], ..LoraOptions::default() };
    let settings = Settings { lora, batch: 2, epochs: 4, learning_rate: 1e-2, ..Settings::default() };
    let device = SessionOptions { device: DeviceChoice::Cpu, threads: Some(1), ..SessionOptions::default() };
    let place = Place { device, ..Place::default() };
    Trainer::new(&model, examples, vec![], &settings, &place, None).unwrap()
}

fn store(disk: FaultyDisk) -> Result<Store, emberlm::io::CommitError> {
    CommitStore::open(Halves::new(disk, BLOCK)?)
}

/// What the run learns from here to its end, as bits.
fn finish(trainer: &mut Trainer) -> Vec<u32> {
    while trainer.step(&mut |_| ()).unwrap().is_some() {}
    let adapter = trainer.adapter(std::collections::BTreeMap::new()).unwrap();
    adapter.pairs.iter().flat_map(|p| [&p.a[..], &p.b[..]].concat()).map(f32::to_bits).collect()
}

fn step(trainer: &mut Trainer) {
    trainer.step(&mut |_| ()).unwrap().unwrap();
}

/// A disk with the state after one step, and the run that made it, a step further.
fn after_two_steps() -> (FaultyDisk, Trainer) {
    let mut run = trainer();
    let mut on = store(FaultyDisk::new(2 * HALF, BLOCK as usize)).unwrap();
    step(&mut run);
    run.save(&mut on, IDENTITY).unwrap();
    step(&mut run);
    (on.into_slots().into_inner(), run)
}

#[test]
fn a_power_cut_at_any_byte_of_a_save_loses_nothing() {
    let expected = finish(&mut trainer());
    let (disk, mut run) = after_two_steps();
    let mut whole = store(disk.clone().power_for(u64::MAX)).unwrap();
    run.save(&mut whole, IDENTITY).unwrap();
    let units = whole.into_slots().into_inner().used();
    assert!(units > 1000, "{units}");
    let mut resumed = trainer();
    let (mut old, mut new) = (0, 0);
    for cut in 0..=units {
        let mut on = store(disk.clone().power_for(cut)).unwrap();
        let saved = run.save(&mut on, IDENTITY);
        assert_eq!(saved.is_ok(), cut >= units, "cut after {cut} of {units}");
        let outcome = if cut % 2 == 0 { Unflushed::Lost } else { Unflushed::Random(cut) };
        let left = on.into_slots().into_inner().power_cut(outcome);
        let mut on = store(left).unwrap();
        assert!(resumed.restore(&mut on, IDENTITY).unwrap(), "cut after {cut}: no state");
        match resumed.step_count() {
            1 => old += 1,
            2 => new += 1,
            other => panic!("cut after {cut}: step {other}"),
        }
        // Going on from some of them to the end costs time: a sample.
        if cut % 997 == 0 || cut == units {
            assert!(finish(&mut resumed) == expected, "cut after {cut}: another adapter");
        }
    }
    println!("{units} cuts: {old} left the state before, {new} the new one");
    assert!(old > 0 && new > 0);
}

#[test]
fn damaged_checkpoints_are_refused_or_sound() {
    let (disk, mut run) = after_two_steps();
    let sound = store(disk).unwrap().read_all().unwrap().unwrap();
    let mut resumed = trainer();
    let mut random = 88172645463325252u64;
    let mut next = move |n: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % n as u64) as usize
    };
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..5000 {
        let mut bytes = sound.clone();
        for _ in 0..1 + next(4) {
            match next(5) {
                0 => bytes.truncate(next(bytes.len().max(1))),
                1 => {
                    let at = next(bytes.len().max(1));
                    bytes.splice(at..at, [0xff; 8]);
                }
                2 if !bytes.is_empty() => {
                    let at = next(bytes.len());
                    bytes[at] = [0, 1, 0x7f, 0x80, 0xff, b'9', b'-', b'}'][next(8)];
                }
                // The text sections are at the start.
                _ if !bytes.is_empty() => {
                    let at = next(bytes.len().min(2048));
                    bytes[at] = next(256) as u8;
                }
                _ => {}
            }
        }
        let mut on = store(FaultyDisk::new(4 * HALF, BLOCK as usize)).unwrap();
        on.commit_bytes(&bytes).unwrap();
        match resumed.restore(&mut on, IDENTITY) {
            Ok(true) => {
                taken += 1;
                // It must be possible to go on, or to be told why not.
                let _ = resumed.step(&mut |_| ());
            }
            Ok(false) => panic!("a committed state is a state"),
            Err(error) => {
                assert!(!error.to_string().is_empty());
                refused += 1;
            }
        }
    }
    println!("{taken} taken, {refused} refused");
    assert!(taken > 0 && refused > 0);
    step(&mut run);
}
