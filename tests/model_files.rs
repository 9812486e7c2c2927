//! Model files that say more than the forward takes: understood as llama.cpp understands them, refused by name, or noted.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::path::Path;

use common::{golden, mean_nll, options};
use emberlm::gguf::{Array, Gguf, GgufFile, GgufWriter, Metadata, TensorSpec, TensorType, Value};
use emberlm::model::{KvType, Mixer, Model};
use emberlm::session::{DeviceChoice, Modes, Session, SessionOptions};
use emberlm::text::Tokenizer;

type Tensors = Vec<(TensorSpec, Vec<u8>)>;

/// A model file that can be changed.
#[derive(Clone)]
struct Draft {
    metadata: Metadata,
    tensors: Tensors,
}

impl Draft {
    fn of(name: &str) -> Self {
        let file = GgufFile::open(golden("arch").join(format!("{name}.gguf"))).unwrap();
        let tensors = &file.header().tensors;
        let tensors =
            tensors.iter().map(|t| (TensorSpec::from(t), file.tensor_bytes(t).unwrap().to_vec())).collect();
        Self { metadata: file.header().metadata.clone(), tensors }
    }

    fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.metadata.set(key, value);
        self
    }

    fn without(mut self, key: &str) -> Self {
        self.metadata.remove(key);
        self
    }

    fn tensor(mut self, name: &str, dims: &[u64], format: &str) -> Self {
        let kind = TensorType::by_name(format).unwrap();
        let bytes = dims.iter().product::<u64>() / kind.block_len * kind.block_bytes;
        self.tensors.retain(|(spec, _)| spec.name != name);
        self.tensors.push((TensorSpec::new(name, dims.to_vec(), kind.id), vec![0; bytes as usize]));
        self
    }

    fn write(&self, path: &Path) {
        let specs: Vec<TensorSpec> = self.tensors.iter().map(|(spec, _)| spec.clone()).collect();
        let mut writer = GgufWriter::new(Vec::new(), &self.metadata, &specs).unwrap();
        self.tensors.iter().for_each(|(spec, bytes)| writer.tensor(&spec.name, bytes).unwrap());
        std::fs::write(path, writer.finish().unwrap()).unwrap();
    }

    fn open(&self) -> Result<Model, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.gguf");
        self.write(&path);
        Model::open(&path).map_err(|error| error.to_string())
    }

    fn refusal(&self) -> String {
        match self.open() {
            Ok(_) => panic!("was accepted"),
            Err(error) => error,
        }
    }
}

/// Mean negative log-likelihood of a fixed text on one executor.
fn nll_on(model: &Model, device: DeviceChoice) -> f64 {
    let options = SessionOptions { ctx: Some(64), ..options(device, KvType::F32, Modes::SCORE) };
    let mut session = Session::new(model, &options).unwrap();
    let text: Vec<u32> = (0..48).map(|i| 4 + i * 37 % 250).collect();
    mean_nll(&session.score(&text).unwrap())
}

fn nll(draft: &Draft) -> f64 {
    nll_on(&draft.open().unwrap(), DeviceChoice::Cpu)
}

#[test]
fn rope_scaling_is_found_under_all_its_keys() {
    let plain = Draft::of("llama-tied");
    let scaled = |type_: Option<&str>, key: &str, factor: f32| {
        let draft = plain.clone().with(&format!("llama.{key}"), factor);
        nll(&match type_ {
            Some(name) => draft.with("llama.rope.scaling.type", name),
            None => draft,
        })
    };
    let (unscaled, linear) = (nll(&plain), scaled(Some("linear"), "rope.scaling.factor", 4.0));
    assert!((unscaled - linear).abs() > 1e-3, "the text does not tell scalings apart: {unscaled} {linear}");
    assert_eq!(scaled(None, "rope.scaling.factor", 4.0), linear);
    assert_eq!(scaled(None, "rope.scale_linear", 4.0), linear);
    assert_eq!(scaled(Some("linear"), "rope.scale_linear", 4.0), linear);
    assert_eq!(scaled(Some("none"), "rope.scaling.factor", 4.0), unscaled);
    assert_eq!(scaled(None, "rope.scaling.factor", 0.0), unscaled);
    assert_eq!(scaled(None, "rope.scale_linear", 1.0), unscaled);
    // Of both keys the newer counts, as in llama.cpp.
    let both =
        plain.clone().with("llama.rope.scaling.factor", 4.0f32).with("llama.rope.scale_linear", 2.0f32);
    assert_eq!(nll(&both), linear);
    let yarn = scaled(Some("yarn"), "rope.scaling.factor", 4.0);
    assert!((yarn - linear).abs() > 1e-4 && (yarn - unscaled).abs() > 1e-4, "{yarn} {linear} {unscaled}");
}

