//! Model files made for tests: the tiny model with other names, tokens and templates.

use std::path::{Path, PathBuf};

use emberlm::gguf::{Array, GgufFile, GgufWriter, Metadata, StringArray, TensorSpec, Value};
use emberlm::model::Model;
use emberlm::session::{DeviceChoice, Session, SessionOptions};
use emberlm::text::{ChatTemplate, Message, SamplerParams, TemplateVars, Tokenizer};

use crate::common::Sandbox;

pub fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/arch/llama-tied.gguf")
}

/// The tiny model with its metadata changed, and its tensors renamed.
pub fn model(
    sandbox: &Sandbox,
    name: &str,
    change: impl FnOnce(&mut Metadata),
    rename: impl Fn(&str) -> String,
) -> String {
    let base = GgufFile::open(tiny()).unwrap();
    let mut metadata = base.header().metadata.clone();
    change(&mut metadata);
    let tensors = &base.header().tensors;
    let specs: Vec<_> =
        tensors.iter().map(|t| TensorSpec::new(rename(&t.name), t.dims.clone(), t.type_id)).collect();
    let mut writer = GgufWriter::new(Vec::new(), &metadata, &specs).unwrap();
    for tensor in tensors {
        writer.tensor(&rename(&tensor.name), base.tensor_bytes(tensor).unwrap()).unwrap();
    }
    sandbox.write(name, &writer.finish().unwrap()).display().to_string()
}

/// Bytes as GPT-2's vocabularies write them.
fn written(bytes: &[u8]) -> String {
    let itself = |b: u8| matches!(b, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let stand_in = |b: u8| 256 + (0..b).filter(|&b| !itself(b)).count() as u32;
    let one = |&b: &u8| char::from_u32(if itself(b) { u32::from(b) } else { stand_in(b) }).unwrap();
    bytes.iter().map(one).collect()
}

fn tokens(metadata: &Metadata) -> Vec<String> {
    match metadata.value("tokenizer.ggml.tokens") {
        Some(Value::Array(array)) => match array.as_ref() {
            Array::Str(texts) => texts.iter().map(str::to_owned).collect(),
            other => panic!("tokens are texts, not {other}"),
        },
        other => panic!("the tiny model has tokens, not {other:?}"),
    }
}

fn set_tokens(metadata: &mut Metadata, tokens: &[String]) {
    metadata.set("tokenizer.ggml.tokens", Value::Array(Box::new(Array::Str(tokens.iter().collect()))));
    // No text is merged: what is encoded are bytes.
    metadata
        .set("tokenizer.ggml.merges", Value::Array(Box::new(Array::Str(StringArray::from_iter([""; 0])))));
}

/// A template that gives the last message, and does not differ from no template but by its comment.
fn plain(metadata: &mut Metadata, comment: &str) {
    let template = format!("{{{{ messages[-1]['content'] }}}}{{# {comment} #}}");
    metadata.set("tokenizer.chat_template", Value::Str(template.into()));
}

/// A model that answers "a" with `pieces`, a token each, where `--seed` is what is returned and `--temp` is 1.
pub fn speaking(sandbox: &Sandbox, name: &str, comment: &str, pieces: &[&[u8]]) -> (String, String) {
    let keep = |name: &str| name.to_owned();
    let bytes_only = |metadata: &mut Metadata| {
        let all = tokens(metadata);
        set_tokens(metadata, &all);
        plain(metadata, comment);
    };
    let (seed, said) = said(&model(sandbox, name, bytes_only, keep), pieces.len());
    let path = model(
        sandbox,
        name,
        |metadata| {
            let mut all = tokens(metadata);
            for (id, piece) in said.iter().zip(pieces) {
                all[*id as usize] = written(piece);
            }
            set_tokens(metadata, &all);
            plain(metadata, comment);
        },
        keep,
    );
    (path, seed.to_string())
}

/// A seed with which the model's first tokens after "a" differ from each other, and these tokens.
fn said(path: &str, count: usize) -> (u32, Vec<u32>) {
    let model = Model::open(path).unwrap();
    let metadata = &model.gguf().metadata;
    let tokenizer = Tokenizer::from_metadata(metadata).unwrap();
    let template = ChatTemplate::from_metadata(metadata, &tokenizer).unwrap().unwrap();
    let prompt =
        template.encode(&tokenizer, &[Message::new("user", "a")], true, &TemplateVars::new()).unwrap();
    let options = SessionOptions { device: DeviceChoice::Cpu, ctx: Some(64), ..SessionOptions::default() };
    let mut session = Session::new(&model, &options).unwrap();
    let mut next = |seed| {
        let sampler = SamplerParams {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            seed,
            ..SamplerParams::default()
        };
        let go_on = &mut |_| std::ops::ControlFlow::Continue(());
        session.generate(&prompt, sampler, count, go_on).unwrap().tokens
    };
    let fits = |ids: &Vec<u32>| {
        let distinct = (1..ids.len()).all(|i| !ids[..i].contains(&ids[i]));
        distinct
            && ids
                .iter()
                .all(|id| !tokenizer.is_control(*id) && !tokenizer.is_eog(*id) && !prompt.contains(id))
    };
    (0..200).map(|seed| (seed, next(seed))).find(|(_, ids)| fits(ids)).unwrap()
}

/// Arguments that make a model of [`speaking`] say its pieces.
pub fn say<'a>(model: &'a str, seed: &'a str, count: &'a str) -> Vec<&'a str> {
    let sampling = ["--temp", "1", "--top-k", "-1", "--top-p", "1", "--min-p", "0", "--seed", seed];
    let mut all = vec!["run", "-m", model, "-p", "a", "-n", count, "-c", "64", "--device", "cpu"];
    all.extend(sampling);
    all
}
