//! The linear layer: a weight matrix, cut by rows where a device cannot bind it whole, and its bias.

use crate::exec::WeightSource;
use crate::model::ModelError;
use crate::model::build::{Builder, Rows};
use crate::ops::{Op, params};
use crate::plan::{DType, TensorId};
use crate::quant::{Format, GROUP_ROWS};

/// Rows of a matrix that one binding holds.
#[derive(Clone, Copy, Debug)]
pub struct Shard {
    /// The weight tensor.
    pub w: TensorId,
    /// Its part of the bias.
    pub bias: Option<TensorId>,
    /// First row of the whole matrix.
    pub first: usize,
    /// Rows.
    pub rows: usize,
    /// Word offsets of its planes on a device.
    pub planes: [u32; 4],
}

/// A matrix of `rows` outputs and `cols` inputs.
#[derive(Clone, Debug)]
pub struct Linear {
    /// For people: `blk.3.attn_q`.
    pub label: String,
    /// Inputs.
    pub cols: usize,
    /// Outputs.
    pub rows: usize,
    /// Row ranges.
    pub shards: Vec<Shard>,
}

impl Linear {
    /// Declares the weights `<label>.weight` and, if there is one, `<label>.bias`.
    pub fn declare(
        b: &mut Builder<'_>,
        label: &str,
        rows: usize,
        cols: usize,
        bias: bool,
    ) -> Result<Self, ModelError> {
        let name = format!("{label}.weight");
        let format = check_matrix(b.weights, &name, rows, cols)?;
        let per_shard = shard_rows(format, rows, cols, b.options.max_binding, &name)?;
        let mut shards = Vec::new();
        for first in (0..rows).step_by(per_shard) {
            let count = per_shard.min(rows - first);
            let planes = format.planes(count, cols).to_u32().ok_or_else(|| too_large(&name))?;
            let w = b.program.weight(&name, first, count, cols, DType::Matrix(format))?;
            let bias = if bias { Some(b.vector(&format!("{label}.bias"), first, count)?) } else { None };
            shards.push(Shard { w, bias, first, rows: count, planes });
        }
        Ok(Self { label: label.into(), cols, rows, shards })
    }

    /// y = x w^T (+ bias) (+ residual).
    pub fn forward(
        &self,
        b: &mut Builder<'_>,
        x: TensorId,
        residual: Option<TensorId>,
        rows: Rows,
        output: Option<TensorId>,
    ) -> Result<TensorId, ModelError> {
        let y = match output {
            Some(y) => y,
            None => b.activation(&self.label, rows, self.rows)?,
        };
        for shard in &self.shards {
            let p = params::linear::Params {
                planes: shard.planes,
                cols: self.cols as u32,
                out: shard.rows as u32,
                y_stride: self.rows as u32,
                y_offset: shard.first as u32,
                count: rows.count(),
                has_bias: u32::from(shard.bias.is_some()),
                has_residual: u32::from(residual.is_some()),
                pad0: 0,
            };
            let args = vec![Some(b.rows), Some(x), Some(shard.w), shard.bias, residual, Some(y)];
            b.call(Op::Linear, &self.label, args, p)?;
        }
        Ok(y)
    }
}

fn too_large(name: &str) -> ModelError {
    ModelError::Tensor { name: name.into(), why: "is too large to address".into() }
}

/// The format of a matrix of the expected shape.
fn check_matrix(
    weights: &dyn WeightSource,
    name: &str,
    rows: usize,
    cols: usize,
) -> Result<Format, ModelError> {
    let fail = |why: String| ModelError::Tensor { name: name.into(), why };
    let shape =
        weights.shape(name).ok_or_else(|| fail("is missing, or in a format that is not supported".into()))?;
    if (shape.rows, shape.cols) != (rows, cols) {
        return Err(fail(format!(
            "is {} x {}, the metadata asks for {rows} x {cols}",
            shape.rows, shape.cols
        )));
    }
    if !cols.is_multiple_of(8) {
        return Err(fail(format!("is {cols} wide; widths that are multiples of 8 are supported")));
    }
    shape.format.row_bytes(cols).map_err(|e| fail(e.to_string()))?;
    Ok(shape.format)
}

/// Rows of one shard: all, or as many groups of 32 as a binding holds.
fn shard_rows(
    format: Format,
    rows: usize,
    cols: usize,
    max_binding: Option<u64>,
    name: &str,
) -> Result<usize, ModelError> {
    let Some(limit) = max_binding else { return Ok(rows) };
    let group = format.planes(GROUP_ROWS, cols).words as u64 * 4;
    let groups = (limit / group) as usize;
    if groups == 0 {
        let why = format!("one group of {GROUP_ROWS} rows needs {group} bytes, the device binds {limit}");
        return Err(ModelError::Tensor { name: name.into(), why });
    }
    Ok(rows.min(groups * GROUP_ROWS))
}
