//! `ember explain`: what is printed, the numbers, the page.

use emberlm::explain::page;
use serde_json::Value;

use crate::bounds;
use crate::common::{Ran, Sandbox};
use crate::hostile;

const TEXT: &str = "the cat and the dog and the bird";

fn model(name: &str) -> String {
    hostile::tiny().with_file_name(format!("{name}.gguf")).display().to_string()
}

fn explain(sandbox: &Sandbox, more: &[&str]) -> Ran {
    sandbox.run(&[&["explain", "-m", &model("llama-untied")], more].concat())
}

fn done(sandbox: &Sandbox, more: &[&str]) -> Ran {
    let ran = explain(sandbox, more);
    assert_eq!(ran.code, 0, "{more:?}: {}", ran.err);
    ran
}

/// A sandbox with the record of a run, and a page of it.
fn with_run(samples: Option<&str>) -> Sandbox {
    let sandbox = Sandbox::new();
    let line = |step: u64| format!("{{\"step\":{step},\"loss\":{}}}\n", 8.0 / step as f64);
    sandbox.write("mine.metrics.jsonl", (1..=40).map(line).collect::<String>().as_bytes());
    if let Some(samples) = samples {
        sandbox.write("mine.samples.jsonl", samples.as_bytes());
    }
    sandbox
}

