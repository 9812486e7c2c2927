//! mlx-lm's configuration and tensor names.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::assemble::{Module, Scaling, layers, most_common, scale_b};
use super::tensors::{self, Matrix, transposed};
use super::{config_error, parse};
use crate::adapter::error::short;
use crate::adapter::{Adapter, AdapterError};
use crate::gguf::Gguf;

/// What of `adapter_config.json` matters here.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Config {
    fine_tune_type: Option<String>,
    use_dora: bool,
    lora_parameters: Option<Parameters>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Parameters {
    scale: Option<f64>,
}

/// The scale of an adapter, if it is a plain LoRA.
pub(super) fn scaling(config: &[u8]) -> Result<Scaling, AdapterError> {
    let config: Config = parse(config)?;
    if let Some(kind) = config.fine_tune_type.as_deref().filter(|kind| *kind != "lora") {
        let what = if kind == "dora" { "DoRA" } else { kind };
        return Err(AdapterError::unsupported(format!("{} (fine_tune_type)", short(what))));
    }
    if config.use_dora {
        return Err(AdapterError::unsupported("DoRA (use_dora)"));
    }
    let scale = config.lora_parameters.and_then(|parameters| parameters.scale);
    scale.map(Scaling::Scale).ok_or_else(|| config_error("has no `lora_parameters.scale`".into()))
}

/// Tensors and configuration of an adapter. MLX has one scale for all: where ranks differ, the ratio goes into B.
pub(super) fn write(
    adapter: &Adapter,
    mut modules: Vec<Module>,
    base: &Gguf,
) -> Result<(Vec<u8>, Json), AdapterError> {
    let ranks: Vec<usize> = modules.iter().map(|module| module.pair.rank).collect();
    let rank = most_common(&ranks).ok_or(AdapterError::Empty)?;
    // In f64, so that the scale times the rank is alpha again.
    let scale_of = |rank: usize| {
        if adapter.alpha == 0.0 { 1.0 } else { f64::from(adapter.alpha) / rank as f64 }
    };
    for Module { pair, .. } in modules.iter_mut().filter(|module| module.pair.rank != rank) {
        let factor = scale_of(pair.rank) / scale_of(rank);
        scale_b(pair, factor);
    }
    let mut keys: Vec<&str> = Vec::new();
    for name in modules.iter().map(|module| module.place.within_layer()) {
        if !keys.contains(&name) {
            keys.push(name);
        }
    }
    let matrices = modules.iter().flat_map(|Module { place, pair }| {
        let name = |part| format!("{}.lora_{part}", place.module());
        let of = |shape, values| Matrix { shape, values: Cow::Owned(values) };
        [
            (name("a"), of([pair.inputs, pair.rank], transposed(&pair.a, pair.inputs))),
            (name("b"), of([pair.rank, pair.outputs], transposed(&pair.b, pair.rank))),
        ]
    });
    let weights = tensors::write(matrices.collect(), "mlx")?;
    let config = json!({
        "fine_tune_type": "lora",
        "model": base.metadata.find::<&str>("general.name")?.unwrap_or_default(),
        "num_layers": layers(base)?,
        "lora_parameters": { "rank": rank, "scale": scale_of(rank), "dropout": 0.0, "keys": keys },
    });
    Ok((weights, config))
}
