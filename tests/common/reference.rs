//! What the default model should answer, as transformers computes it in float32 from the same weights.

use std::fs;
use std::path::Path;

use super::npy::{read_f32, read_tokens};
use super::{golden, shared};

/// Greedy tokens are only compared up to the first step at which the best two logits are closer than this.
const LEAST_MARGIN: f32 = 0.02;
/// Step between the logits that the committed files keep.
const SAMPLED: usize = 61;

/// One text.
pub struct Reference {
    /// For messages.
    pub name: String,
    /// The text, special tokens written out; not every reference keeps it.
    pub text: Option<String>,
    /// Its token ids.
    pub tokens: Vec<u32>,
    /// Log-probability of each token after the first.
    pub log_probs: Vec<f32>,
    /// Logits of the last position: every `stride`-th of them.
    logits: Vec<f32>,
    stride: usize,
    /// The greedy continuation as far as it is certain.
    pub greedy: Vec<u32>,
}

impl Reference {
    /// Relative L2 distance of a vocabulary's worth of logits from the reference's.
    pub fn distance(&self, logits: &[f32]) -> f64 {
        let sample: Vec<f32> = logits.iter().copied().step_by(self.stride).collect();
        super::relative_l2(&sample, &self.logits)
    }

    fn read(dir: &Path, name: &str, text: Option<String>, logits: &str, stride: usize) -> Self {
        let file = |kind: &str| dir.join(format!("{name}.{kind}.npy"));
        let certain = |greedy: Vec<u32>, margin: Vec<f32>| {
            let steps = margin.iter().position(|m| *m < LEAST_MARGIN).unwrap_or(margin.len());
            greedy[..steps].to_vec()
        };
        let has_greedy = file("greedy").exists();
        let greedy =
            has_greedy.then(|| certain(read_tokens(&file("greedy")), read_f32(&file("greedy_margin"))));
        Self {
            name: name.to_owned(),
            text,
            tokens: read_tokens(&file("tokens")),
            log_probs: read_f32(&file("tok_lp")),
            logits: read_f32(&file(logits)),
            stride,
            greedy: greedy.unwrap_or_default(),
        }
    }
}

/// The texts that the repository keeps itself, then the larger set where it is present. Those of over a thousand
/// tokens, and `prose`, have no greedy continuation.
pub fn references() -> Vec<Reference> {
    let mut all = committed();
    all.extend(larger());
    all
}

fn committed() -> Vec<Reference> {
    let dir = golden("smollm2");
    let texts = fs::read_to_string(dir.join("prompts.json")).unwrap();
    let texts: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&texts).unwrap();
    let read = |(name, text): (&String, &serde_json::Value)| {
        Reference::read(&dir, name, text.as_str().map(str::to_owned), "logits", SAMPLED)
    };
    texts.iter().map(read).collect()
}

fn larger() -> Vec<Reference> {
    let Some(dir) = shared().map(|s| s.join("reference")).filter(|d| d.is_dir()) else { return Vec::new() };
    let (exact, texts) = (dir.join("hf_f32"), dir.join("llamacpp"));
    let mut names: Vec<String> = fs::read_dir(&exact)
        .unwrap()
        .filter_map(|entry| {
            Some(entry.unwrap().file_name().to_str()?.strip_suffix(".tokens.npy")?.to_owned())
        })
        .collect();
    names.sort();
    assert!(names.len() >= 11, "{}: {} texts", exact.display(), names.len());
    let read = |name: &String| {
        let text = fs::read_to_string(texts.join(format!("{name}.txt"))).ok();
        Reference::read(&exact, name, text, "logits_last", 1)
    };
    names.iter().map(read).collect()
}
