//! `-hf`, the default model that the user chooses, and models that are removed; against a hub on this machine.
#![cfg(feature = "fetch")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use crate::common::{Sandbox, catalog, file_source, payload, sha256};
use crate::hostile;

/// A hub with these files of `me/model`, that forgets itself after so many answers; what was asked of it.
fn hub(
    sandbox: &Sandbox,
    files: &[(&str, Vec<u8>)],
    hash: impl Fn(&[u8]) -> String,
) -> Arc<Mutex<Vec<String>>> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port());
    let listed: Vec<_> = files
        .iter()
        .map(|(path, bytes)| {
            let lfs = serde_json::json!({ "oid": hash(bytes), "size": bytes.len(), "pointerSize": 130 });
            serde_json::json!({ "type": "file", "oid": "x", "path": path, "size": bytes.len(), "lfs": lfs })
        })
        .collect();
    let mut answers: HashMap<String, Vec<u8>> = HashMap::new();
    answers.insert("/list/me/model".into(), serde_json::to_vec(&listed).unwrap());
    for (path, bytes) in files {
        answers.insert(format!("/file/me/model/main/{path}"), bytes.clone());
    }
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = asked.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let first = lines.next().unwrap().unwrap();
            let path = first.split(' ').nth(1).unwrap().to_owned();
            while !lines.next().unwrap().unwrap().is_empty() {}
            log.lock().unwrap().push(path.clone());
            let (head, body) = answers.get(&path).map_or(("404 Not Found", &[][..]), |body| ("200 OK", body));
            let length = body.len();
            let _ =
                write!(stream, "HTTP/1.1 {head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
            let _ = stream.write_all(body);
        }
    });
    let tables = format!(
        "[hubs]\nhuggingface = \"{address}/file/{{repo}}/{{revision}}/{{file}}\"\n\
         [listings]\nhuggingface = \"{address}/list/{{repo}}\"\n"
    );
    let bytes = payload(1000);
    sandbox.write("there.gguf", &bytes);
    // Tables of the whole file come behind its plain keys.
    let text =
        catalog(&bytes, None, &file_source("there.gguf")).replace("[[model]]", &format!("{tables}[[model]]"));
    sandbox.write("catalog.toml", text.as_bytes());
    asked
}

#[test]
fn any_model_of_the_hub_is_taken_by_its_format() {
    let sandbox = Sandbox::new();
    let tiny = std::fs::read(hostile::tiny()).unwrap();
    let files =
        [("README.md", b"hello".to_vec()), ("m.Q8_0.gguf", payload(900)), ("m.Q4_K_S.gguf", tiny.clone())];
    let asked = hub(&sandbox, &files, sha256);
    let args = ["run", "-hf", "me/model", "--raw", "-p", "a", "-n", "2", "--device", "cpu", "-c", "64"];
    let offline = sandbox.run(&[&args[..], &["--offline"]].concat());
    assert!(offline.code == 1 && offline.err.contains("`ember pull -hf me/model`"), "{}", offline.err);
    let ran = sandbox.run(&args);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let place = sandbox.store("hub/me--model/m.Q4_K_S.gguf");
    assert_eq!(std::fs::read(&place).unwrap(), tiny);
    let before = asked.lock().unwrap().len();
    // What is here is used, with a network and without.
    for more in [&[][..], &["--offline"]] {
        assert_eq!(sandbox.run(&[&args[..], more].concat()).code, 0);
    }
    assert_eq!(asked.lock().unwrap().len(), before);
    // Another format beside it; what was taken unasked stays what is meant.
    let pulled = sandbox.run(&["pull", "-hf", "me/model:q8_0"]);
    assert!(pulled.code == 0 && pulled.out.trim().ends_with("m.Q8_0.gguf"), "{} {}", pulled.out, pulled.err);
    let again = sandbox.run(&["pull", "-hf", "me/model"]);
    assert!(
        again.out.trim().ends_with("m.Q4_K_S.gguf") && again.err.contains("already here"),
        "{}",
        again.out
    );
    let listed = sandbox.run(&["models"]);
    assert!(listed.out.contains("m.Q8_0.gguf") && listed.out.contains("-hf me/model"), "{}", listed.out);
    let missing = sandbox.run(&["pull", "-hf", "me/model:Q6_K"]);
    assert!(missing.code == 1 && missing.err.contains("with one of: Q4_K_S, Q8_0"), "{}", missing.err);
    let unknown = sandbox.run(&["pull", "-hf", "me/other"]);
    assert!(unknown.code == 1 && unknown.err.contains("no such repository"), "{}", unknown.err);
    assert_eq!(sandbox.run(&["pull", "-hf", "me"]).code, 2);
}

