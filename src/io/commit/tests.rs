//! Power cuts at every byte, damage at every byte, and the rules of use.

use embedded_io::{ErrorKind, Write};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::*;
use crate::io::{FaultyDisk, Unflushed};

const BLOCK: usize = 64;
const HALF: usize = 768;

/// The state of commit `sequence`: of differing lengths, across several blocks.
fn state(sequence: u64) -> Vec<u8> {
    let len = [7, 131, 256, 200][sequence as usize % 4];
    (0..len as u64).map(|i| (sequence * 37 + i * (sequence + 1)) as u8).collect()
}

fn open(disk: FaultyDisk) -> Result<CommitStore<Halves<FaultyDisk>>, CommitError> {
    CommitStore::open(Halves::new(disk, BLOCK as u32)?)
}

/// Commits a state in pieces, so that power cuts fall between writes too.
fn commit(store: &mut CommitStore<Halves<FaultyDisk>>, bytes: &[u8]) -> Result<Commit, CommitError> {
    store.commit(bytes.len() as u64, |out| {
        for piece in bytes.chunks(50) {
            out.write_all(piece)?;
            out.flush()?;
        }
        Ok(())
    })
}

/// A disk that holds commits 1 to `count`.
fn disk_after(count: u64) -> FaultyDisk {
    let mut store = open(FaultyDisk::new(2 * HALF, BLOCK)).unwrap();
    for sequence in 1..=count {
        assert_eq!(commit(&mut store, &state(sequence)).unwrap().sequence, sequence);
    }
    store.into_slots().into_inner()
}

/// Which commit a disk holds, after checking that it holds it whole and that the next commit works.
fn held(disk: &FaultyDisk, name: &str) -> (u64, Option<Notice>) {
    let mut store = open(disk.clone()).unwrap_or_else(|error| panic!("{name}: {error}"));
    let sequence = store.current().map_or(0, |commit| commit.sequence);
    let expected = (sequence > 0).then(|| state(sequence));
    assert_eq!(store.read_all().unwrap(), expected, "{name}");
    let notice = store.notice();
    assert_eq!(commit(&mut store, &state(sequence + 1)).unwrap().sequence, sequence + 1, "{name}");
    assert_eq!(store.read_all().unwrap(), Some(state(sequence + 1)), "{name}");
    (sequence, notice)
}

#[test]
fn a_power_cut_at_any_byte_leaves_the_old_state_or_the_new_one() {
    for new in 1..=4 {
        let before = disk_after(new - 1);
        let mut store = open(before.clone().power_for(u64::MAX)).unwrap();
        commit(&mut store, &state(new)).unwrap();
        let units = store.into_slots().into_inner().used();
        // The flush of the state before (if there is one), the mark, its flush.
        let marked = u64::from(new > 1) + HEADER_BYTES + 1;
        let (mut old_seen, mut new_seen) = (0, 0);
        for power in 0..=units {
            let mut store = open(before.clone().power_for(power)).unwrap();
            let outcome = commit(&mut store, &state(new));
            assert_eq!(outcome.is_ok(), power == units);
            if let Err(error) = outcome {
                assert!(matches!(error, CommitError::Storage { kind: ErrorKind::Other, .. }), "{error}");
                // Whoever holds the store still has the state before.
                let sequence = store.current().map_or(0, |commit| commit.sequence);
                assert_eq!(sequence, new - 1);
                assert_eq!(store.read_all().unwrap(), (new > 1).then(|| state(new - 1)));
            }
            let disk = store.into_slots().into_inner();
            let random = (0..8).map(|seed| Unflushed::Random(power * 8 + seed));
            for unflushed in [Unflushed::Kept, Unflushed::Lost].into_iter().chain(random) {
                let name = format!("commit {new}, {power} of {units} units, {unflushed:?}");
                let (sequence, notice) = held(&disk.clone().power_cut(unflushed), &name);
                assert!(sequence == new || (sequence == new - 1 && power < units), "{name}: {sequence}");
                if sequence == new {
                    new_seen += 1;
                    assert_eq!(notice, None, "{name}");
                } else {
                    old_seen += 1;
                    // Once the mark is flushed, a cut commit never goes unreported.
                    let reported = matches!(notice, Some(Notice::CutShort { .. }));
                    assert!(reported || power < marked, "{name}: {notice:?}");
                    assert!(!matches!(notice, Some(Notice::NewerDamaged { .. })), "{name}: {notice:?}");
                }
            }
        }
        assert!(new_seen > 10 && old_seen > new_seen, "{old_seen} old, {new_seen} new");
    }
}

