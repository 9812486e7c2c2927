//! What a model file says beyond the numbers that the forward takes: what would change the results and is not known is
//! refused by name, what may is noted. A wrong answer without a word is the worst of all.

use std::collections::BTreeSet;

use crate::gguf::{Gguf, TensorInfo, Value};
use crate::model::keys::Keys;
use crate::model::{ModelConfig, ModelError, Norms, OtherKind};
use crate::quant::Format;

/// Names that a message shows.
const SHOWN: usize = 4;

/// Keys that the forward takes its numbers from, or that change nothing in it.
const KNOWN: &[&str] = &[
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.layer_norm_rms_epsilon",
    "attention.sliding_window",
    "attention.value_length",
    "block_count",
    "context_length",
    "embedding_length",
    "expert_count",
    "feed_forward_length",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scale_linear",
    "rope.scaling.attn_factor",
    "rope.scaling.factor",
    "rope.scaling.finetuned",
    "rope.scaling.original_context_length",
    "rope.scaling.type",
    "rope.scaling.yarn_attn_factor",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
    "rope.scaling.yarn_ext_factor",
    "tensor_data_layout",
    "vocab_size",
];

/// A value that makes a key one without effect.
enum Neutral {
    /// Zero, false, or an array of these.
    Zero,
    /// Zero or one.
    ZeroOrOne,
    /// True.
    True,
    /// The usual scale of attention, or zero.
    AttentionScale,
    /// What the key without `_swa` says; any where there is no window.
    SameAs(&'static str),
    /// `silu`.
    Silu,
}

use Neutral::{AttentionScale, SameAs, Silu, True, Zero, ZeroOrOne};

/// Keys that change the results unless they have a value without effect, and what they stand for.
const CHANGING: &[(&str, Neutral, &str)] = &[
    ("attention.causal", True, "attention to later tokens"),
    ("attention.scale", AttentionScale, "another scale of attention"),
    ("attention.output_scale", ZeroOrOne, "a scale of attention's output"),
    ("attention.value_scale", ZeroOrOne, "a scale of values"),
    ("attention.temperature_length", Zero, "attention that sharpens with the position"),
    ("attention.temperature_scale", Zero, "attention that sharpens with the position"),
    ("attention.clamp_kqv", Zero, "clamped queries, keys and values"),
    ("attention.max_alibi_bias", Zero, "ALiBi"),
    ("attention.relative_buckets_count", Zero, "relative positions"),
    ("attention.sliding_window_pattern", Zero, "windows in some layers only"),
    ("attention.shared_kv_layers", Zero, "layers that share keys and values"),
    ("attention.q_lora_rank", Zero, "latent attention"),
    ("attention.kv_lora_rank", Zero, "latent attention"),
    (
        "attention.key_length_swa",
        SameAs("attention.key_length"),
        "heads of another width in layers with a window",
    ),
    (
        "attention.value_length_swa",
        SameAs("attention.value_length"),
        "heads of another width in layers with a window",
    ),
    ("attention.indexer.top_k", Zero, "sparse attention"),
    ("attn_logit_softcapping", Zero, "capped scores of attention"),
    ("final_logit_softcapping", Zero, "capped logits"),
    ("router_logit_softcapping", Zero, "capped logits of a router"),
    ("logit_scale", ZeroOrOne, "a scale of logits"),
    ("embedding_scale", ZeroOrOne, "a scale of embeddings"),
    ("residual_scale", ZeroOrOne, "a scale of residuals"),
    ("hidden_activation", Silu, "another activation"),
    ("use_parallel_residual", Zero, "parallel residuals"),
    ("nextn_predict_layers", Zero, "layers that predict further tokens"),
    ("rope.dimension_sections", Zero, "rope of several axes"),
    ("rope.freq_base_swa", SameAs("rope.freq_base"), "another base of rope in layers with a window"),
    ("rope.dimension_count_swa", SameAs("rope.dimension_count"), "another rope in layers with a window"),
    ("rope.scaling.alpha", Zero, "NTK-aware scaling of rope"),
    ("rope.scaling.yarn_log_multiplier", Zero, "a multiplier of YaRN's magnitude"),
    ("embedding_length_per_layer_input", Zero, "embeddings of each layer"),
    ("full_attention_interval", Zero, "layers without attention"),
    ("n_deepstack_layers", Zero, "visual embeddings"),
    ("swiglu_clamp_exp", Zero, "a clamped feed-forward"),
    ("expert_used_count", Zero, "mixture of experts"),
    ("leading_dense_block_count", Zero, "mixture of experts"),
];

/// Beginnings of keys of other kinds of models.
const OTHER_KINDS: &[(&str, &str)] =
    &[("ssm.", "state-space layers"), ("wkv.", "RWKV layers"), ("shortconv.", "convolutions")];

/// Refuses what is no model at all, naming what it is.
pub(super) fn refuse_other_kinds(gguf: &Gguf) -> Result<(), ModelError> {
    let text = |key: &str| gguf.metadata.find::<&str>(key).ok().flatten().unwrap_or_default();
    let refuse = |kind| Err(ModelError::OtherKind(kind));
    match (text("general.type"), text("general.architecture")) {
        ("adapter", _) => refuse(OtherKind::Adapter),
        ("mmproj", _) | (_, "clip") => refuse(OtherKind::Projector),
        ("imatrix", _) => refuse(OtherKind::ImportanceMatrix),
        ("control_vector", _) | (_, "controlvector") => refuse(OtherKind::ControlVector),
        _ if gguf.tensors.is_empty() && gguf.metadata.value("tokenizer.ggml.tokens").is_some() => {
            refuse(OtherKind::Vocabulary)
        }
        _ if gguf.tensors.iter().any(|t| t.name.ends_with(".lora_a")) => refuse(OtherKind::Adapter),
        _ => Ok(()),
    }
}

/// Checks keys and tensors; what may change the results, for people.
pub(super) fn understood(gguf: &Gguf, config: &ModelConfig) -> Result<Vec<String>, ModelError> {
    let keys = Keys { gguf, prefix: config.arch.name };
    refuse_changing(&keys, config)?;
    let mut notices = Vec::new();
    if let Some(unknown) = unknown_keys(&keys)? {
        notices.push(unknown);
    }
    known_tensors(gguf, config)?;
    known_formats(gguf)?;
    notices.extend(vocabulary(gguf, config)?);
    Ok(notices)
}

fn refuse_changing(keys: &Keys<'_>, config: &ModelConfig) -> Result<(), ModelError> {
    for (key, neutral, what) in CHANGING.iter().filter(|(key, ..)| !config.arch.keys.contains(key)) {
        if let Some(value) = keys.value(key).filter(|value| !neutral.holds(value, keys, config)) {
            return Err(keys.refuse(key, format!("{value}: {what} is not supported")));
        }
    }
    Ok(())
}

impl Neutral {
    fn holds(&self, value: &Value, keys: &Keys<'_>, config: &ModelConfig) -> bool {
        let number = value.as_int().map(|n| n as f64).or_else(|| value.as_f64());
        match self {
            Zero => number == Some(0.0) || *value == Value::Bool(false) || all_zero(value),
            ZeroOrOne => number == Some(0.0) || number == Some(1.0),
            True => *value == Value::Bool(true),
            AttentionScale => number.is_some_and(|n| {
                let usual = (config.head_dim as f64).sqrt().recip();
                n == 0.0 || (n - usual).abs() <= 1e-6 * usual
            }),
            SameAs(other) => config.windows().all(|window| window == 0) || keys.value(other) == Some(value),
            Silu => matches!(value, Value::Str(text) if &**text == "silu"),
        }
    }
}

fn all_zero(value: &Value) -> bool {
    let Value::Array(array) = value else { return false };
    array.to_f32s().is_some_and(|values| values.iter().all(|v| *v == 0.0))
        || array.to_ints::<i64>().is_some_and(|values| values.iter().all(|v| *v == 0))
}

/// A sentence about keys of the architecture that are on no list.
fn unknown_keys(keys: &Keys<'_>) -> Result<Option<String>, ModelError> {
    let prefix = format!("{}.", keys.prefix);
    let mut unknown = Vec::new();
    for (key, value) in keys.gguf.metadata.iter() {
        let Some(own) = key.strip_prefix(&prefix) else { continue };
        let listed = KNOWN.contains(&own) || CHANGING.iter().any(|(key, ..)| *key == own);
        if let Some((_, what)) = OTHER_KINDS.iter().find(|(start, _)| own.starts_with(start)) {
            return Err(keys.refuse(own, format!("{what} are not supported")));
        }
        let harmless = own == "pooling_type" && value.as_int() == Some(0);
        if !listed && !harmless {
            unknown.push(format!("`{key}` = {value}"));
        }
    }
    Ok((!unknown.is_empty()).then(|| {
        format!("not understood, and without effect: {}; if it matters, answers may be wrong", some(&unknown))
    }))
}

/// The first few, and how many more.
fn some(all: &[String]) -> String {
    let more = all.len().saturating_sub(SHOWN);
    let first = all.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if more == 0 { first } else { format!("{first} and {more} more") }
}

/// Refuses tensors that the forward would leave out.
fn known_tensors(gguf: &Gguf, config: &ModelConfig) -> Result<(), ModelError> {
    let untied = gguf.tensor("output.weight").is_some();
    let known = |name: &str| is_known(name, config) || (untied && name == "output.bias");
    let unknown = gguf.tensors.iter().filter(|tensor| !known(&tensor.name));
    let unknown: Vec<String> = unknown.map(|tensor| format!("`{}`", tensor.name)).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(ModelError::UnknownTensors { count: unknown.len(), names: some(&unknown), arch: config.arch.name })
}

fn is_known(name: &str, config: &ModelConfig) -> bool {
    const WHOLE: &[&str] = &["token_embd.weight", "output_norm.weight", "output.weight"];
    const LINEAR: &[&str] = &["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"];
    let Some((layer, part)) = name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')) else {
        let factors = match config.rope.long_beyond {
            Some(_) => matches!(name, "rope_factors_long.weight" | "rope_factors_short.weight"),
            None => name == "rope_freqs.weight",
        };
        return factors || WHOLE.contains(&name);
    };
    let in_model = layer.parse::<usize>().is_ok_and(|n| n < config.layers.len() && n.to_string() == layer);
    let (stem, kind) = part.split_once('.').unwrap_or((part, ""));
    let head_norm = config.arch.qk_norm && matches!(stem, "attn_q_norm" | "attn_k_norm");
    let after = config.arch.norms == Norms::Around && matches!(stem, "post_attention_norm" | "post_ffw_norm");
    let known = match kind {
        "weight" => LINEAR.contains(&stem) || matches!(stem, "attn_norm" | "ffn_norm") || head_norm || after,
        "bias" => LINEAR.contains(&stem),
        _ => false,
    };
    in_model && known
}

