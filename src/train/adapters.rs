//! Adapters in training: which matrices, where they begin, and how they become files.

use std::collections::BTreeMap;

use crate::adapter::{Adapter, BaseFingerprint, LoraPair};
use crate::exec::ExecError;
use crate::model::{AdapterShape, Model, PairShape, SCALAR_HEAD, Train};
use crate::train::data::Random;
use crate::train::{Engine, Settings, TrainError};

/// Matrices of a decoder layer that can be adapted, by the last part of their name in a file, and by what users call them.
pub const TARGETS: [(&str, &str); 7] = [
    ("attn_q", "q"),
    ("attn_k", "k"),
    ("attn_v", "v"),
    ("attn_output", "o"),
    ("ffn_gate", "gate"),
    ("ffn_up", "up"),
    ("ffn_down", "down"),
];

/// LoRA's settings.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct LoraOptions {
    /// Rank of the factors.
    pub rank: usize,
    /// Scale of their product: alpha / rank, or alpha / sqrt(rank) with rsLoRA.
    pub alpha: f32,
    /// Rank-stabilised scale (Kalajdzievski 2023).
    pub rslora: bool,
    /// Rate of dropout before the first factor.
    pub dropout: f32,
    /// Kinds of matrices, as in [`TARGETS`]' file names.
    pub targets: Vec<String>,
}

impl Default for LoraOptions {
    fn default() -> Self {
        Self::of_rank(16)
    }
}

impl LoraOptions {
    /// Those of a rank: the scale counts twice it, all matrices are adapted.
    pub fn of_rank(rank: usize) -> Self {
        let targets = TARGETS.iter().map(|(file, _)| (*file).to_owned()).collect();
        Self { rank, alpha: 2.0 * rank as f32, rslora: false, dropout: 0.0, targets }
    }

    /// Those of an adapter that exists: its rank (the largest, if there are several), scale and kinds of matrices.
    pub fn of(adapter: &Adapter, dropout: f32) -> Self {
        let rank = adapter.pairs.iter().map(|pair| pair.rank).max().unwrap_or(0);
        let mut targets: Vec<String> = Vec::new();
        for pair in &adapter.pairs {
            if !targets.iter().any(|kind| kind == pair.kind()) {
                targets.push(pair.kind().to_owned());
            }
        }
        let place = |kind: &String| TARGETS.iter().position(|(file, _)| file == kind);
        targets.sort_by_key(|kind| place(kind).unwrap_or(TARGETS.len()));
        let alpha = if adapter.alpha == 0.0 { rank as f32 } else { adapter.alpha };
        Self { rank, alpha, rslora: false, dropout, targets }
    }

    /// The factor of the product.
    pub fn scale(&self) -> f32 {
        let rank = self.rank as f32;
        self.alpha / if self.rslora { rank.sqrt() } else { rank }
    }

    /// The shape for a model: each target of every layer.
    pub fn shape(&self, model: &Model) -> AdapterShape {
        let pair = PairShape { rank: self.rank, scale: self.scale() };
        let layers = 0..model.config().layers.len();
        let labels = layers.flat_map(|l| self.targets.iter().map(move |t| format!("blk.{l}.{t}")));
        AdapterShape { pairs: labels.map(|label| (label, pair)).collect(), dropout: self.dropout }
    }
}

/// The shape of an adapter that exists.
pub fn shape_of(adapter: &Adapter, dropout: f32) -> AdapterShape {
    let pair = |p: &LoraPair| (p.target.clone(), PairShape { rank: p.rank, scale: adapter.scale(p) });
    AdapterShape { pairs: adapter.pairs.iter().map(pair).collect(), dropout }
}

/// What a run trains: adapters, or all weights.
///
/// # Errors
/// [`TrainError::Adapter`] where all weights are to be trained from an adapter.
pub(super) fn trained(
    model: &Model,
    settings: &Settings,
    from: Option<&Adapter>,
) -> Result<(Train, AdapterShape), TrainError> {
    match (settings.full, from) {
        (true, Some(_)) => Err(TrainError::Adapter(
            "all weights are trained from a model, not from an adapter on one".into(),
        )),
        (true, None) => Ok((Train::All, AdapterShape::default())),
        (false, Some(adapter)) => Ok((Train::Adapters, shape_of(adapter, settings.lora.dropout))),
        (false, None) => Ok((Train::Adapters, settings.lora.shape(model))),
    }
}

/// Sets the adapters of all branches to where training begins, as PEFT does: A uniform in +-1 / sqrt(inputs), B zero.
/// Scalar heads are zero. Where all weights are trained, they begin as the file has them.
///
/// # Errors
/// [`TrainError::Exec`] if the device refuses.
pub fn initialize(engine: &mut Engine, seed: u64) -> Result<(), TrainError> {
    let mut first = 0;
    if engine.train() == Train::All {
        load_weights(engine)?;
        first = 1;
    }
    for branch in first..engine.branches().len() {
        initialize_branch(engine, branch, seed.wrapping_add(branch as u64))?;
    }
    Ok(())
}