#[test]
fn all_parts_are_fetched_and_checked() {
    let sandbox = Sandbox::new();
    let files =
        [("q4/m-Q4_0-00001-of-00002.gguf", payload(4000)), ("q4/m-Q4_0-00002-of-00002.gguf", payload(3000))];
    hub(&sandbox, &files, sha256);
    let pulled = sandbox.run(&["pull", "-hf", "me/model"]);
    assert!(pulled.code == 0 && pulled.out.trim().ends_with("00001-of-00002.gguf"), "{}", pulled.err);
    assert_eq!(std::fs::read(sandbox.store("hub/me--model/m-Q4_0-00002-of-00002.gguf")).unwrap(), files[1].1);
    let other = Sandbox::new();
    hub(&other, &[("m-Q4_0.gguf", payload(4000))], |_| "0".repeat(64));
    let refused = other.run(&["pull", "-hf", "me/model"]);
    assert!(refused.code == 1 && refused.err.contains("sha256"), "{}", refused.err);
    assert!(!other.store("hub/me--model/m-Q4_0.gguf").exists());
}

#[test]
fn the_default_model_is_chosen_shown_and_used() {
    let sandbox = Sandbox::new();
    let tiny = std::fs::read(hostile::tiny()).unwrap();
    hub(&sandbox, &[("m-Q4_0.gguf", tiny.clone())], sha256);
    let path = sandbox.write("mine.gguf", &tiny).canonicalize().unwrap();
    let run = ["run", "--raw", "-p", "a", "-n", "2", "--device", "cpu", "-c", "64"];
    assert_eq!(sandbox.run(&run).code, 1, "the catalogue's default is no model");
    assert_eq!(sandbox.run(&["models", "use", "mine.gguf"]).code, 0);
    assert_eq!(sandbox.run(&run).code, 0);
    let listed = sandbox.run(&["models"]).out;
    assert!(listed.contains(&format!("Default: {}", path.display())), "{listed}");
    std::fs::remove_file(&path).unwrap();
    let gone = sandbox.run(&run);
    assert!(gone.err.contains("`ember models use NAME` takes another"), "{}", gone.err);
    assert_eq!(sandbox.run(&["models", "use", "-hf", "me/model"]).code, 0);
    assert_eq!(sandbox.run(&run).code, 0);
    let json: serde_json::Value = serde_json::from_str(&sandbox.run(&["models", "--json"]).out).unwrap();
    assert_eq!(json["default"], "hf:me/model");
    assert_eq!(sandbox.run(&["models", "use"]).code, 0);
    let listed = sandbox.run(&["models"]).out;
    assert!(listed.contains("Default: tiny"), "{listed}");
    assert_eq!(sandbox.run(&["models", "use", "nothing"]).code, 1);
}

#[test]
fn a_model_is_removed_when_it_is_meant() {
    let sandbox = Sandbox::new();
    hub(&sandbox, &[("m-Q4_0.gguf", payload(5000))], sha256);
    assert_eq!(sandbox.run(&["pull"]).code, 0);
    assert_eq!(sandbox.run(&["pull", "-hf", "me/model"]).code, 0);
    let unsaid = sandbox.run(&["models", "remove", "tiny"]);
    assert!(unsaid.code == 2 && unsaid.err.contains("--yes"), "{}", unsaid.err);
    assert!(sandbox.store("tiny.gguf").exists());
    let removed = sandbox.run(&["models", "remove", "t", "--yes"]);
    assert!(removed.code == 0 && removed.err.contains("tiny deleted: 1.0 kB are free"), "{}", removed.err);
    assert!(!sandbox.store("tiny.gguf").exists());
    assert_eq!(sandbox.run(&["models", "remove", "tiny", "--yes"]).code, 1);
    let removed = sandbox.run(&["models", "remove", "m-q4_0.gguf", "-y"]);
    assert!(removed.code == 0 && removed.err.contains("5.0 kB"), "{}", removed.err);
    assert!(!sandbox.store("hub/me--model/m-Q4_0.gguf").exists());
    assert_eq!(sandbox.run(&["models", "remove", "../mine.gguf", "--yes"]).code, 1);
}