/// Two disks with caches of their own, so that flushing one slot does not flush the other.
struct TwoDisks([FaultyDisk; 2]);

impl TwoDisks {
    fn at(&mut self, slot: Slot, offset: u64) -> &mut FaultyDisk {
        let disk = &mut self.0[slot.index()];
        embedded_io::Seek::seek(disk, embedded_io::SeekFrom::Start(offset)).unwrap();
        disk
    }
}

impl Slots for TwoDisks {
    type Error = ErrorKind;

    fn size(&mut self, _: Slot) -> Result<u64, ErrorKind> {
        Ok(HALF as u64)
    }

    fn room(&self) -> Option<u64> {
        Some(HALF as u64)
    }

    fn read_at(&mut self, slot: Slot, offset: u64, buf: &mut [u8]) -> Result<usize, ErrorKind> {
        embedded_io::Read::read(self.at(slot, offset), buf)
    }

    fn write_at(&mut self, slot: Slot, offset: u64, bytes: &[u8]) -> Result<(), ErrorKind> {
        self.at(slot, offset).write_all(bytes)
    }

    fn trim(&mut self, _: Slot, _: u64) -> Result<(), ErrorKind> {
        Ok(())
    }

    fn flush(&mut self, slot: Slot) -> Result<(), ErrorKind> {
        self.0[slot.index()].flush()
    }
}

/// A store with commit 1 in slot A, and commit 2 written to slot B's cache but for the last flush.
fn unsettled() -> CommitStore<TwoDisks> {
    let mut store = CommitStore::open(TwoDisks([0, 1].map(|_| FaultyDisk::new(HALF, BLOCK)))).unwrap();
    store.commit_bytes(&state(1)).unwrap();
    let [a, b] = store.into_slots().0;
    // Mark and flush, payload and flush, seal.
    let power = 2 * HEADER_BYTES + 2 + state(2).len() as u64;
    let mut store = CommitStore::open(TwoDisks([a, b.power_for(power)])).unwrap();
    store.commit_bytes(&state(2)).unwrap_err();
    store.slots.0 = store.slots.0.map(|disk| disk.power_for(u64::MAX));
    store
}

fn cut(slots: TwoDisks) -> CommitStore<TwoDisks> {
    CommitStore::open(TwoDisks(slots.0.map(|disk| disk.power_cut(Unflushed::Lost)))).unwrap()
}

#[test]
fn a_state_left_in_the_cache_is_flushed_before_the_other_is_given_up() {
    // The process dies, the cache lives: the next one finds commit 2 and goes on from there.
    let mut store = CommitStore::open(unsettled().into_slots()).unwrap();
    assert_eq!(store.current().unwrap().sequence, 2);
    let outcome = store.commit(100, |_| Err(CommitError::FailureIgnored));
    assert!(matches!(outcome, Err(CommitError::FailureIgnored)));
    // Slot A is marked now; without power only what was flushed is left.
    let mut store = cut(store.into_slots());
    assert_eq!(store.current().unwrap().sequence, 2);
    assert_eq!(store.read_all().unwrap(), Some(state(2)));
}

#[test]
fn after_a_failed_flush_the_same_slot_is_tried_again() {
    let mut store = unsettled();
    assert_eq!(store.current().unwrap().sequence, 1);
    let outcome = store.commit(100, |_| Err(CommitError::FailureIgnored));
    assert!(matches!(outcome, Err(CommitError::FailureIgnored)));
    let mut store = cut(store.into_slots());
    assert_eq!(store.read_all().unwrap(), Some(state(1)));
    assert_eq!(store.commit_bytes(&state(2)).unwrap(), Commit { sequence: 2, len: 256, slot: Slot::B });
}