/// Sets all trained weights to those of the model's file.
fn load_weights(engine: &mut Engine) -> Result<(), TrainError> {
    let weights = engine.model().weights();
    let mut values = Vec::new();
    for (id, name, rows, width) in engine.tensors_of(0) {
        if name == SCALAR_HEAD {
            engine.write(id, &vec![0.0; rows * width])?;
            continue;
        }
        let fail = |why: String| ExecError::Weight(crate::plan::WeightError { name: name.clone(), why });
        let shape = weights.shape(&name).ok_or_else(|| fail("is missing in the model file".into()))?;
        values.clear();
        values.resize(rows * width, 0.0);
        shape
            .format
            .decode(weights.bytes(&name).map_err(ExecError::from)?, &mut values)
            .map_err(|e| fail(e.to_string()))?;
        engine.write(id, &values)?;
    }
    Ok(())
}

fn initialize_branch(engine: &mut Engine, branch: usize, seed: u64) -> Result<(), TrainError> {
    for (index, (id, name, rows, width)) in engine.tensors_of(branch).into_iter().enumerate() {
        let mut values = vec![0.0f32; rows * width];
        if name.ends_with(".lora_a") {
            let mut random = Random::new(seed, index as u64);
            let bound = 1.0 / (width as f64).sqrt();
            for value in &mut values {
                let unit = (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
                *value = ((2.0 * unit - 1.0) * bound) as f32;
            }
        }
        engine.write(id, &values)?;
    }
    Ok(())
}

/// Sets an engine's adapters to those of a file.
///
/// # Errors
/// [`TrainError::Adapter`] if the adapter lacks a matrix or has another rank than the engine was booted with.
pub fn load_adapter(engine: &mut Engine, adapter: &Adapter) -> Result<(), TrainError> {
    load_branch(engine, 0, adapter)
}

/// Sets a branch's adapters, and its scalar head if the file has one, to those of a file.
///
/// # Errors
/// As [`load_adapter`].
pub fn load_branch(engine: &mut Engine, branch: usize, adapter: &Adapter) -> Result<(), TrainError> {
    for (id, name, rows, width) in engine.tensors_of(branch) {
        let missing = || TrainError::Adapter(format!("the adapter has no `{name}` of {rows} x {width}"));
        if name == SCALAR_HEAD {
            match &adapter.head {
                // One that is new begins at zero.
                None => continue,
                Some(head) if head.len() == width => engine.write(id, head)?,
                Some(_) => return Err(missing()),
            }
            continue;
        }
        let (target, factor) = split(&name).ok_or_else(missing)?;
        let pair = adapter.pair(target).ok_or_else(missing)?;
        let values = if factor == "lora_a" { &pair.a } else { &pair.b };
        if values.len() != rows * width {
            return Err(missing());
        }
        engine.write(id, values)?;
    }
    Ok(())
}

/// The adapter that an engine holds now; `values` has each trained tensor's values, in the engine's order.
///
/// # Errors
/// [`TrainError::Adapter`] if it is not sound, numbers that are not finite included.
pub fn adapter_of(
    engine: &Engine,
    values: &[Vec<f32>],
    info: BTreeMap<String, String>,
) -> Result<Adapter, TrainError> {
    let fail = |e: crate::adapter::AdapterError| TrainError::Adapter(e.to_string());
    let mut pairs: Vec<LoraPair> = Vec::new();
    let mut head = None;
    for ((_, name, rows, width), values) in engine.trained().into_iter().zip(values) {
        if name == SCALAR_HEAD {
            head = Some(values.clone());
        }
        let Some((target, factor)) = split(&name) else { continue };
        if pairs.last().is_none_or(|p| p.target != target) {
            pairs.push(LoraPair { target: target.to_owned(), ..LoraPair::default() });
        }
        let Some(pair) = pairs.last_mut() else { continue };
        if factor == "lora_a" {
            (pair.rank, pair.inputs, pair.a) = (rows, width, values.clone());
        } else {
            (pair.outputs, pair.b) = (rows, values.clone());
        }
    }
    let model = engine.model();
    let shape = engine.adapters();
    let alphas = pairs.iter().filter_map(|p| shape.pairs.get(&p.target)).map(|p| p.scale * p.rank as f32);
    let alpha = alphas.clone().next().unwrap_or(0.0);
    if alphas.clone().any(|a| (a - alpha).abs() > alpha.abs() * 1e-6) {
        return Err(TrainError::Adapter("its matrices have different values of alpha".into()));
    }
    let adapter = Adapter {
        architecture: model.config().arch.name.to_owned(),
        // A file has one alpha for all: scale times rank, which rsLoRA does not change between pairs of one rank.
        alpha,
        pairs,
        head,
        base: Some(BaseFingerprint::of(model.file()).map_err(fail)?),
        info,
        ..Adapter::default()
    };
    adapter.check().map_err(fail)?;
    Ok(adapter)
}

/// `blk.3.attn_q.weight.lora_a` as (`blk.3.attn_q`, `lora_a`).
fn split(name: &str) -> Option<(&str, &str)> {
    let (matrix, factor) = name.rsplit_once('.')?;
    Some((matrix.strip_suffix(".weight")?, factor))
}