#[test]
fn longrope_takes_the_factors_of_the_context() {
    let model = Model::open(golden("arch").join("longrope.gguf")).unwrap();
    let at = |ctx| {
        let options =
            SessionOptions { ctx: Some(ctx), ..options(DeviceChoice::Cpu, KvType::F32, Modes::SCORE) };
        let text: Vec<u32> = (0..40).map(|i| 4 + i * 37 % 250).collect();
        mean_nll(&Session::new(&model, &options).unwrap().score(&text).unwrap())
    };
    assert_eq!(at(48), at(64));
    assert_eq!(at(65), at(100));
    assert!((at(64) - at(65)).abs() > 1e-4);
}

#[test]
fn rope_scaling_that_is_none_is_refused() {
    let says = |key: &str, value: Value, words: &[&str]| {
        let said = Draft::of("llama-tied").with(key, value).refusal();
        words.iter().for_each(|word| assert!(said.contains(word), "{said}"));
    };
    says("llama.rope.scaling.type", "su".into(), &["llama.rope.scaling.type", "\"su\"", "yarn"]);
    says("llama.rope.scaling.factor", (-2.0f32).into(), &["llama.rope.scaling.factor", "-2"]);
    says("llama.rope.scale_linear", f32::NAN.into(), &["llama.rope.scale_linear", "NaN"]);
    says("llama.rope.scaling.attn_factor", 0.0f32.into(), &["attn_factor"]);
    says("llama.rope.freq_base", 0.5f32.into(), &["llama.rope.freq_base"]);
}

#[test]
fn keys_that_change_the_results_are_refused_by_name() {
    let cases: [(&str, Value, &str); 14] = [
        ("expert_count", 8u32.into(), "mixture of experts"),
        ("attention.causal", false.into(), "later tokens"),
        ("attention.scale", 0.5f32.into(), "scale of attention"),
        ("attention.clamp_kqv", 8.0f32.into(), "clamped"),
        ("attn_logit_softcapping", 50.0f32.into(), "capped"),
        ("final_logit_softcapping", 30.0f32.into(), "capped"),
        ("logit_scale", 0.125f32.into(), "logits"),
        ("embedding_scale", 12.0f32.into(), "embeddings"),
        ("residual_scale", 0.2f32.into(), "residuals"),
        ("use_parallel_residual", true.into(), "parallel"),
        ("nextn_predict_layers", 1u32.into(), "further tokens"),
        ("rope.dimension_sections", vec![8i32, 4, 4, 0].into(), "several axes"),
        ("ssm.state_size", 16u32.into(), "state-space"),
        ("rope.scaling.yarn_log_multiplier", 0.1f32.into(), "YaRN"),
    ];
    for (key, value, what) in cases {
        for (model, prefix) in [("llama-tied", "llama"), ("qwen3-tied", "qwen3")] {
            let key = format!("{prefix}.{key}");
            let said = Draft::of(model).with(&key, value.clone()).refusal();
            assert!(said.contains(&key) && said.contains(what), "{said}");
        }
    }
}

#[test]
fn values_without_effect_are_taken() {
    let draft = Draft::of("llama-tied")
        .with("llama.expert_count", 0u32)
        .with("llama.expert_used_count", 0u32)
        .with("llama.attention.causal", true)
        .with("llama.attention.scale", 0.25f32)
        .with("llama.logit_scale", 1.0f32)
        .with("llama.final_logit_softcapping", 0.0f32)
        .with("llama.rope.freq_base_swa", 5e5f32)
        .with("llama.attention.sliding_window", 4096u32)
        .with("llama.rope.scaling.finetuned", false)
        .with("llama.tensor_data_layout", "Meta AI original pth");
    let model = draft.open().unwrap();
    assert!(model.notices().is_empty(), "{:?}", model.notices());
    assert_eq!(nll_on(&model, DeviceChoice::Cpu), nll(&Draft::of("llama-tied")));
}

