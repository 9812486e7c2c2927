//! Builds a program: weights and state once, then one plan per mode over them.

use crate::model::builder::Builder;
use crate::model::forward::{Models, Weights, emit};
use crate::model::fuse;
use crate::model::options::{BuildOptions, KvType, PlanSpec};
use crate::model::{ModelConfig, ModelError};
use crate::plan::{BudgetError, Fit, Layout, Profile, Program, Suggestion, WeightSource};

/// Builds the program of `specs`, in their order.
pub fn build(
    config: &ModelConfig,
    weights: &dyn WeightSource,
    options: &BuildOptions,
    specs: &[PlanSpec],
) -> Result<Program, ModelError> {
    let max = |f: fn(&PlanSpec) -> usize| specs.iter().map(f).max().unwrap_or(1).max(1);
    let mut builder = Builder::new(config, weights, options, max(|s| s.tokens), max(|s| s.outputs))?;
    let model = Weights::declare(&mut builder, true)?;
    builder.check_adapters()?;
    let model = Models { first: model, others: None };
    for spec in specs {
        builder.open(&spec.name, spec.tokens, spec.outputs);
        emit(&mut builder, &model, spec)?;
        if options.fused {
            fuse::rewrite(&mut builder)?;
        }
    }
    Ok(builder.program)
}

/// Builds the program and its map and checks both against the budget; a refusal names a context that fits.
pub fn build_fitting(
    config: &ModelConfig,
    weights: &dyn WeightSource,
    options: &BuildOptions,
    specs: &[PlanSpec],
    profile: Profile,
    budget: Option<u64>,
) -> Result<(Program, Layout), ModelError> {
    let draw = |options: &BuildOptions| -> Result<(Program, Layout, Result<(), BudgetError>), ModelError> {
        let program = build(config, weights, options, specs)?;
        let layout = Layout::new(&program, profile);
        let verdict = layout.check(&program, budget);
        Ok((program, layout, verdict))
    };
    let (program, layout, verdict) = draw(options)?;
    let Err(refusal) = verdict else { return Ok((program, layout)) };
    let mut smaller = options.clone();
    let mut fit = None;
    while smaller.ctx > 64 && fit.is_none() {
        smaller.ctx /= 2;
        if draw(&smaller)?.2.is_ok() {
            fit = Some(Fit { ctx: Some(smaller.ctx), ..Fit::default() });
        } else if draw(&BuildOptions { kv: KvType::Block16, ..smaller.clone() })?.2.is_ok() {
            fit = Some(Fit { ctx: Some(smaller.ctx), kv16: true, ..Fit::default() });
        }
    }
    Err(refusal.with_fit(Some(fit.map_or(Suggestion::SmallerModel, Suggestion::from))).into())
}
