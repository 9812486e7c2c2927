//! Kills a process that commits to a folder, two hundred times, and looks at what it left behind.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{BufRead, BufReader, Read, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use embedded_io::Write;
use emberlm::io::commit::Notice;
use emberlm::io::{CommitError, CommitStore, FolderSlots};

const ROUNDS: u64 = 200;
const FOLDER: &str = "EMBER_TEST_COMMITS_TO";
const NAME: &str = "a_killed_process_leaves_the_old_state_or_the_new_one";

/// The state of commit `sequence`: up to 300 KB.
fn state(sequence: u64) -> Vec<u8> {
    let len = sequence.wrapping_mul(0x9E37_79B9_7F4A_7C15) % 300_000;
    (0..len).map(|i| (i ^ (i >> 8) ^ sequence.wrapping_mul(113)) as u8).collect()
}

/// The child: commits for ever and says after each commit which one it was.
fn commit_until_killed(folder: &str) -> Result<(), CommitError> {
    let mut store = CommitStore::open(FolderSlots::open(folder, "state")?)?;
    let say = |line: String| std::io::stdout().write_all(line.as_bytes()).unwrap();
    say("open\n".to_owned());
    loop {
        let next = store.current().map_or(0, |commit| commit.sequence) + 1;
        let bytes = state(next);
        store.commit(bytes.len() as u64, |out| {
            bytes.chunks(10_000).try_for_each(|piece| out.write_all(piece))
        })?;
        say(format!("committed {next}\n"));
    }
}

/// Starts a child, kills it after `wait` of commits, and gives the last commit it reported.
fn run_and_kill(folder: &Path, wait: Duration) -> Option<u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while line != "open\n" {
        line.clear();
        assert_ne!(output.read_line(&mut line).unwrap(), 0, "the child did not open the store");
    }
    std::thread::sleep(wait);
    child.kill().unwrap();
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert!(!child.wait().unwrap().success());
    assert!(!rest.contains("panicked"), "{rest}");
    // A last line without its end may be cut short itself.
    let whole = rest.rfind('\n').map_or("", |end| &rest[..end]);
    whole.lines().rev().find_map(|line| line.strip_prefix("committed ")?.parse().ok())
}

#[test]
fn a_killed_process_leaves_the_old_state_or_the_new_one() {
    if let Ok(folder) = std::env::var(FOLDER) {
        panic!("the child ended by itself: {:?}", commit_until_killed(&folder));
    }
    let parent = tempfile::tempdir().unwrap();
    let mut folder = parent.path().to_path_buf();
    let mut known = 0;
    let (mut cut, mut unreported) = (0, 0);
    for round in 0..ROUNDS {
        if round % 4 == 0 {
            // First commits are cut short too.
            folder = parent.path().join(round.to_string());
            std::fs::create_dir(&folder).unwrap();
            known = 0;
        }
        let random = (round + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
        let reported = run_and_kill(&folder, Duration::from_micros(random % 15_000)).unwrap_or(known);
        let mut store = CommitStore::open(FolderSlots::open(&folder, "state").unwrap()).unwrap();
        let found = store.current().map_or(0, |commit| commit.sequence);
        assert!(found == reported || found == reported + 1, "round {round}: {reported}, then {found}");
        assert_eq!(store.read_all().unwrap(), (found > 0).then(|| state(found)), "round {round}");
        cut += u64::from(matches!(store.notice(), Some(Notice::CutShort { .. })));
        assert!(!matches!(store.notice(), Some(Notice::NewerDamaged { .. })), "round {round}");
        unreported += u64::from(found > reported);
        known = found;
    }
    println!("{cut} of {ROUNDS} kills cut a commit short, {unreported} fell between a commit and its report");
    // Else the kills would have missed what they are for.
    assert!(cut > ROUNDS / 20, "only {cut} of {ROUNDS} kills cut a commit short");
}
