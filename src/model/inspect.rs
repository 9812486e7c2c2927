//! Plans that let the host look inside: the forward of a single text, whose intermediate tensors stay, and the last norm and
//! the output matrix over rows that the host sets ("logit lens", nostalgebraist 2020).

use crate::model::builder::Builder;
use crate::model::forward::{Weights, embed, layer, logits};
use crate::model::options::BuildOptions;
use crate::model::{ModelConfig, ModelError};
use crate::ops::{self, params};
use crate::plan::{OpCall, PlanId, Program, Role, TensorId, WeightSource};

/// The plans of an inspection, and what the host may read between them.
#[derive(Clone, Debug, PartialEq)]
pub struct Inspection {
    /// Token rows to the last layer's output; fetches nothing.
    pub forward: PlanId,
    /// The rows of [`lens_input`](Self::lens_input) to logits of the output rows, (outputs, vocab), fetched.
    pub lens: PlanId,
    /// What `lens` makes logits of, (rows, width): set by the host.
    pub lens_input: TensorId,
    /// By layer.
    pub layers: Vec<InspectedLayer>,
}

/// What is kept of a layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InspectedLayer {
    /// The residual stream before it, (rows, width).
    pub input: TensorId,
    /// The same with what attention adds.
    pub attended: TensorId,
    /// The same with what the feed-forward adds: the layer's output.
    pub output: TensorId,
    /// Queries as attention takes them, (rows, heads * head_dim).
    pub queries: TensorId,
    /// Keys as attention takes them, (rows, kv_heads * head_dim).
    pub keys: TensorId,
    /// Scale, window and shape of attention.
    pub attention: params::attention::Params,
}

/// Builds the plans for a text of at most `rows` tokens, `outputs` of which the lens looks at together. `options` are those of
/// a session of the same context; nothing is trained.
///
/// # Errors
/// [`ModelError`] if a weight is missing or has another shape.
pub fn build_inspection(
    config: &ModelConfig,
    weights: &dyn WeightSource,
    options: &BuildOptions,
    rows: usize,
    outputs: usize,
) -> Result<(Program, Inspection), ModelError> {
    let mut b = Builder::new(config, weights, options, rows, outputs)?;
    let model = Weights::declare(&mut b, false)?;
    b.check_adapters()?;
    b.packed = true;
    let forward = b.open("inspect", rows, 0);
    let mut x = embed(&mut b, &model)?;
    let mut layers = Vec::with_capacity(config.layers.len());
    for index in 0..config.layers.len() {
        let start = b.program.plans[forward.index()].calls.len();
        let output = layer(&mut b, &model, index, x)?;
        layers.push(inspected(&b.program.plans[forward.index()].calls[start..], index, x, output)?);
        x = output;
    }
    let lens = b.open("lens", rows, outputs);
    for layer in &layers {
        for id in [layer.input, layer.attended, layer.output, layer.queries, layer.keys] {
            b.program.keep(id, lens);
        }
    }
    let lens_input = crate::plan::Tensor {
        name: "lens input".into(),
        role: Role::Tape { branch: b.branch as u32 },
        plan: None,
        ..b.program.get(x).clone()
    };
    let lens_input = b.program.tensor(lens_input)?;
    let made = logits(&mut b, &model, lens_input, true)?;
    b.program.plans[lens.index()].fetch = Some(made);
    Ok((b.program, Inspection { forward, lens, lens_input, layers }))
}

/// Finds among a layer's calls the one of attention, and the one that adds its result to the residual stream.
fn inspected(
    calls: &[OpCall],
    index: usize,
    input: TensorId,
    output: TensorId,
) -> Result<InspectedLayer, ModelError> {
    let attention = |(at, call): (usize, &OpCall)| Some((at, call.get::<ops::Attention>()?));
    let found = calls.iter().enumerate().find_map(attention).and_then(|(at, attention)| {
        // The first that reads the stream as a residual behind attention writes the stream with attention in it.
        let adds = |call: &&OpCall| call.arg("residual") == Some(input);
        let attended = calls[at..].iter().find(adds)?.arg("y")?;
        let (queries, keys) = (attention.q, attention.k);
        Some(InspectedLayer { input, attended, output, queries, keys, attention: attention.params })
    });
    found.ok_or_else(|| ModelError::Tensor {
        name: format!("blk.{index}"),
        why: "has no attention that could be looked at".into(),
    })
}
