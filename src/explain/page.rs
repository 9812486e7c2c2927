//! An explanation as a page of its own: no network, no framework; what it shows is in it, packed.
//!
//! The page's text is `page/page.html`, its looks `page/page.css`, its program `page/page.js`. The data lie in it as JSON, in which
//! no `<` is left, so that no token's text can end the element; the program sets texts only, never HTML; and a content security
//! policy names the one program and the one style sheet that may be used.

use std::collections::HashMap;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::run::thinned;
use super::{Report, TEMPERATURES, Top, token_text, visible};

const HTML: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

/// Points of a loss curve that are drawn.
const POINTS: usize = 300;
/// Guesses within the model that are shown of each layer and position.
const GUESSES: usize = 4;

/// The page, complete.
pub fn render(report: &Report<'_>) -> String {
    let data = escaped(&data(report).to_string());
    let fill = |name: &str| match name {
        "style" => STYLE.to_owned(),
        "script" => SCRIPT.to_owned(),
        "style-hash" => hash(STYLE),
        "script-hash" => hash(SCRIPT),
        "data" => data.clone(),
        _ => String::new(),
    };
    let mut page = String::with_capacity(HTML.len() + STYLE.len() + SCRIPT.len() + data.len());
    let mut parts = HTML.split("{{");
    page.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (name, rest) = part.split_once("}}").unwrap_or((part, ""));
        page.push_str(&fill(name));
        page.push_str(rest);
    }
    page
}

/// JSON that an HTML parser sees nothing in.
fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            _ => out.push(c),
        }
    }
    out
}

/// The source expression of a content security policy (CSP level 2) for a text between its tags.
fn hash(text: &str) -> String {
    format!("sha256-{}", base64(&Sha256::digest(text.as_bytes())))
}

/// Base64 (RFC 4648), padded.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = (0..3).fold(0u32, |word, i| word << 8 | u32::from(chunk.get(i).copied().unwrap_or(0)));
        for i in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * i)) as usize & 63];
            out.push(if i <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

/// A share in 0..=1 as a byte: 255 times its root, so that small ones keep their digits. Off by at most 0.0040.
pub fn packed(share: f32) -> u8 {
    (share.clamp(0.0, 1.0).sqrt() * 255.0).round() as u8
}

/// The share that a byte stands for.
pub fn unpacked(byte: u8) -> f32 {
    (f32::from(byte) / 255.0).powi(2)
}

/// The texts of the tokens that occur, each once.
#[derive(Default)]
struct Texts {
    places: HashMap<u32, usize>,
    ids: Vec<u32>,
}

impl Texts {
    fn place(&mut self, id: u32) -> usize {
        *self.places.entry(id).or_insert_with(|| {
            self.ids.push(id);
            self.ids.len() - 1
        })
    }
}

fn data(report: &Report<'_>) -> Value {
    let (e, config) = (report.explanation, report.model.config());
    let mut texts = Texts::default();
    let tokens: Vec<usize> = e.tokens.iter().map(|id| texts.place(*id)).collect();
    let attention: Vec<u8> = e.layers.iter().flat_map(|l| l.attention.iter().map(|w| packed(*w))).collect();
    let lengths = |of: fn(&super::LayerView) -> &[f32]| -> Vec<Vec<f64>> {
        e.layers.iter().map(|l| of(l).iter().map(|v| rounded(f64::from(*v), 3)).collect()).collect()
    };
    let added = guesses(e.layers.iter().map(|l| l.added.as_slice()), &mut texts);
    let guess = guesses(e.layers.iter().map(|l| l.guess.as_slice()), &mut texts);
    let next: Vec<Value> = e
        .next
        .iter()
        .map(|next| {
            let most = next.top.first().map_or(0.0, |(_, logit)| *logit);
            let below = |v: f32| (f64::from(v) * 1e4).round() / 1e4;
            json!({
                "tokens": next.top.iter().map(|(id, _)| texts.place(*id)).collect::<Vec<_>>(),
                "logits": next.top.iter().map(|(_, logit)| below(logit - most)).collect::<Vec<_>>(),
                "rest": next.rest.iter().map(|r| r.is_finite().then(|| below(*r))).collect::<Vec<_>>(),
                "actual": next.actual.map(|p| rounded(f64::from(p), 4)),
            })
        })
        .collect();
    json!({
        "model": visible(&config.name),
        "text": lines(report.text),
        "layers": e.layers.len(),
        "heads": e.heads,
        "vocab": config.vocab,
        "window": config.window(),
        "ids": e.tokens,
        "tokens": tokens,
        "from": e.guessed_from,
        "telling": e.most_telling().map(|(layer, head)| [layer, head]),
        "attention": base64(&attention),
        "stream": lengths(|l| &l.stream),
        "byAttention": lengths(|l| &l.by_attention),
        "byFeedForward": lengths(|l| &l.by_feed_forward),
        "added": added,
        "guess": guess,
        "next": next,
        "temperatures": TEMPERATURES.map(|t| rounded(f64::from(t), 2)),
        "run": report.run.map(|run| json!({
            "name": visible(&run.name),
            "ends": [run.loss.first(), run.loss.last()],
            "loss": thinned(&run.loss, POINTS),
            "validation": thinned(&run.validation, POINTS),
            "samples": run.samples.iter().map(|s| {
                json!({ "step": s.step, "prompt": lines(&s.prompt), "text": lines(&s.text) })
            }).collect::<Vec<_>>(),
        })),
        "answers": report.answers.iter().map(|a| {
            json!({ "label": visible(&a.label), "manner": visible(&a.manner), "text": lines(&a.text), "ended": a.ended })
        }).collect::<Vec<_>>(),
        "texts": texts.ids.iter().map(|id| visible(&token_text(report.tokenizer, *id))).collect::<Vec<_>>(),
    })
}

/// Guesses of all layers and positions: places of their texts (16 or 32 bits, little-endian) and packed shares.
fn guesses<'a>(layers: impl Iterator<Item = &'a [Top]>, texts: &mut Texts) -> Value {
    let all: Vec<&Top> = layers.flatten().collect();
    let each = all.iter().map(|top| top.tokens.len()).min().unwrap_or(0).min(GUESSES);
    let (mut places, mut shares) = (Vec::new(), Vec::new());
    for (id, share) in all.iter().flat_map(|top| &top.tokens[..each]) {
        places.push(texts.place(*id) as u32);
        shares.push(packed(*share));
    }
    let wide = places.iter().any(|place| *place > u32::from(u16::MAX));
    let bytes = if wide { 4 } else { 2 };
    let places: Vec<u8> =
        places.iter().flat_map(|place| place.to_le_bytes().into_iter().take(bytes)).collect();
    json!({ "each": each, "bytes": bytes, "places": base64(&places), "shares": base64(&shares) })
}

