//! The linear layer: a weight matrix, cut by rows where a device cannot bind it whole, its bias, and the one place where
//! LoRA enters (Hu et al. 2021): y = W x + scale B (A x).

use crate::model::ModelError;
use crate::model::builder::Builder;
use crate::model::options::PairShape;
use crate::ops::{self, params};
use crate::plan::{DType, Over, TensorId, WeightSource};
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
    /// Where it begins in `w`, which may hold the rows of several matrices.
    pub w_first: usize,
}

/// A matrix that is declared with others of as many inputs.
#[derive(Clone, Debug)]
pub struct Declared {
    /// As [`Linear::label`].
    pub label: String,
    /// Outputs.
    pub rows: usize,
    /// It has a bias.
    pub bias: bool,
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
    /// Row ranges; one if it is trained.
    pub shards: Vec<Shard>,
    /// It is trained, hence plain floats.
    pub trained: bool,
    /// What each branch adds to it.
    pub lora: Vec<Option<Lora>>,
}

/// The two factors that are added to a matrix.
#[derive(Clone, Copy, Debug)]
pub struct Lora {
    /// (rank, cols).
    pub a: TensorId,
    /// (rows, rank).
    pub b: TensorId,
    /// Rank.
    pub rank: usize,
    /// Factor of the product.
    pub scale: f32,
    /// Number of this use of dropout.
    pub id: u32,
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
        let format = check_matrix(b.weights, &format!("{label}.weight"), rows, cols)?;
        let lora = Lora::declare_all(b, label, rows, cols)?;
        Self::with(b, Declared { label: label.into(), rows, bias }, cols, format, lora)
    }

    /// Declares matrices that meet the same activations. Where steps are fused, neighbours of one format are one tensor,
    /// whose rows are theirs, so that one product can have them all.
    pub fn declare_together<const N: usize>(
        b: &mut Builder<'_>,
        all: [Declared; N],
        cols: usize,
    ) -> Result<[Self; N], ModelError> {
        let mut formats = [Format::F32; N];
        for (format, one) in formats.iter_mut().zip(&all) {
            *format = check_matrix(b.weights, &format!("{}.weight", one.label), one.rows, cols)?;
        }
        let mut made = Vec::with_capacity(N);
        let mut start = 0;
        while start < N {
            let end = (start..N).find(|i| formats[*i] != formats[start]).unwrap_or(N);
            match join(b, &all[start..end], cols, formats[start])? {
                Some(joined) => made.extend(joined),
                None => {
                    for one in &all[start..end] {
                        let lora = Lora::declare_all(b, &one.label, one.rows, cols)?;
                        made.push(Self::with(b, one.clone(), cols, formats[start], lora)?);
                    }
                }
            }
            start = end;
        }
        let missing = |_| ModelError::Tensor { name: all[0].label.clone(), why: "is not declared".into() };
        made.try_into().map_err(missing)
    }

    /// The weights of a matrix that has a tensor of its own.
    fn with(
        b: &mut Builder<'_>,
        Declared { label, rows, bias }: Declared,
        cols: usize,
        format: Format,
        lora: Vec<Option<Lora>>,
    ) -> Result<Self, ModelError> {
        let name = format!("{label}.weight");
        if b.own {
            let w = b.trained(&name, rows, cols, true)?;
            let bias = if bias { Some(b.norm(&format!("{label}.bias"), 0, rows)?) } else { None };
            let shards = vec![Shard { w, bias, first: 0, rows, planes: [0; 4], w_first: 0 }];
            return Ok(Self { label, cols, rows, shards, trained: true, lora });
        }
        let per_shard = shard_rows(format, rows, cols, b.options.max_binding, &name)?;
        let mut shards = Vec::new();
        for first in (0..rows).step_by(per_shard) {
            let count = per_shard.min(rows - first);
            let planes = format.planes(count, cols).to_u32().ok_or_else(|| too_large(&name))?;
            let w = b.frozen(&name, first, count, cols, DType::Matrix(format))?;
            let bias = if bias { Some(b.vector(&format!("{label}.bias"), first, count)?) } else { None };
            shards.push(Shard { w, bias, first, rows: count, planes, w_first: 0 });
        }
        Ok(Self { label, cols, rows, shards, trained: false, lora })
    }

    /// The same matrix in another place, where adapters of its own are added to it: the output of a model that has one
    /// matrix for embedding and output.
    pub fn tied(&self, b: &mut Builder<'_>, label: &str) -> Result<Self, ModelError> {
        let lora = Lora::declare_all(b, label, self.rows, self.cols)?;
        Ok(Self { label: label.into(), lora, ..self.clone() })
    }

    /// y = x w^T (+ bias).
    pub fn forward(
        &self,
        b: &mut Builder<'_>,
        x: TensorId,
        rows: Over,
        output: Option<TensorId>,
    ) -> Result<TensorId, ModelError> {
        let y = match output {
            Some(y) => y,
            None => b.activation(&self.label, rows, self.rows)?,
        };
        for shard in &self.shards {
            if self.trained {
                let product = Projection { w: shard.w, bias: shard.bias, ..Projection::of(x, y) };
                product.emit(b, &self.label, rows)?;
                continue;
            }
            let p = params::linear::Params {
                planes: shard.planes,
                cols: self.cols as u32,
                out: shard.rows as u32,
                y_stride: self.rows as u32,
                y_offset: shard.first as u32,
                count: rows.count(),
                has_bias: u32::from(shard.bias.is_some()),
                w_first: shard.w_first as u32,
                ..Default::default()
            };
            b.call(
                &self.label,
                ops::Linear { rows: b.rows, x, w: shard.w, bias: shard.bias, residual: None, y, params: p },
            )?;
        }
        if let Some(Some(lora)) = self.lora.get(b.branch) {
            lora.forward(b, &self.label, x, y, rows)?;
        }
        Ok(y)
    }
}