/// The bytes of a disk that holds commits 2 (slot B) and 3 (slot A).
fn two_commits() -> Vec<u8> {
    let mut disk = disk_after(3);
    let mut bytes = vec![0; 2 * HALF];
    embedded_io::Seek::seek(&mut disk, embedded_io::SeekFrom::Start(0)).unwrap();
    embedded_io::Read::read_exact(&mut disk, &mut bytes).unwrap();
    bytes
}

fn disk(bytes: &[u8]) -> FaultyDisk {
    FaultyDisk::with_contents(bytes.to_vec(), BLOCK)
}

/// Bytes of the slot with the commit that count: header and payload.
fn slot_bytes(sequence: u64) -> usize {
    HEADER_BYTES as usize + state(sequence).len()
}

#[test]
fn a_flipped_bit_anywhere_in_a_slot_leaves_the_other() {
    let sound = two_commits();
    for at in 0..slot_bytes(3) {
        let mut bytes = sound.clone();
        bytes[at] ^= 1 << (at % 8);
        let (sequence, notice) = held(&disk(&bytes), &format!("byte {at} of the newer slot"));
        let expected = match at < HEADER_BYTES as usize {
            true => Notice::CutShort { sequence: None },
            false => Notice::NewerDamaged { sequence: 3 },
        };
        assert_eq!((sequence, notice), (2, Some(expected)), "byte {at}");
    }
    for at in 0..slot_bytes(2) {
        let mut bytes = sound.clone();
        bytes[HALF + at] ^= 1 << (at % 8);
        let (sequence, _) = held(&disk(&bytes), &format!("byte {at} of the older slot"));
        assert_eq!(sequence, 3, "byte {at}");
    }
    // What lies behind a payload does not count.
    let mut bytes = sound.clone();
    bytes[slot_bytes(3)] ^= 1;
    assert_eq!(held(&disk(&bytes), "behind the payload"), (3, None));
}

#[test]
fn damage_to_both_slots_is_an_error_until_erased() {
    let sound = two_commits();
    for (a, b) in [(0, 0), (600, 600), (600, 20), (20, 600), (511, 512)] {
        let mut bytes = sound.clone();
        bytes[a] ^= 4;
        bytes[HALF + b] ^= 4;
        let error = open(disk(&bytes)).unwrap_err();
        assert!(matches!(error, CommitError::Corrupted { .. }), "{a}, {b}: {error}");
        assert!(error.to_string().contains("slot 0") && error.to_string().contains("slot 1"), "{error}");
        let store = CommitStore::erase(Halves::new(disk(&bytes), 1).unwrap()).unwrap();
        assert_eq!((store.current(), store.notice()), (None, None));
    }
    // The only commit there ever was, damaged: not to be taken for an empty store.
    let mut once = disk_after(1);
    embedded_io::Seek::seek(&mut once, embedded_io::SeekFrom::Start(600)).unwrap();
    once.write_all(&[0xaa, 0xaa]).unwrap();
    assert!(matches!(open(once), Err(CommitError::Corrupted { .. })));
}

#[test]
fn a_power_cut_while_erasing_never_brings_back_an_older_state() {
    let all = 2 * (HEADER_BYTES + 1);
    let (mut kept, mut gone, mut torn) = (0, 0, 0);
    for count in [1, 2, 3] {
        for power in 0..=all {
            let mut slots = Halves::new(disk_after(count).power_for(power), BLOCK as u32).unwrap();
            assert_eq!(CommitStore::erase(&mut slots).is_ok(), power == all);
            let disk = slots.into_inner().power_cut(Unflushed::Random(power));
            match open(disk.clone()) {
                Ok(store) if store.current().is_none() => gone += 1,
                Ok(store) => {
                    assert_eq!(store.current().unwrap().sequence, count);
                    assert!(power < all);
                    kept += 1;
                }
                Err(error) => {
                    // The header of the newest state is torn: erasing goes on where it was cut short.
                    assert!(matches!(error, CommitError::Corrupted { .. }), "{error}");
                    assert!(power > HEADER_BYTES && power < all);
                    torn += 1;
                }
            }
            let mut erased = CommitStore::erase(Halves::new(disk, BLOCK as u32).unwrap()).unwrap();
            assert_eq!(erased.commit_bytes(b"anew").unwrap().sequence, 1);
        }
    }
    assert!(kept > 100 && gone > 100 && torn > 10, "{kept} kept, {gone} gone, {torn} torn");
}

