//! Power cuts at every byte of every change, and the rules of versions.

use super::*;
use crate::adapter::testing::pair;
use crate::io::{FaultyDisk, Halves, Unflushed};
use crate::journal::{Entry, Said, Standing};

const BLOCK: usize = 64;
const HALF: usize = 16 << 10;
const TIME: &str = "2026-11-25T03:04:11Z";

type Disk = Live<Halves<FaultyDisk>>;

fn open(disk: FaultyDisk) -> Result<Disk, LiveError> {
    Live::open(Halves::new(disk, BLOCK as u32)?)
}

fn disk(live: Disk) -> FaultyDisk {
    live.into_slots().into_inner()
}

fn adapter(seed: u32) -> Adapter {
    let pairs = vec![pair("blk.0.attn_q", 1, 3, 2 + seed as usize % 3, seed)];
    Adapter {
        name: format!("n{seed}"),
        architecture: "llama".into(),
        alpha: 1.0,
        pairs,
        ..Adapter::default()
    }
}

fn key(n: u32) -> Key {
    Entry { messages: vec![Said::user(n.to_string())], ..Entry::default() }.key()
}

/// Version `n` learns key `n` and is judged by key `100 + n`.
fn learnt(n: u32) -> Learnt {
    let figure = Figure {
        name: "loss".into(),
        before: Some(2.5),
        after: Some(f64::NAN),
        passed: true,
        ..Figure::default()
    };
    Learnt { learnt: vec![key(n)], held_out: vec![key(100 + n)], figures: vec![figure], ..Learnt::default() }
}

/// What would have been version `n`, of so many entries.
fn refused(entries: usize, n: u32, why: &str) -> Refused {
    Refused { entries, figures: learnt(n).figures, why: why.into(), lesson: format!("{entries} of {n}") }
}

fn switch(live: &mut Disk, n: u32) -> Result<Version, LiveError> {
    live.switch(&adapter(n), learnt(n), TIME)
}

/// A store after versions 1 to `count`.
fn after(count: u32) -> Disk {
    let mut live = open(FaultyDisk::new(2 * HALF, BLOCK)).unwrap();
    (1..=count).for_each(|n| assert_eq!(switch(&mut live, n).unwrap().number, u64::from(n)));
    live
}

/// All there is to a store: its state and every adapter's bytes.
fn all(live: &mut Disk) -> (State, Vec<Vec<u8>>) {
    let numbers: Vec<u64> = live.state.kept().map(|v| v.number).collect();
    (live.state.clone(), numbers.into_iter().map(|n| live.bytes(n).unwrap()).collect())
}

/// What `change` makes of the store that `before` gives, cut at every unit of power.
fn cut_everywhere(before: &FaultyDisk, name: &str, change: &dyn Fn(&mut Disk) -> Result<(), LiveError>) {
    let old = all(&mut open(before.clone()).unwrap());
    let mut live = open(before.clone().power_for(u64::MAX)).unwrap();
    change(&mut live).unwrap();
    let new = all(&mut live);
    assert_ne!(old.0, new.0);
    let units = disk(live).used();
    let (mut olds, mut news) = (0, 0);
    for power in 0..=units {
        let mut live = open(before.clone().power_for(power)).unwrap();
        let outcome = change(&mut live);
        assert_eq!(outcome.is_ok(), power == units, "{name}: {power} of {units}: {outcome:?}");
        // Whoever holds the store sees the state before, whole.
        assert_eq!(all(&mut live), if power == units { new.clone() } else { old.clone() });
        let cut = disk(live);
        let random = (0..2).map(|seed| Unflushed::Random(power * 8 + seed));
        for unflushed in [Unflushed::Kept, Unflushed::Lost].into_iter().chain(random) {
            let name = format!("{name}: {power} of {units}, {unflushed:?}");
            let mut live = open(cut.clone().power_cut(unflushed)).unwrap_or_else(|e| panic!("{name}: {e}"));
            let found = all(&mut live);
            assert!(found == new || (found == old && power < units), "{name}: neither old nor new");
            if found == new { news += 1 } else { olds += 1 }
        }
    }
    assert!(olds > 1000 && news > 4, "{name}: {olds} old, {news} new");
    println!("{name}: {units} places to cut, {olds} outcomes old, {news} new");
}

#[test]
fn a_power_cut_at_any_byte_leaves_the_old_adapter_and_cursor_or_the_new() {
    let ok = |outcome: Result<Version, LiveError>| outcome.map(|_| ());
    let first = FaultyDisk::new(2 * HALF, BLOCK);
    cut_everywhere(&first, "first switch", &|live| ok(switch(live, 1)));
    cut_everywhere(&disk(after(2)), "switch", &|live| ok(switch(live, 3)));
    cut_everywhere(&disk(after(2)), "roll back", &|live| live.roll_back(None, TIME).map(|_| ()));
    cut_everywhere(&disk(after(1)), "roll back to the base", &|live| live.roll_back(None, TIME).map(|_| ()));
    cut_everywhere(&disk(after(2)), "refuse", &|live| live.refuse(refused(3, 3, "worse"), TIME));
}