#[test]
fn unknown_keys_are_noted_and_other_prefixes_are_not() {
    let draft = Draft::of("qwen2").with("qwen2.tomorrow.factor", 3u32).with("llama.logit_scale", 2.0f32);
    let notices = draft.open().unwrap().notices().to_vec();
    assert!(notices.len() == 1 && notices[0].contains("`qwen2.tomorrow.factor` = 3"), "{notices:?}");
    let pooled = Draft::of("qwen3-tied").with("qwen3.pooling_type", 3u32).open().unwrap();
    assert!(pooled.notices()[0].contains("qwen3.pooling_type"));
}

#[test]
fn counts_for_each_layer_are_understood_where_they_agree() {
    let plain = Draft::of("llama-untied");
    let each = |key: &str, values: Vec<u32>| plain.clone().with(&format!("llama.{key}"), values);
    let alike = each("attention.head_count_kv", vec![2; 3])
        .with("llama.attention.head_count", vec![4i32; 3])
        .with("llama.feed_forward_length", vec![128u32; 3]);
    assert_eq!(nll(&alike), nll(&plain));
    let differing = each("attention.head_count_kv", vec![2, 1, 2]).refusal();
    assert!(
        differing.contains("llama.attention.head_count_kv") && differing.contains("2, 1, 2"),
        "{differing}"
    );
    let ff = each("feed_forward_length", vec![128, 64, 128]).refusal();
    assert!(ff.contains("feed_forward_length") && ff.contains("layer to layer"), "{ff}");
    let short = each("attention.head_count", vec![4, 4]).refusal();
    assert!(short.contains("2 entries for 3 layers"), "{short}");
    let text = plain.clone().with("llama.attention.head_count", vec![1.5f32; 3]).refusal();
    assert!(text.contains("one for each layer"), "{text}");
}

#[test]
fn layers_are_described_one_by_one() {
    let gemma = Draft::of("gemma3");
    let with = |key: &str, value: Value| gemma.clone().with(&format!("gemma3.{key}"), value);
    let windows = |draft: &Draft| draft.open().unwrap().config().windows().collect::<Vec<_>>();
    let attention = |draft: &Draft| {
        let Mixer::Attention(attention) = draft.open().unwrap().config().layers[0].mixer.clone();
        attention
    };
    assert_eq!(windows(&gemma), [8, 8, 8, 8, 8, 0, 8]);
    let every_second = with("attention.sliding_window_pattern", 2u32.into());
    assert_eq!(windows(&every_second), [8, 0, 8, 0, 8, 0, 8]);
    let listed = vec![true, false, true, false, true, false, true];
    assert_eq!(nll(&with("attention.sliding_window_pattern", listed.into())), nll(&every_second));
    let usual = nll(&gemma);
    assert_eq!(nll(&with("rope.freq_base_swa", 10_000.0f32.into())), usual);
    for other in [
        &every_second,
        &with("rope.freq_base_swa", 500.0f32.into()),
        &with("attention.sliding_window", 9u32.into()),
        &with("final_logit_softcapping", 5.0f32.into()),
    ] {
        assert!((nll(other) - usual).abs() > 1e-4, "the text does not tell them apart");
    }
    let none = gemma.clone().without("gemma3.attention.sliding_window");
    assert_eq!((windows(&none), attention(&none).rope_base), (vec![0; 7], 500.0));
    assert_eq!((attention(&gemma).rope_base, attention(&gemma).scale), (10_000.0, 1.0 / 20f32.sqrt()));
    // The largest size, which nothing but its number of layers tells.
    assert_eq!(attention(&with("block_count", 62u32.into())).scale, 1.0 / 12f32.sqrt());
    let caps = ["attn_logit_softcapping", "final_logit_softcapping"];
    let uncapped = caps.iter().fold(Draft::of("gemma2"), |d, cap| d.without(&format!("gemma2.{cap}")));
    assert_eq!(uncapped.open().unwrap().config().softcap, 30.0);
    assert_eq!(attention(&uncapped).softcap, 50.0);
    for (key, value, says) in [
        ("attention.sliding_window_pattern", vec![true; 3].into(), "7 booleans"),
        ("attention.sliding_window_pattern", 0u32.into(), "out of range"),
        ("rope.freq_base_swa", 0.5f32.into(), "1 at least"),
        ("final_logit_softcapping", (-1.0f32).into(), "no cap"),
        ("attn_logit_softcapping", 50.0f32.into(), "capped scores"),
        ("block_count", 1000u32.into(), "more than the file has tensors"),
    ] {
        let said = with(key, value).refusal();
        assert!(said.contains(key) && said.contains(says), "{said}");
    }
}