/// A slot with this header and 64 bytes of payload, in a disk whose other slot is empty.
fn forged(headers: [Option<Header>; 2]) -> FaultyDisk {
    let mut bytes = vec![0; 2 * HALF];
    for (slot, header) in bytes.chunks_mut(HALF).zip(headers) {
        if let Some(header) = header {
            slot[..HEADER_BYTES as usize].copy_from_slice(&header.encode());
            slot[HEADER_BYTES as usize..][..64].fill(5);
        }
    }
    disk(&bytes)
}

fn sealed(sequence: u64, len: u64) -> Option<Header> {
    Some(Header { sequence, len, digest: Some(Sha256::digest([5u8; 64]).into()) })
}

#[test]
fn forged_headers_do_no_harm() {
    assert_eq!(open(forged([sealed(1, 64), None])).unwrap().read_all().unwrap(), Some(vec![5; 64]));
    for len in [63, 65, HALF as u64, 1 << 40, u64::MAX - 511, u64::MAX] {
        let error = open(forged([sealed(1, len), None])).unwrap_err();
        assert!(matches!(error, CommitError::Corrupted { .. }), "{len}: {error}");
    }
    let mut last = open(forged([None, sealed(u64::MAX, 64)])).unwrap();
    assert!(matches!(last.commit_bytes(b"x"), Err(CommitError::NoSequenceLeft { .. })));
    let twins = open(forged([sealed(7, 64), sealed(7, 64)])).unwrap();
    assert_eq!(twins.current().unwrap().slot, Slot::A);
    assert_eq!(twins.notice(), Some(Notice::SameSequence { sequence: 7 }));
    let twins = open(forged([sealed(7, 60), sealed(7, 64)])).unwrap();
    assert_eq!(twins.current().unwrap().slot, Slot::B);
    assert_eq!(twins.notice(), Some(Notice::NewerDamaged { sequence: 7 }));
    // The state before commit 2 is gone: a slot was lost or deleted.
    let cut = Some(Header { sequence: 2, len: 64, digest: None });
    assert!(matches!(open(forged([None, cut])), Err(CommitError::Corrupted { .. })));
    assert!(matches!(open(forged([cut, None])), Err(CommitError::Corrupted { .. })));
}

#[test]
fn broken_promises_are_reported_and_change_nothing() {
    let mut store = open(disk_after(2)).unwrap();
    let room = HALF as u64;
    for len in [room - HEADER_BYTES + 1, u64::MAX] {
        let error = store.commit(len, |_| Ok::<(), CommitError>(())).unwrap_err();
        let needed = len.saturating_add(HEADER_BYTES);
        assert!(matches!(error, CommitError::TooSmall { needed: n, room: r } if (n, r) == (needed, room)));
    }
    assert_eq!(store.notice(), None);
    let short = store.commit(5, |out| out.write_all(b"four"));
    assert!(matches!(short, Err(CommitError::WrongLength { declared: 5, written: 4 })), "{short:?}");
    let long = store.commit(3, |out| out.write_all(b"four"));
    assert!(matches!(long, Err(CommitError::WrongLength { declared: 3, written: 4 })), "{long:?}");
    let ignored = store.commit(4, |out| {
        let _ = out.write_all(b"too much");
        out.write_all(b"four")
    });
    assert!(matches!(ignored, Err(CommitError::FailureIgnored)), "{ignored:?}");
    assert_eq!(store.read_all().unwrap(), Some(state(2)));
    assert_eq!(store.notice(), Some(Notice::CutShort { sequence: Some(3) }));
    // The largest state that fits, and the empty one.
    let largest = vec![9; HALF - HEADER_BYTES as usize];
    for bytes in [&largest[..], b""] {
        store.commit_bytes(bytes).unwrap();
        assert_eq!(store.read_all().unwrap().as_deref(), Some(bytes));
        store = open(store.into_slots().into_inner()).unwrap();
        assert_eq!(store.read_all().unwrap().as_deref(), Some(bytes));
    }
    let small = Halves::new(FaultyDisk::new(1023, 1), 1).unwrap_err();
    assert!(matches!(small, CommitError::TooSmall { needed: 512, room: 511 }), "{small}");
}