/// Declares matrices of one format as one tensor: `None` where steps are not fused, and where the device cannot have it so.
fn join(
    b: &mut Builder<'_>,
    all: &[Declared],
    cols: usize,
    format: Format,
) -> Result<Option<Vec<Linear>>, ModelError> {
    let rows = all.iter().map(|one| one.rows).sum();
    let name = |what: &str| {
        let part = |one: &Declared| one.label.rsplit(['.', '_']).next().unwrap_or_default().to_owned();
        let parts = all[1..].iter().map(part).fold(all[0].label.clone(), |all, part| all + "+" + &part);
        format!("{parts}.{what}")
    };
    // Each begins at a group of rows, as the planes are interleaved.
    let whole = all[..all.len() - 1].iter().all(|one| one.rows.is_multiple_of(GROUP_ROWS));
    let fits = || shard_rows(format, rows, cols, b.options.max_binding, "").is_ok_and(|most| most == rows);
    if !b.options.fused || b.own || all.len() < 2 || !whole || !fits() {
        return Ok(None);
    }
    let mut lora = Vec::with_capacity(all.len());
    for one in all {
        lora.push(Lora::declare_all(b, &one.label, one.rows, cols)?);
    }
    let planes = format.planes(rows, cols);
    let sources = all.iter().map(|one| (format!("{}.weight", one.label), one.rows)).collect();
    let w = b.joined(&name("weight"), sources, (rows, cols), DType::Matrix(format))?;
    let mut made = Vec::with_capacity(all.len());
    let mut w_first = 0;
    for (one, lora) in all.iter().zip(lora) {
        let bias = if one.bias { Some(b.vector(&format!("{}.bias", one.label), 0, one.rows)?) } else { None };
        let planes = planes.from_row(w_first).to_u32().ok_or_else(|| too_large(&one.label))?;
        let shards = vec![Shard { w, bias, first: 0, rows: one.rows, planes, w_first }];
        let (label, rows) = (one.label.clone(), one.rows);
        made.push(Linear { label, cols, rows, shards, trained: false, lora });
        w_first += one.rows;
    }
    Ok(Some(made))
}

