//! An explanation as JSON: the numbers themselves, in full precision. All layers, heads and positions count from 0.

use std::io::Write;

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::{Explanation, Next, Report, TEMPERATURES, Top, TrainingRun, token_text};
use crate::text::Tokenizer;

#[derive(Serialize)]
struct Document<'a> {
    model: &'a str,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    width: usize,
    vocab: usize,
    /// 0 for none.
    window: usize,
    text: &'a str,
    tokens: Vec<Value>,
    most_telling: Option<Value>,
    /// By layer, head and position: the weights of positions 0 to it.
    attention: Vec<Layer<'a>>,
    /// By layer.
    contributions: Vec<Contribution<'a>>,
    /// By position.
    next: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<&'a TrainingRun>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    answers: Vec<Value>,
}

#[derive(Serialize)]
struct Contribution<'a> {
    /// L2 norms by position: of the stream before the layer, and of what its two halves add.
    stream: &'a [f32],
    attention: &'a [f32],
    feed_forward: &'a [f32],
    /// The position that the two lists below begin with.
    from: usize,
    /// What the feed-forward's addition points to, by position.
    feed_forward_tokens: Vec<Vec<Value>>,
    /// What the model would answer after the layer, by position.
    guess: Vec<Vec<Value>>,
}

struct Layer<'a>(&'a Explanation, usize);
struct Head<'a>(&'a Explanation, usize, usize);

impl Serialize for Layer<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((0..self.0.heads).map(|head| Head(self.0, self.1, head)))
    }
}

impl Serialize for Head<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let rows = 0..self.0.tokens.len();
        serializer.collect_seq(rows.map(|position| self.0.attention(self.1, self.2, position)))
    }
}

/// Writes the report as one JSON object and a line's end.
///
/// # Errors
/// The writer's.
pub fn write(report: &Report<'_>, out: &mut dyn Write) -> std::io::Result<()> {
    let (e, config) = (report.explanation, report.model.config());
    let token = |id: u32| token(report.tokenizer, id);
    let tops = |tops: &[Top]| tops.iter().map(|top| shares(report.tokenizer, top)).collect();
    let document = Document {
        model: &config.name,
        layers: e.layers.len(),
        heads: e.heads,
        kv_heads: config.kv_heads,
        width: config.width,
        vocab: config.vocab,
        window: config.window(),
        text: report.text,
        tokens: e.tokens.iter().map(|id| token(*id)).collect(),
        most_telling: e.most_telling().map(|(layer, head)| json!({ "layer": layer, "head": head })),
        attention: (0..e.layers.len()).map(|layer| Layer(e, layer)).collect(),
        contributions: e
            .layers
            .iter()
            .map(|layer| Contribution {
                stream: &layer.stream,
                attention: &layer.by_attention,
                feed_forward: &layer.by_feed_forward,
                from: e.guessed_from,
                feed_forward_tokens: tops(&layer.added),
                guess: tops(&layer.guess),
            })
            .collect(),
        next: e.next.iter().map(|next| after(report.tokenizer, next)).collect(),
        run: report.run,
        answers: report
            .answers
            .iter()
            .map(|a| json!({ "label": a.label, "manner": a.manner, "text": a.text, "ended": a.ended }))
            .collect(),
    };
    serde_json::to_writer(&mut *out, &document)?;
    out.write_all(b"\n")
}

fn token(tokenizer: &Tokenizer, id: u32) -> Value {
    json!({ "id": id, "text": token_text(tokenizer, id) })
}

fn shares(tokenizer: &Tokenizer, top: &Top) -> Vec<Value> {
    let entry = |(id, probability): &(u32, f32)| {
        let mut entry = token(tokenizer, *id);
        entry["probability"] = json!(probability);
        entry
    };
    top.tokens.iter().map(entry).collect()
}

/// What comes after a position: logits, probabilities at temperature 1, and that of all others together by temperature.
fn after(tokenizer: &Tokenizer, next: &Next) -> Value {
    let one = TEMPERATURES.iter().position(|t| *t == 1.0).unwrap_or_default();
    let (probabilities, _) = next.probabilities(one);
    let entry = |((id, logit), probability): (&(u32, f32), f64)| {
        let mut entry = token(tokenizer, *id);
        entry["logit"] = json!(logit);
        entry["probability"] = json!(probability);
        entry
    };
    let others = TEMPERATURES.iter().enumerate().map(|(i, t)| {
        json!({ "temperature": (f64::from(*t) * 10.0).round() / 10.0, "probability": next.probabilities(i).1 })
    });
    json!({
        "top": next.top.iter().zip(probabilities).map(entry).collect::<Vec<_>>(),
        "others": others.collect::<Vec<_>>(),
        "actual_probability": next.actual,
    })
}