/// The data within a page.
fn data(page: &str) -> Value {
    let (_, rest) = page.split_once("<script type=\"application/json\" id=\"data\">").unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

/// Base64, by its definition.
fn bytes(text: &Value) -> Vec<u8> {
    const DIGITS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.as_str().unwrap().trim_end_matches('=').chars().map(|c| DIGITS.find(c).unwrap());
    let bits: Vec<usize> = digits.flat_map(|d| (0..6).rev().map(move |i| d >> i & 1)).collect();
    bits.as_chunks::<8>().0.iter().map(|b| b.iter().fold(0, |n, bit| n << 1 | bit) as u8).collect()
}

#[test]
fn a_picture_fits_the_terminal() {
    let sandbox = Sandbox::new();
    for locale in ["C", "C.UTF-8"] {
        let long = [TEXT; 9].join(" ");
        for (text, more) in
            [(TEXT, &[][..]), (TEXT, &["--layer", "2", "--head", "4"]), (long.as_str(), &["--layer", "1"])]
        {
            let (base, other) = (model("llama-untied"), model("window"));
            let all = [&["explain", "-m", &base, text, "--compare", &other][..], more];
            let ran =
                crate::common::ran(sandbox.command(&all.concat()).env("LC_ALL", locale).output().unwrap());
            assert_eq!(ran.code, 0, "{}", ran.err);
            for line in ran.out.lines() {
                assert!(line.chars().count() <= 80 && !line.ends_with(' '), "{line:?}");
            }
            for part in
                ["Tokens", "Attention: layer", "Layers: what each adds", "Next token", "T=0.5", "Answers"]
            {
                assert!(ran.out.contains(part), "{part}: {}", ran.out);
            }
            assert!(!ran.out.contains('\u{1b}') && !ran.out.contains("NaN"), "{}", ran.out);
            if text != TEXT {
                continue;
            }
            // Nothing looks ahead: the second token sees two, the third three.
            let shades = |place: usize| {
                let line = ran.out.lines().find(|line| line.starts_with(&format!("{place:>3} "))).unwrap();
                line.split(' ').next_back().unwrap().to_owned()
            };
            let (second, third) = (shades(2), shades(3));
            let cell = second.chars().count() / 2;
            assert!([1, 2].contains(&cell) && third.chars().count() == 3 * cell, "{second:?} {third:?}");
            assert_eq!(second.is_ascii(), locale == "C", "{second:?}");
        }
    }
}

#[test]
fn numbers_are_whole_and_rows_sum_to_one() {
    let sandbox = Sandbox::new();
    let ran = done(&sandbox, &[TEXT, "--json", "-", "--top", "3", "--quiet"]);
    assert!(ran.err.is_empty(), "{}", ran.err);
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    let n = json["tokens"].as_array().unwrap().len();
    let (layers, heads) =
        (json["layers"].as_u64().unwrap() as usize, json["heads"].as_u64().unwrap() as usize);
    let said: String =
        json["tokens"].as_array().unwrap().iter().map(|t| t["text"].as_str().unwrap()).collect();
    assert!(n > 5 && said.contains("cat"), "{said}");
    let all = json["attention"].as_array().unwrap();
    assert_eq!((all.len(), all[0].as_array().unwrap().len()), (layers, heads));
    for rows in all.iter().flat_map(|layer| layer.as_array().unwrap()) {
        for (position, row) in rows.as_array().unwrap().iter().enumerate() {
            let row: Vec<f64> = row.as_array().unwrap().iter().map(|w| w.as_f64().unwrap()).collect();
            assert_eq!(row.len(), position + 1);
            assert!(
                (row.iter().sum::<f64>() - 1.0).abs() < bounds::SHARES && row.iter().all(|w| *w >= 0.0),
                "{row:?}"
            );
        }
    }
    for layer in json["contributions"].as_array().unwrap() {
        for key in ["stream", "attention", "feed_forward", "feed_forward_tokens", "guess"] {
            assert_eq!(layer[key].as_array().unwrap().len(), n, "{key}");
        }
    }
    for (position, next) in json["next"].as_array().unwrap().iter().enumerate() {
        let own: f64 =
            next["top"].as_array().unwrap().iter().map(|t| t["probability"].as_f64().unwrap()).sum();
        let others = next["others"].as_array().unwrap().iter().find(|o| o["temperature"] == 1.0).unwrap();
        assert!((own + others["probability"].as_f64().unwrap() - 1.0).abs() < bounds::ROUNDED);
        assert_eq!(next["actual_probability"].is_null(), position == n - 1);
    }
    // A file has the same.
    done(&sandbox, &[TEXT, "--json", "a.json", "--top", "3"]);
    assert_eq!(std::fs::read_to_string(sandbox.path("a.json")).unwrap(), ran.out);
}

#[test]
fn a_page_is_complete_and_says_what_the_numbers_say() {
    let sandbox = with_run(Some("{\"step\":7,\"prompt\":\"a\",\"text\":\" b\\nc\"}\n"));
    let compare = format!("before={}", model("window"));
    let more = [TEXT, "--html", "a.html", "--json", "a.json", "--run", "mine.gguf", "--compare", &compare];
    done(&sandbox, &more);
    let page = std::fs::read_to_string(sandbox.path("a.html")).unwrap();
    let json: Value =
        serde_json::from_str(&std::fs::read_to_string(sandbox.path("a.json")).unwrap()).unwrap();
    // Nothing is fetched: but for the name of a kind of XML there is no address.
    let addresses = page.replace("http://www.w3.org/2000/svg", "");
    assert!(
        !addresses.contains("http://") && !addresses.contains("https://") && !addresses.contains("//cdn")
    );
    for part in [
        "<!doctype html>",
        "lang=\"en\"",
        "Content-Security-Policy",
        "default-src 'none'",
        "prefers-color-scheme: dark",
    ] {
        assert!(page.contains(part), "{part}");
    }
    let data = data(&page);
    let packed = bytes(&data["attention"]);
    let exact = json["attention"].as_array().unwrap().iter().flat_map(|l| l.as_array().unwrap());
    let exact = exact.flat_map(|h| h.as_array().unwrap()).flat_map(|r| r.as_array().unwrap());
    let exact: Vec<f32> = exact.map(|w| w.as_f64().unwrap() as f32).collect();
    assert_eq!(packed.len(), exact.len());
    for (byte, share) in packed.iter().zip(exact) {
        assert!((page::unpacked(*byte) - share).abs() <= bounds::BYTE_SHARE, "{byte} {share}");
    }
    let texts: Vec<&str> = data["texts"].as_array().unwrap().iter().map(|t| t.as_str().unwrap()).collect();
    let said: String =
        data["tokens"].as_array().unwrap().iter().map(|t| texts[t.as_u64().unwrap() as usize]).collect();
    assert!(said.contains("cat"), "{said}");
    // Guesses of the last layer at the last position are those of the model.
    let (guess, layers, n) =
        (&data["guess"], json["layers"].as_u64().unwrap(), data["tokens"].as_array().unwrap().len());
    let each = guess["each"].as_u64().unwrap() as usize;
    let places = bytes(&guess["places"]);
    assert_eq!((guess["bytes"].as_u64(), places.len()), (Some(2), layers as usize * n * each * 2));
    let at = places.len() - 2 * each;
    let place = usize::from(u16::from_le_bytes([places[at], places[at + 1]]));
    let first = json["next"][n - 1]["top"][0]["text"].as_str().unwrap();
    assert_eq!(texts[place], emberlm::explain::visible(first));
    assert_eq!(
        (&data["run"]["samples"][0]["text"], &data["run"]["name"]),
        (&Value::from(" b\nc"), &Value::from("mine"))
    );
    assert_eq!(data["run"]["loss"].as_array().unwrap().len(), 40);
    assert_eq!(data["answers"][0]["label"], "before");
    assert!(!json["answers"][0]["text"].as_str().unwrap().is_empty());
}

/// No text that comes from outside becomes part of the page's program, or steers the terminal.
#[test]
fn hostile_texts_do_no_harm() {
    const EVIL: &str = "</script><script>alert(1)</script><!--<img src=x onerror=alert(1)>";
    let sample = serde_json::json!({ "step": 2, "prompt": EVIL, "text": format!("{EVIL}\u{1b}]0;t\u{7}") });
    let sandbox = with_run(Some(&format!("{sample}\n")));
    let pieces: [&[u8]; 3] = [EVIL.as_bytes(), b"\x1b]0;own\x07", b"</script>\xff"];
    let (path, _) = hostile::speaking(&sandbox, "<img src=x>.gguf", "", &pieces);
    let label = format!("</script><script>alert(2)</script><!--={path}");
    let args = ["explain", "-m", &path, EVIL, "--top", "50", "--run", "mine", "--compare", &label];
    let ran = sandbox.run(&[&args[..], &["--html", "a.html"]].concat());
    assert_eq!(ran.code, 0, "{}", ran.err);
    let page = std::fs::read_to_string(sandbox.path("a.html")).unwrap();
    assert_eq!((page.matches("<script").count(), page.matches("</script>").count()), (2, 2));
    assert!(!page.contains("<img") && !page.contains("<!--") && !page.contains('\u{1b}'));
    let data = data(&page);
    assert_eq!(data["text"], EVIL);
    assert!(data["texts"].as_array().unwrap().iter().any(|t| t == EVIL), "the tokens are there, as texts");
    let shown = sandbox.run(&args);
    assert!(
        crate::terminal::harmless(&shown.out) && crate::terminal::harmless(&shown.err),
        "{:?}",
        shown.out
    );
    #[cfg(unix)]
    {
        let terminal = crate::terminal::on_terminal(sandbox.command(&args), None, true);
        assert!(crate::terminal::harmless(&terminal) && terminal.contains("\u{1b}["), "{terminal:?}");
    }
}

#[test]
fn text_comes_from_where_the_other_commands_have_it() {
    let sandbox = Sandbox::new();
    sandbox.write("text.txt", format!("{TEXT}\n").as_bytes());
    let direct = done(&sandbox, &[TEXT, "--json", "-"]).out;
    let given = |more: &[&str], input: &str| {
        let base = model("llama-untied");
        let args = [&["explain", "-m", &base, "--json", "-"][..], more].concat();
        sandbox.run_with_input(&args, input)
    };
    for ran in [given(&["-p", TEXT], ""), given(&["-f", "text.txt"], ""), given(&[], &format!("{TEXT}\r\n"))]
    {
        assert_eq!((ran.code, ran.out.as_str()), (0, direct.as_str()), "{}", ran.err);
    }
}

#[test]
fn what_cannot_be_shown_is_refused() {
    let sandbox = with_run(None);
    sandbox.write("there.html", b"mine");
    sandbox.write("broken.metrics.jsonl", b"{\"step\":1,\"loss\":1}\nnonsense\n");
    for (more, code, says) in [
        (&[""][..], 1, "the text has no tokens"),
        (&[TEXT, "--limit", "3"], 1, "more than the 3 that are looked at"),
        (&[TEXT, "--limit", "0"], 2, "--limit"),
        (&[TEXT, "--layer", "9"], 2, "--layer 9 is not there: the model has 3"),
        (&[TEXT, "--layer", "1", "--head", "9"], 2, "--head 9 is not there: the model has 4"),
        (&[TEXT, "--head", "1"], 2, "--layer"),
        (&[TEXT, "--raw"], 2, "--compare"),
        (&[TEXT, "--html", "there.html"], 1, "stays as it is"),
        (&[TEXT, "--html", "a", "--json", "a"], 2, "the same file"),
        (&[TEXT, "--html", "nowhere/a.html"], 1, "nowhere"),
        (&[TEXT, "--run", "nowhere"], 1, "`nowhere.metrics.jsonl` is missing"),
        (&[TEXT, "--run", "broken.gguf"], 1, "line 2: is no JSON"),
        (&[TEXT, "--compare", "nowhere.gguf"], 1, "nowhere.gguf"),
        (&[TEXT, "--compare", "label="], 2, "names no file"),
    ] {
        let ran = explain(&sandbox, more);
        assert!(ran.code == code && ran.err.contains(says), "{more:?}: {} {}", ran.code, ran.err);
        assert!(ran.out.is_empty(), "{more:?}: {}", ran.out);
    }
    let onto = sandbox.run(&["explain", "-m", "mine.metrics.jsonl", TEXT, "--html", "mine.metrics.jsonl"]);
    assert!(onto.code == 1 && onto.err.contains("is read, and would be written"), "{}", onto.err);
    assert_eq!(std::fs::read(sandbox.path("there.html")).unwrap(), b"mine");
    done(&sandbox, &[TEXT, "--html", "there.html", "--replace"]);
    assert_eq!(std::fs::read(sandbox.path("there.1.html")).unwrap(), b"mine");
}

#[test]
fn models_are_asked_in_their_templates_unless_told_otherwise() {
    let sandbox = Sandbox::new();
    let path = model("llama-untied");
    let answers = |more: &[&str]| {
        let args = [&[TEXT, "--json", "-", "--n-predict", "4", "--compare", &path][..], more].concat();
        let json: Value = serde_json::from_str(&done(&sandbox, &args).out).unwrap();
        json["answers"].as_array().unwrap().clone()
    };
    let (asked, raw) = (answers(&[]), answers(&["--raw"]));
    assert_eq!(
        (&asked[0]["label"], &asked[0]["manner"]),
        (&"llama-untied".into(), &"asked in its chat template".into())
    );
    assert_eq!(raw[0]["manner"], "goes on with the text");
    let run = |more: &[&str]| {
        let args =
            ["run", "-m", &path, "-p", TEXT, "-n", "4", "--temp", "0", "--kv", "f32", "--device", "cpu"];
        sandbox.run(&[&args[..], more].concat()).out.trim().to_owned()
    };
    assert_eq!(
        (asked[0]["text"].as_str().unwrap(), raw[0]["text"].as_str().unwrap()),
        (run(&[]).as_str(), run(&["--raw"]).as_str())
    );
}