impl Lora {
    /// Declares the factors of `<label>.weight` of each branch.
    fn declare_all(
        b: &mut Builder<'_>,
        label: &str,
        rows: usize,
        cols: usize,
    ) -> Result<Vec<Option<Self>>, ModelError> {
        let mut all = vec![None; b.branches.len()];
        for branch in b.adapted() {
            all[branch] = b.within(branch, |b| Lora::declare(b, label, rows, cols))?;
        }
        Ok(all)
    }

    /// Declares the current branch's factors, if it has some.
    fn declare(
        b: &mut Builder<'_>,
        label: &str,
        rows: usize,
        cols: usize,
    ) -> Result<Option<Self>, ModelError> {
        let branch = &b.branches[b.branch];
        let Some(&PairShape { rank, scale }) = branch.adapters.pairs.get(label) else { return Ok(None) };
        let prefix = branch.prefix(b.branch);
        let a = b.trained(&format!("{prefix}{label}.weight.lora_a"), rank, cols, true)?;
        let b_factor = b.trained(&format!("{prefix}{label}.weight.lora_b"), rows, rank, true)?;
        let id = b.next_use();
        Ok(Some(Self { a, b: b_factor, rank, scale, id }))
    }

    /// y += scale B (A dropout(x)).
    fn forward(
        &self,
        b: &mut Builder<'_>,
        label: &str,
        x: TensorId,
        y: TensorId,
        rows: Over,
    ) -> Result<(), ModelError> {
        let mut input = x;
        if b.dropout() > 0.0 {
            let width = b.program.get(x).width;
            input = b.activation(&format!("{label}.dropout"), rows, width)?;
            let p = params::dropout::Params::new(width, b.dropout(), self.id);
            b.call(&format!("{label}.dropout"), ops::Dropout { rows: b.rows, x, y: input, params: p })?;
        }
        let h = b.activation(&format!("{label}.lora"), rows, self.rank)?;
        Projection { w: self.a, ..Projection::of(input, h) }.emit(b, &format!("{label}.lora_a"), rows)?;
        let back = Projection { w: self.b, alpha: self.scale, accumulate: true, ..Projection::of(h, y) };
        back.emit(b, &format!("{label}.lora_b"), rows)
    }
}

/// A product with a trained matrix.
pub(super) struct Projection {
    pub(super) x: TensorId,
    pub(super) w: TensorId,
    pub(super) bias: Option<TensorId>,
    pub(super) y: TensorId,
    pub(super) alpha: f32,
    pub(super) accumulate: bool,
}

impl Projection {
    pub(super) fn of(x: TensorId, y: TensorId) -> Self {
        Self { x, w: x, bias: None, y, alpha: 1.0, accumulate: false }
    }

    pub(super) fn emit(&self, b: &mut Builder<'_>, label: &str, rows: Over) -> Result<(), ModelError> {
        let out = b.program.capacity_rows(self.w) as u32;
        let p = params::project::Params {
            cols: b.program.get(self.w).width as u32,
            out,
            y_stride: out,
            y_offset: 0,
            count: rows.count(),
            accumulate: u32::from(self.accumulate),
            alpha: self.alpha,
            has_bias: u32::from(self.bias.is_some()),
            ..Default::default()
        };
        b.call(
            label,
            ops::Project {
                rows: b.rows,
                x: self.x,
                w: self.w,
                bias: self.bias,
                residual: None,
                y: self.y,
                params: p,
            },
        )
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
    if !cols.is_multiple_of(4) {
        return Err(fail(format!("is {cols} wide; widths that are multiples of 4 are supported")));
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