#[test]
fn tensors_of_other_models_are_refused_by_name() {
    let with = |name: &str| Draft::of("llama-tied").tensor(name, &[48], "F32").refusal();
    for name in [
        "blk.0.attn_q_norm.weight",
        "blk.1.post_attention_norm.weight",
        "blk.0.attn_norm.bias",
        "blk.2.attn_norm.weight",
        "blk.01.attn_norm.weight",
        "blk.0.ffn_gate_exps.weight",
        "output.bias",
        "position_embd.weight",
        "rope_factors_long.weight",
    ] {
        let said = with(name);
        assert!(said.contains(name) && said.contains("llama"), "{said}");
    }
    let many = (0..9).fold(Draft::of("qwen2"), |d, i| d.tensor(&format!("extra.{i}"), &[4], "F32")).refusal();
    assert!(many.contains("9 tensor(s)") && many.contains("extra.0") && many.contains("5 more"), "{many}");
}

#[test]
fn formats_that_are_not_known_are_named() {
    for (format, name) in
        [("MXFP4", "blk.1.ffn_up.weight"), ("NVFP4", "token_embd.weight"), ("TQ1_0", "blk.0.attn_q.weight")]
    {
        let draft = Draft::of("llama-formats");
        let dims =
            draft.tensors.iter().find(|(spec, _)| spec.name == name).map(|(spec, _)| spec.dims.clone());
        let Some(dims) = dims else { continue };
        let said = draft.tensor(name, &dims, format).refusal();
        assert!(said.contains(name) && said.contains(format) && said.contains("IQ4_NL"), "{said}");
    }
    let two = Draft::of("llama-formats")
        .tensor("blk.0.attn_k.weight", &[256, 128], "IQ4_XS")
        .tensor("blk.0.attn_v.weight", &[256, 128], "IQ2_XXS")
        .refusal();
    assert!(two.contains("IQ2_XXS, IQ4_XS") && two.contains("1 more"), "{two}");
}

#[test]
fn what_is_no_model_is_named() {
    let base = Draft::of("llama-tied");
    let empty = Draft { tensors: Vec::new(), ..base.clone() };
    let lora = Draft { tensors: Vec::new(), ..base.clone() }.without("tokenizer.ggml.tokens").tensor(
        "blk.0.attn_q.weight.lora_a",
        &[48, 2],
        "F32",
    );
    for (draft, word) in [
        (base.clone().with("general.type", "adapter"), "as an adapter"),
        (lora, "as an adapter"),
        (base.clone().with("general.type", "mmproj"), "mmproj"),
        (base.clone().with("general.architecture", "clip"), "mmproj"),
        (base.clone().with("general.type", "imatrix"), "importance"),
        (empty, "vocabulary without weights"),
    ] {
        let said = draft.refusal();
        assert!(said.contains(word), "{said}");
    }
    let other = base.with("general.architecture", "gemma9").refusal();
    assert!(other.contains("gemma9") && other.contains("qwen3"), "{other}");
}

#[test]
fn parts_give_what_the_whole_gives() {
    let dir = tempfile::tempdir().unwrap();
    let whole = Draft::of("llama-untied");
    let count = whole.tensors.len();
    for part in 0..3u16 {
        let range = count * usize::from(part) / 3..count * usize::from(part + 1) / 3;
        let metadata = if part == 0 { whole.metadata.clone() } else { Metadata::new() };
        let draft = Draft { metadata, tensors: whole.tensors[range].to_vec() }
            .with("split.no", Value::U16(part))
            .with("split.count", Value::U16(3))
            .with("split.tensors.count", Value::I32(count as i32));
        draft.write(&dir.path().join(format!("m-{:05}-of-00003.gguf", part + 1)));
    }
    let want = nll(&whole);
    for part in 1..=3 {
        let model = Model::open(dir.path().join(format!("m-{part:05}-of-00003.gguf"))).unwrap();
        assert_eq!(nll_on(&model, DeviceChoice::Cpu), want);
        assert!(model.gguf().metadata.value("split.count").is_none());
    }
    std::fs::remove_file(dir.path().join("m-00003-of-00003.gguf")).unwrap();
    let said = Model::open(dir.path().join("m-00001-of-00003.gguf")).err().unwrap().to_string();
    assert!(
        said.contains("part 1 of 3") && said.contains("m-00003-of-00003.gguf") && said.contains("--merge"),
        "{said}"
    );
}