/// Refuses formats that cannot be decoded.
fn known_formats(gguf: &Gguf) -> Result<(), ModelError> {
    let unknown: Vec<&TensorInfo> =
        gguf.tensors.iter().filter(|t| Format::from_ggml_id(t.type_id).is_none()).collect();
    let Some(first) = unknown.first() else { return Ok(()) };
    let formats: BTreeSet<&str> = unknown.iter().filter_map(|t| t.tensor_type()).map(|t| t.name).collect();
    Err(ModelError::Format {
        name: first.name.clone(),
        format: formats.into_iter().collect::<Vec<_>>().join(", "),
        others: match unknown.len() - 1 {
            0 => String::new(),
            n => format!(" and {n} more"),
        },
        known: Format::ALL.map(Format::name).join(", "),
    })
}

/// The vocabulary must not be longer than the embedding has rows; a shorter one is odd.
fn vocabulary(gguf: &Gguf, config: &ModelConfig) -> Result<Option<String>, ModelError> {
    const KEY: &str = "tokenizer.ggml.tokens";
    let Some(Value::Array(tokens)) = gguf.metadata.value(KEY) else { return Ok(None) };
    let (tokens, rows) = (tokens.len(), config.vocab);
    if tokens > rows {
        let why = format!("has {tokens} tokens, and the embedding {rows} rows; convert the model again");
        return Err(ModelError::Setting { key: KEY.into(), why });
    }
    Ok((tokens < rows)
        .then(|| format!("the vocabulary has {tokens} tokens and the embedding {rows} rows; the model may choose tokens without a text")))
}