#[test]
fn rolling_back_restores_every_bit_and_undoes_the_cursor() {
    let mut live = after(3);
    let bytes = |n: u32| adapter(n).write_gguf(Vec::new()).unwrap();
    for n in 1..=3 {
        assert_eq!(live.bytes(n.into()).unwrap(), bytes(n));
    }
    let standing = |live: &Disk, n| live.cursor().standing(key(n));
    assert_eq!(standing(&live, 3), Standing::Learnt { version: 3 });
    assert_eq!(standing(&live, 102), Standing::HeldOut { version: 2 });
    assert_eq!(standing(&live, 4), Standing::New);
    let back = live.roll_back(None, TIME).unwrap().unwrap();
    assert_eq!((back.number, live.adapter(2).unwrap()), (2, adapter(2)));
    assert_eq!(live.bytes(2).unwrap(), bytes(2));
    assert_eq!(standing(&live, 3), Standing::Undone { version: 3 });
    assert_eq!(standing(&live, 103), Standing::Undone { version: 3 });
    assert_eq!(standing(&live, 2), Standing::Learnt { version: 2 });
    // Learnt again, it is learnt; and a roll back may be taken back.
    live.switch(&adapter(9), learnt(3), TIME).unwrap();
    assert_eq!(
        (live.current().unwrap().parent, standing(&live, 3)),
        (Some(2), Standing::Learnt { version: 4 })
    );
    assert_eq!(live.roll_back(Some(3), TIME).unwrap().unwrap().number, 3);
    assert_eq!(standing(&live, 3), Standing::Learnt { version: 3 });
    assert_eq!(live.roll_back(Some(0), TIME).unwrap(), None);
    assert_eq!(standing(&live, 1), Standing::Undone { version: 1 });
    assert!(matches!(live.roll_back(None, TIME), Err(LiveError::NoneLive)));
    assert!(matches!(live.roll_back(Some(0), TIME), Err(LiveError::NoneLive)));
    assert!(matches!(live.roll_back(Some(7), TIME), Err(LiveError::Unknown { version: 7, last: 4 })));
    live.roll_back(Some(4), TIME).unwrap();
    assert!(matches!(live.roll_back(Some(4), TIME), Err(LiveError::AlreadyLive { version: 4 })));
    let events: Vec<String> = live
        .log()
        .iter()
        .map(|event| match event {
            Event::Switched { version, .. } => format!("+{version}"),
            Event::RolledBack { from, to, .. } => format!("{}>{}", from.unwrap_or(0), to.unwrap_or(0)),
            Event::Refused { .. } => "refused".into(),
        })
        .collect();
    assert_eq!(events, ["+1", "+2", "+3", "3>2", "+4", "4>3", "3>0", "0>4"]);
    assert_eq!(open(disk(live)).unwrap().log().len(), 8);
}

#[test]
fn the_versions_before_the_live_one_are_kept_first() {
    let mut live = after(6);
    let kept = |live: &Disk| live.state.kept().map(|v| v.number).collect::<Vec<u64>>();
    assert_eq!(kept(&live), [2, 3, 4, 5, 6]);
    assert!(matches!(live.bytes(1), Err(LiveError::NotKept { version: 1, .. })));
    // What it learnt counts still.
    assert_eq!(live.cursor().standing(key(1)), Standing::Learnt { version: 1 });
    live.roll_back(Some(3), TIME).unwrap();
    switch(&mut live, 7).unwrap();
    assert_eq!(kept(&live), [2, 3, 5, 6, 7]);
    switch(&mut live, 8).unwrap();
    assert_eq!(kept(&live), [2, 3, 6, 7, 8]);
    assert_eq!(live.versions().len(), 8);
    assert_eq!(live.bytes(6).unwrap(), adapter(6).write_gguf(Vec::new()).unwrap());
    // The version before version 2 is gone: no roll back, and nothing changed.
    live.roll_back(Some(2), TIME).unwrap();
    assert!(matches!(live.roll_back(None, TIME), Err(LiveError::NotKept { version: 1, .. })));
    assert_eq!(live.current().unwrap().number, 2);
}

