//! Dispatches of the ops of training.

use super::{Choice, Maker, Tuning, columns, lanes};
use crate::exec::ExecError;
use crate::ops::{Op, params, sumsq};

/// Most workgroups of a flat tensor: enough to fill a device, below every limit; the lanes stride over the rest.
const MOST_FLAT: usize = 4096;
/// Most workgroups in one dimension that every device allows.
const MOST_GROUPS: u32 = 65_535;
/// Rows or keys that one workgroup of attention's gradients takes.
const ATTENTION_ROWS: u32 = 4;

/// The ways to run an op of training, as [`super::choices`].
pub(super) fn choices(maker: &Maker<'_>, tuning: Tuning) -> Result<Vec<Choice>, ExecError> {
    macro_rules! p {
        ($module:ident) => {
            maker.call.params.get::<params::$module::Params>()
        };
    }
    let flat = |width: u32| columns(width).min(MOST_FLAT);
    let base = |x: usize, rows_each: u32| maker.plain("base", x, rows_each, 1);
    let choice = match Op::of(maker.call) {
        Op::LinearBack => linear_back(maker, &p!(linear_back), tuning),
        Op::Project => project(maker, &p!(project), tuning),
        Op::ProjectBack => project_back(maker, &p!(project_back), tuning),
        Op::Outer => outer(maker, &p!(outer), tuning),
        Op::RmsNormBack => rms_norm_back(maker, p!(rms_norm_back).groups, tuning),
        Op::AttentionStats => base(p!(attention_stats).heads as usize, ATTENTION_ROWS),
        Op::AttentionDq => base(p!(attention_dq).heads as usize, ATTENTION_ROWS),
        Op::AttentionDkv => base(p!(attention_dkv).kv_heads as usize, ATTENTION_ROWS),
        Op::GateBack => base(lanes(p!(gate_back).width), 1),
        Op::SoftcapBack => base(columns(p!(softcap_back).width), 1),
        Op::RmsNormDw => base(columns(p!(rms_norm_dw).width), 1),
        Op::BiasBack => base(columns(p!(bias_back).width), 1),
        Op::GatherBack => base(columns(p!(gather_back).width), 1),
        Op::LookupBack => base(columns(p!(lookup_back).width), 1),
        Op::Fill => base(flat(p!(fill).width), 1),
        Op::AdamW => base(flat(p!(adamw).width), 1),
        Op::SumSq => base(sumsq::PIECES, 1),
        // A workgroup a row.
        _ => base(1, 1),
    };
    choice.map(|c| vec![c])
}

fn linear_back(
    maker: &Maker<'_>,
    p: &params::linear_back::Params,
    tuning: Tuning,
) -> Result<Choice, ExecError> {
    let aligned = fours(&[p.dy_stride, p.dy_offset]);
    if tuning == Tuning::Software && aligned {
        // A workgroup as wide as the processor, so that no lanes idle at the edge.
        let mut choice = maker.plain("base", (p.cols as usize).div_ceil(64), 8, 1)?;
        choice.recipe.constants = vec![("LANES", 8)];
        return Ok(choice);
    }
    maker.plain("tiled", (p.cols as usize).div_ceil(64), 64, 1)
}

/// A matrix with at most so many rows (of a product) or columns (of a gradient) is shared out by tokens.
const FEW: u32 = 32;

fn project(maker: &Maker<'_>, p: &params::project::Params, tuning: Tuning) -> Result<Choice, ExecError> {
    if !fours(&[p.cols]) {
        return maker.plain("base", p.out.div_ceil(64) as usize, 1, 1);
    }
    let (variant, x, rows_each) =
        if p.out <= FEW { ("tall", p.out.div_ceil(8), 32) } else { ("wide", p.out.div_ceil(128), 8) };
    Ok(sliced(maker.plain(variant, x as usize, rows_each, 1)?, p.cols / 4, tuning))
}

fn project_back(
    maker: &Maker<'_>,
    p: &params::project_back::Params,
    tuning: Tuning,
) -> Result<Choice, ExecError> {
    if !fours(&[p.cols, p.out, p.dy_stride, p.dy_offset]) {
        return maker.plain("base", p.cols.div_ceil(64) as usize, 1, 1);
    }
    let (variant, x, rows_each) =
        if p.cols <= FEW { ("tall", p.cols.div_ceil(8), 32) } else { ("wide", p.cols.div_ceil(128), 8) };
    Ok(sliced(maker.plain(variant, x as usize, rows_each, 1)?, p.out / 4, tuning))
}

fn outer(maker: &Maker<'_>, p: &params::outer::Params, tuning: Tuning) -> Result<Choice, ExecError> {
    if !fours(&[p.cols, p.out, p.dy_stride, p.dy_offset]) {
        return maker.plain("base", p.cols.div_ceil(64) as usize, 1, p.out.min(MOST_GROUPS));
    }
    let (variant, across, z) = if p.cols <= FEW { ("tall", p.out, p.cols) } else { ("wide", p.cols, p.out) };
    // The sum runs over the rows of a step, of which there are enough for all slices.
    let choice = maker.plain(variant, across.div_ceil(128) as usize, 1, z.div_ceil(8))?;
    Ok(sliced(choice, u32::MAX, tuning))
}

fn rms_norm_back(maker: &Maker<'_>, groups: u32, tuning: Tuning) -> Result<Choice, ExecError> {
    let mut choice = maker.plain("base", groups as usize, 1, 1)?;
    // On a processor the join of many lanes costs more than the sum.
    choice.recipe.constants = vec![("WIDTH", if tuning == Tuning::Software { 8 } else { 64 })];
    Ok(choice)
}

fn fours(all: &[u32]) -> bool {
    all.iter().all(|n| n.is_multiple_of(4))
}

/// Lets parts of a workgroup share a sum of `length` terms, where lanes are plenty.
fn sliced(mut choice: Choice, length: u32, tuning: Tuning) -> Choice {
    let slices = match tuning {
        Tuning::Software => 1,
        Tuning::Hardware if length < 16 => 1,
        Tuning::Hardware => 4,
    };
    choice.recipe.constants = vec![("SLICES", slices)];
    choice
}