#[test]
fn a_vocabulary_must_fit_the_embedding() {
    let draft = Draft::of("llama-tied");
    let Some(Value::Array(tokens)) = draft.metadata.value("tokenizer.ggml.tokens") else { panic!() };
    let Array::Str(tokens) = &**tokens else { panic!() };
    let more = tokens.iter().chain(["one more"]).collect();
    let fewer = tokens.iter().take(200).collect();
    let with = |list: emberlm::gguf::StringArray| draft.clone().with("tokenizer.ggml.tokens", list);
    assert!(with(more).refusal().contains("tokenizer.ggml.tokens"));
    assert!(with(fewer).open().unwrap().notices()[0].contains("200 tokens"));
}

#[test]
fn a_missing_pre_tokenizer_is_noted_and_an_unknown_one_refused() {
    let of = |draft: &Draft| Tokenizer::from_metadata(&draft.metadata);
    let draft = Draft::of("llama-tied");
    assert!(of(&draft).unwrap().notices().is_empty());
    let named = of(&draft.clone().with("tokenizer.ggml.pre", "default")).unwrap();
    assert!(named.notices().is_empty());
    for draft in [draft.clone().without("tokenizer.ggml.pre"), draft.clone().with("tokenizer.ggml.pre", "")] {
        let guessed = of(&draft).unwrap();
        assert!(guessed.notices()[0].contains("tokenizer.ggml.pre"), "{:?}", guessed.notices());
        assert_eq!(guessed.encode("it's 12345", false, true), named.encode("it's 12345", false, true));
    }
    let unknown = of(&draft.with("tokenizer.ggml.pre", "tomorrow")).err().unwrap().to_string();
    assert!(unknown.contains("tomorrow") && unknown.contains("llama-bpe"), "{unknown}");
}

#[cfg(feature = "gpu")]
#[test]
fn both_executors_understand_alike() {
    let drafts = [
        Draft::of("llama-tied").with("llama.rope.scale_linear", 4.0f32),
        Draft::of("qwen2").with("qwen2.rope.scaling.type", "yarn").with("qwen2.rope.scaling.factor", 4.0f32),
        Draft::of("llama-tied").with("llama.attention.sliding_window", 5u32),
    ];
    for draft in drafts {
        let model = draft.open().unwrap();
        let (cpu, gpu) = (nll_on(&model, DeviceChoice::Cpu), nll_on(&model, DeviceChoice::Gpu));
        assert!((cpu - gpu).abs() < common::bounds::MODEL * cpu, "{cpu} {gpu}");
    }
}

#[test]
fn a_model_without_numbers_is_an_error_not_a_number() {
    for value in [f32::NAN, f32::INFINITY] {
        let mut draft = Draft::of("llama-tied");
        let norm = draft.tensors.iter_mut().find(|(spec, _)| spec.name == "output_norm.weight").unwrap();
        norm.1[..4].copy_from_slice(&value.to_le_bytes());
        let model = draft.open().unwrap();
        let devices: &[DeviceChoice] = if cfg!(feature = "gpu") {
            &[DeviceChoice::Cpu, DeviceChoice::Gpu]
        } else {
            &[DeviceChoice::Cpu]
        };
        for device in devices {
            let options = options(device.clone(), KvType::F32, Modes::SCORE);
            let mut session = Session::new(&model, &options).unwrap();
            let said = session.score(&[5, 6, 7]).unwrap_err().to_string();
            assert!(said.contains("not numbers at position 0"), "{said}");
        }
    }
}

/// What the reader gives for the goldens is what the draft writes back.
#[test]
fn a_draft_is_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("copy.gguf");
    Draft::of("qwen2").write(&path);
    let copy = Gguf::read(emberlm::io::MemStream::new(std::fs::read(&path).unwrap())).unwrap();
    let original = GgufFile::open(golden("arch").join("qwen2.gguf")).unwrap();
    assert_eq!(copy.metadata, original.header().metadata);
    assert_eq!(copy.tensors.len(), original.header().tensors.len());
}