#[test]
fn what_is_refused_is_noted_and_nothing_else() {
    let mut live = after(1);
    let before = live.state.clone();
    assert_eq!(live.refused("12 of 2"), None);
    live.refuse(refused(12, 2, "the loss rose"), TIME).unwrap();
    assert_eq!(live.refused("12 of 2"), Some((TIME, "the loss rose")));
    assert_eq!(live.refused(""), None);
    assert_eq!((live.state.current, &live.state.versions), (before.current, &before.versions));
    assert_eq!(live.cursor().standing(key(2)), Standing::New);
    let Some(Event::Refused { entries: 12, live: Some(1), figures, .. }) = live.log().last() else {
        panic!("{:?}", live.log())
    };
    assert_eq!((figures[0].before, figures[0].after), (Some(2.5), None), "no number that JSON does not have");
    // An adapter that cannot be used does not get as far.
    let bad = Adapter { pairs: Vec::new(), ..adapter(1) };
    assert!(matches!(live.switch(&bad, learnt(2), TIME), Err(LiveError::Adapter(_))));
    let mut again = open(disk(live)).unwrap();
    assert_eq!((again.log().len(), again.adapter(1).unwrap()), (2, adapter(1)));
}

#[test]
fn folders_are_locked_and_damage_is_typed() {
    let parent = tempfile::tempdir().unwrap();
    let base = BaseFingerprint { sha256: "ab".repeat(32), ..BaseFingerprint::default() };
    let path = folder(parent.path(), &base);
    assert!(path.ends_with("live/abababababab"));
    assert!(Live::open_to_read(&path).unwrap().current().is_none());
    let mut live = Live::open_folder(&path).unwrap();
    let busy = Live::open_folder(&path).map(|_| ()).unwrap_err();
    assert!(matches!(busy, LiveError::Store(CommitError::File(IoError::Busy { .. }))), "{busy}");
    live.switch(&adapter(1), learnt(1), TIME).unwrap();
    live.switch(&adapter(2), learnt(2), TIME).unwrap();
    assert_eq!(Live::open_to_read(&path).unwrap().current().unwrap().number, 2);
    drop(live);
    // The newer slot damaged: the older state, whole, and a notice.
    let spoil = |slot: &str| {
        let path = path.join(slot);
        let mut bytes = std::fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        bytes[700] ^= 1;
        std::fs::write(&path, bytes).unwrap();
    };
    spoil("live.1");
    let mut older = Live::open_to_read(&path).unwrap();
    assert_eq!((older.current().unwrap().number, older.adapter(1).unwrap()), (1, adapter(1)));
    assert_eq!(older.notice(), Some(Notice::NewerDamaged { sequence: 2 }));
    spoil("live.0");
    let damaged = Live::open_folder(&path).map(|_| ()).unwrap_err();
    assert!(matches!(damaged, LiveError::Store(CommitError::Corrupted { .. })), "{damaged}");
}

/// A store whose commit is sound and whose content is `sections`.
fn holding(sections: &Sections<'_>) -> Result<Disk, LiveError> {
    let mut bytes = Vec::new();
    sections.write(&mut bytes).unwrap();
    let mut store = CommitStore::open(Halves::new(FaultyDisk::new(2 * HALF, BLOCK), 1)?)?;
    store.commit_bytes(&bytes)?;
    Live::open(store.into_slots())
}

#[test]
fn states_that_contradict_themselves_are_refused() {
    let sound = after(2).state;
    let bytes: Vec<Vec<u8>> = (1..=2).map(|n| adapter(n).write_gguf(Vec::new()).unwrap()).collect();
    let with = |state: &State, second: &[u8]| {
        let mut sections = Sections::new();
        sections.text(STATE, serde_json::to_string(state).unwrap());
        sections.bytes("adapter.1", &bytes[0][..]).bytes("adapter.2", second.to_vec());
        holding(&sections)
    };
    assert_eq!(with(&sound, &bytes[1]).unwrap().current().unwrap().number, 2);
    let refused = |change: &dyn Fn(&mut State), says: &str| {
        let mut state = sound.clone();
        change(&mut state);
        let error = with(&state, &bytes[1]).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(says), "{says}: {error}");
    };
    refused(&|s| s.current = Some(3), "not there");
    refused(&|s| s.versions[1].kept = false, "not kept");
    refused(&|s| s.versions[1].parent = Some(2), "no parent");
    refused(&|s| s.versions[1].parent = Some(7), "no parent");
    refused(&|s| s.versions.swap(0, 1), "comes after");
    refused(&|s| s.versions[1].bytes += 1, "bytes");
    refused(&|s| s.versions[0].number = 0, "comes after");
    // Sound to look at, with other bytes.
    let mut other = bytes[1].clone();
    *other.last_mut().unwrap() ^= 1;
    let mut live = with(&sound, &other).unwrap();
    assert!(matches!(live.adapter(2), Err(LiveError::Damaged(_))));
    assert_eq!(live.adapter(1).unwrap(), adapter(1));
    assert!(matches!(holding(&Sections::new()), Err(LiveError::Sections(_))));
    let mut last = State::default();
    last.versions.push(Version { number: u64::MAX, ..Version::default() });
    let mut sections = Sections::new();
    sections.text(STATE, serde_json::to_string(&last).unwrap());
    let mut live = holding(&sections).unwrap();
    assert!(matches!(switch(&mut live, 1), Err(LiveError::Damaged(_))));
}
