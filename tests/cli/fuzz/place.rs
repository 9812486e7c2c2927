//! Where the command lines run: a folder with a model, adapters, data, and things that are no files; and what became of it.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::adapter::{base, golden};
use crate::common;

/// A folder for command lines, and one for what they say.
pub struct Place {
    dir: TempDir,
    logs: TempDir,
    /// Hashes of what was looked at before.
    known: RefCell<Hashes>,
}

/// By path, length and time of change.
type Hashes = HashMap<(PathBuf, u64, SystemTime), Vec<u8>>;

/// A thing in the folder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Thing {
    kind: Kind,
    length: u64,
    changed: SystemTime,
    /// Of its bytes.
    hash: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    File,
    Folder,
    Link,
    Other,
}

const WORDS: [&str; 6] = ["red", "blue", "green", "one", "two", "three"];

impl Place {
    pub fn new() -> Self {
        let place = Self {
            dir: tempfile::tempdir().unwrap(),
            logs: tempfile::tempdir().unwrap(),
            known: RefCell::default(),
        };
        place.fill();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn log(&self, name: &str) -> PathBuf {
        self.logs.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    fn fill(&self) {
        let model = std::fs::read(base()).unwrap();
        self.write("model.gguf", &model);
        self.write("odd/other.gguf", std::fs::read(golden("arch/llama-tied.gguf")).unwrap());
        self.write("odd/torn.gguf", &model[..model.len() / 2]);
        let hash = common::sha256(&model);
        self.write("catalog.toml", common::catalog(&model, Some(&hash), &common::file_source("model.gguf")));
        for file in ["adapter_config.json", "adapter_model.safetensors"] {
            self.write(
                &format!("peft/{file}"),
                std::fs::read(golden(&format!("adapter/peft/{file}"))).unwrap(),
            );
        }
        let word = |i: usize| WORDS[i % WORDS.len()];
        let rows = |row: &dyn Fn(usize) -> serde_json::Value| {
            (0..6).map(|i| format!("{}\n", row(i))).collect::<String>()
        };
        use serde_json::json;
        self.write(
            "data.jsonl",
            rows(&|i| json!({ "prompt": word(i), "completion": format!(" {}", word(i + 1)) })),
        );
        self.write(
            "pairs.jsonl",
            rows(&|i| json!({ "prompt": word(i), "chosen": format!(" {}", word(i + 1)), "rejected": " two three" })),
        );
        self.write(
            "thumbs.jsonl",
            rows(
                &|i| json!({ "prompt": word(i), "completion": format!(" {}", word(i)), "label": i % 2 == 0 }),
            ),
        );
        self.write("prompts.jsonl", rows(&|i| json!({ "prompt": word(i), "answer": word(i) })));
        self.write(
            "questions.jsonl",
            rows(&|i| json!({ "question": word(i), "answer": word(i), "match": "contains" })),
        );
        self.write("text.txt", WORDS.join(" ").repeat(20));
        self.write("template.jinja", "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}");
        self.write("schema.json", r#"{"type": "object"}"#);
        self.write("talk.json", r#"{"model": "m", "system": null, "messages": []}"#);
        self.write("odd/precious.txt", "what somebody wrote\n");
        self.write("odd/precious.gguf", "what somebody wrote\n");
        self.write("odd/precious.jsonl", "\u{feff}not json\n{}\n[1,2\n");
        self.write("odd/utf16.txt", [0xff, 0xfe, 0x41, 0, 0x42, 0]);
        self.write("odd/empty", "");
        self.write("odd/folder/inside.txt", "x");
        self.odd_things();
        for args in [
            &["adapter", "import", "peft", "-m", "model.gguf", "-o", "a.gguf"][..],
            &[
                "tune",
                "reward",
                "-m",
                "model.gguf",
                "--data",
                "pairs.jsonl",
                "--max-steps",
                "1",
                "-o",
                "judge",
            ],
            &[
                "tune",
                "sft",
                "-m",
                "model.gguf",
                "--data",
                "data.jsonl",
                "--keep",
                "0",
                "--max-steps",
                "2",
                "-o",
                "mine",
            ],
            &[
                "tune",
                "sft",
                "-m",
                "model.gguf",
                "--data",
                "data.jsonl",
                "--keep",
                "0",
                "--max-steps",
                "3",
                "-o",
                "begun",
                "--pause-at",
                "1",
            ],
        ] {
            let output = self.command().args(args).output().unwrap();
            assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        self.write("a b/ä\u{301}.gguf", std::fs::read(self.path("a.gguf")).unwrap());
    }

    #[cfg(unix)]
    fn odd_things(&self) {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let make = |args: &[&str]| {
            let _ = Command::new(args[0]).args(&args[1..]).current_dir(self.dir.path()).output();
        };
        make(&["mkfifo", "odd/pipe"]);
        make(&["mkfifo", "odd/pipe.gguf"]);
        // A device of its own, where that is allowed: never the system's.
        make(&["mknod", "odd/device", "c", "1", "3"]);
        make(&["mknod", "odd/device.gguf", "c", "1", "3"]);
        symlink("precious.txt", self.path("odd/link")).unwrap();
        symlink("precious.gguf", self.path("odd/link.gguf")).unwrap();
        symlink("nothing.gguf", self.path("odd/dangling.gguf")).unwrap();
        symlink("round", self.path("odd/round")).unwrap();
        self.write("odd/locked.gguf", "what somebody wrote\n");
        std::fs::set_permissions(self.path("odd/locked.gguf"), PermissionsExt::from_mode(0o444)).unwrap();
        std::fs::create_dir(self.path("odd/closed")).unwrap();
        std::fs::set_permissions(self.path("odd/closed"), PermissionsExt::from_mode(0o555)).unwrap();
    }

    #[cfg(not(unix))]
    fn odd_things(&self) {}

    /// The program, in this folder, with little memory, so that a mistaken size cannot take the machine's.
    pub fn command(&self) -> Command {
        let program = env!("CARGO_BIN_EXE_ember");
        let mut command = if cfg!(unix) {
            let mut shell = Command::new("sh");
            shell.args(["-c", "ulimit -v 6000000 2>/dev/null; ulimit -c 0; exec \"$0\" \"$@\"", program]);
            shell
        } else {
            Command::new(program)
        };
        command.current_dir(self.dir.path()).env("EMBER_HOME", self.path("home"));
        command.env("EMBER_CATALOG", self.path("catalog.toml")).env("EMBER_DEVICE", "cpu");
        for name in ["EMBER_MODEL", "NO_COLOR", "HTTPS_PROXY", "ALL_PROXY", "RUST_BACKTRACE"] {
            command.env_remove(name);
        }
        command
    }

    /// All that is there.
    pub fn look(&self) -> BTreeMap<PathBuf, Thing> {
        let mut things = BTreeMap::new();
        look(self.dir.path(), &mut self.known.borrow_mut(), &mut things);
        things
    }

    /// What a command did to what was there before that its options did not say.
    pub fn harm(
        &self,
        before: &BTreeMap<PathBuf, Thing>,
        args: &[OsString],
        stopped: bool,
    ) -> Option<String> {
        let after = self.look();
        let said = |flag: &str| args.iter().any(|arg| arg == flag);
        let tune = args.first().is_some_and(|arg| arg == "tune");
        let own = |path: &Path| {
            let name = path.strip_prefix(self.dir.path()).unwrap_or(path).to_string_lossy().into_owned();
            // The program's own: locks, the journal, which is added to, and what was learnt from it.
            let home = name.starts_with("home/") && !name.ends_with(".gguf");
            // A run's own, which it goes on from, ends with, or is told to throw away.
            let asked = said("--resume") || said("--restart");
            let saved = |state: &Path| {
                ["run.0", "run.1"]
                    .iter()
                    .any(|slot| before.get(&state.join(slot)).is_some_and(|s| s.length > 0))
            };
            let state = match name.split_once(".state") {
                Some((stem, _)) => Some(self.path(&format!("{stem}.state"))),
                None => name.strip_suffix(".metrics.jsonl").map(|stem| self.path(&format!("{stem}.state"))),
            };
            let state = state.filter(|state| before.contains_key(state));
            // A model that is removed by its name, and nobody is to be asked.
            let removed = said("models") && said("remove") && (said("--yes") || said("-y"));
            let model = removed && name.starts_with("home/models/") && !after.contains_key(path);
            home || model || (tune && state.is_some_and(|state| asked || !saved(&state)))
        };
        for (path, was) in before {
            let is = after.get(path);
            if is == Some(was) || own(path) {
                continue;
            }
            let shown = path.strip_prefix(self.dir.path()).unwrap_or(path).display();
            match is {
                Some(is) if is.kind == was.kind && is.hash == was.hash => continue,
                Some(is) if was.kind == Kind::File && is.kind == Kind::File && was.length == 0 => continue,
                Some(is)
                    if was.kind == Kind::File && is.kind == Kind::File && added(self, args, path, was) =>
                {
                    continue;
                }
                _ => {}
            }
            // With these the old one stays under another name.
            let kept = || after.values().any(|other| other.kind == Kind::File && other.hash == was.hash);
            if was.kind == Kind::File && (said("--replace") || tune) && kept() {
                continue;
            }
            // A conversation takes the place of a saved one.
            if path.ends_with("talk.json") && args.first().is_some_and(|arg| arg == "chat") {
                continue;
            }
            return Some(format!(
                "{shown} was {:?} of {} bytes, and is {:?}",
                was.kind,
                was.length,
                is.map(|is| is.kind)
            ));
        }
        let torn =
            |path: &&PathBuf| path.extension().is_some_and(|end| end == "tmp") && !before.contains_key(*path);
        let left = after.keys().find(torn).filter(|_| !stopped);
        left.map(|path| format!("left {} behind", path.display()))
    }
}

/// Whether a journal was only added to.
fn added(place: &Place, args: &[OsString], path: &Path, was: &Thing) -> bool {
    let journal = args.iter().position(|arg| arg == "--journal").and_then(|at| args.get(at + 1));
    let named = journal.is_some_and(|journal| {
        let real = |path: PathBuf| std::fs::canonicalize(path).ok();
        real(place.dir.path().join(journal)) == real(path.to_owned())
    });
    let bytes = std::fs::read(path).unwrap_or_default();
    named && bytes.get(..was.length as usize).is_some_and(|begin| Sha256::digest(begin).to_vec() == was.hash)
}

fn look(folder: &Path, known: &mut Hashes, things: &mut BTreeMap<PathBuf, Thing>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(metadata) = std::fs::symlink_metadata(&path) else { continue };
        let kind = match metadata.file_type() {
            kind if kind.is_dir() => Kind::Folder,
            kind if kind.is_symlink() => Kind::Link,
            kind if kind.is_file() => Kind::File,
            _ => Kind::Other,
        };
        let when = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        let hash = match kind {
            Kind::File => known
                .entry((path.clone(), metadata.len(), when))
                .or_insert_with(|| Sha256::digest(std::fs::read(&path).unwrap_or_default()).to_vec())
                .clone(),
            Kind::Link => std::fs::read_link(&path).unwrap_or_default().into_os_string().into_encoded_bytes(),
            Kind::Folder | Kind::Other => Vec::new(),
        };
        // A folder changes with what is in it, which is looked at by itself.
        let folder = kind == Kind::Folder;
        let length = if folder { 0 } else { metadata.len() };
        let changed = if folder {
            SystemTime::UNIX_EPOCH
        } else {
            metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH)
        };
        things.insert(path.clone(), Thing { kind, length, changed, hash });
        if folder {
            look(&path, known, things);
        }
    }
}