/// A number with so many significant digits.
fn rounded(value: f64, digits: i32) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return 0.0;
    }
    let places = digits - 1 - value.abs().log10().floor() as i32;
    let text = format!("{value:.*}", places.clamp(0, 12) as usize);
    text.parse().unwrap_or(value)
}

/// A text of several lines, made visible.
fn lines(text: &str) -> String {
    text.lines().map(visible).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (given, made) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(given.as_bytes()), made);
        }
    }

    #[test]
    fn a_share_is_off_by_no_more_than_the_page_says() {
        let mut worst = 0f32;
        for i in 0..=100_000 {
            let share = i as f32 / 100_000.0;
            worst = worst.max((unpacked(packed(share)) - share).abs());
        }
        assert!(worst > 0.003 && worst < 0.004, "{worst}");
        assert_eq!((packed(0.0), packed(1.0), unpacked(255)), (0, 255, 1.0));
    }

    #[test]
    fn nothing_ends_the_data() {
        let text =
            escaped(&json!(["</script><script>alert(1)</script>", "<!--", "a&amp;\u{2028}"]).to_string());
        assert!(!text.contains(['<', '>', '&', '\u{2028}']), "{text}");
        let back: Vec<String> = serde_json::from_str(&text).unwrap();
        assert_eq!(back, ["</script><script>alert(1)</script>", "<!--", "a&amp;\u{2028}"]);
    }

    #[test]
    fn the_parts_do_not_end_each_other() {
        assert!(!SCRIPT.contains("</script") && !SCRIPT.contains("<!--") && !STYLE.contains("</style"));
        assert!(!SCRIPT.contains("innerHTML") && !SCRIPT.contains("eval("));
        let names: Vec<&str> = HTML.split("{{").skip(1).filter_map(|p| Some(p.split_once("}}")?.0)).collect();
        assert_eq!(names, ["style-hash", "script-hash", "style", "data", "script"]);
    }

    #[test]
    fn numbers_keep_their_digits() {
        assert_eq!((rounded(1234.56, 3), rounded(0.012345, 3), rounded(0.0, 3)), (1235.0, 0.0123, 0.0));
        assert_eq!((rounded(9.999, 3), rounded(f64::NAN, 3), rounded(1e-30, 3)), (10.0, 0.0, 0.0));
    }
}