#[test]
fn a_state_that_changes_under_the_reader_is_noticed() {
    let mut store = open(disk_after(3)).unwrap();
    store.slots.write_at(Slot::A, HEADER_BYTES + 3, b"!").unwrap();
    assert!(matches!(store.read_all(), Err(CommitError::Changed { slot: Slot::A, sequence: 3 })));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]

    /// Any sequence of commits, each with or without a power cut, on a disk that loses what it likes.
    #[test]
    fn any_sequence_of_commits_and_cuts(
        steps in prop::collection::vec(
            (prop::collection::vec(any::<u8>(), 0..250), prop::option::of(0u64..1300), any::<u64>()),
            1..24,
        ),
    ) {
        let mut disk = FaultyDisk::new(2 * HALF, BLOCK);
        let mut known: Option<Vec<u8>> = None;
        for (bytes, power, seed) in steps {
            let mut store = open(disk.power_for(power.unwrap_or(u64::MAX))).unwrap();
            prop_assert_eq!(&store.read_all().unwrap(), &known);
            let outcome = commit(&mut store, &bytes);
            disk = store.into_slots().into_inner().power_cut(Unflushed::Random(seed));
            let now = open(disk.clone()).unwrap().read_all().unwrap();
            let is_new = now.as_ref() == Some(&bytes);
            prop_assert!(is_new || (outcome.is_err() && now == known));
            known = now;
        }
    }
}

#[test]
fn a_folder_keeps_the_state_of_whoever_holds_the_lock() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let nothing = CommitStore::open(FolderSlots::open_to_read(at, "s").unwrap()).unwrap();
    assert!(nothing.current().is_none());

    let mut store = CommitStore::open(FolderSlots::open(at, "s").unwrap()).unwrap();
    let busy = FolderSlots::open(at, "s").unwrap_err();
    assert!(matches!(busy, CommitError::File(crate::io::IoError::Busy { .. })), "{busy}");
    for len in [200_000, 100_000, 30, 0, 70_000] {
        let bytes: Vec<u8> = (0..len).map(|i| (i * 7 + len) as u8).collect();
        let commit = store.commit_bytes(&bytes).unwrap();
        let file = at.join(format!("s.{}", commit.slot.index()));
        // A shorter state gives the room back.
        assert_eq!(std::fs::metadata(file).unwrap().len(), HEADER_BYTES + len);
        let mut reader = CommitStore::open(FolderSlots::open_to_read(at, "s").unwrap()).unwrap();
        assert_eq!(reader.current(), Some(commit));
        assert_eq!(reader.read_all().unwrap(), Some(bytes));
        assert!(matches!(reader.commit_bytes(b"x"), Err(CommitError::Storage { .. })));
    }
    drop(store);
    let mut store = CommitStore::open(FolderSlots::open(at, "s").unwrap()).unwrap();
    assert_eq!(store.current().unwrap().sequence, 5);
    std::fs::remove_file(at.join("s.1")).unwrap();
    store.commit_bytes(b"six").unwrap();
    drop(store);
    // The newer file is gone: the older one is what is left, and files are made anew.
    let mut store = CommitStore::open(FolderSlots::open(at, "s").unwrap()).unwrap();
    assert_eq!((store.current().unwrap().sequence, store.read_all().unwrap().unwrap().len()), (5, 70_000));
    assert!(matches!(FolderSlots::open(at.join("no"), "s"), Err(CommitError::File(_))));
}

#[test]
fn a_file_cut_in_halves_works_as_a_device() {
    let file = tempfile::tempfile().unwrap();
    file.set_len(1 << 20).unwrap();
    let device = crate::io::SyncedFile(file);
    let mut store = CommitStore::open(Halves::new(device, 4096).unwrap()).unwrap();
    let bytes: Vec<u8> = (0..400_000u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
    for len in [400_000, 1, 300_000] {
        store.commit_bytes(&bytes[..len]).unwrap();
        store = CommitStore::open(store.into_slots()).unwrap();
        assert_eq!(store.read_all().unwrap().as_deref(), Some(&bytes[..len]));
    }
}
