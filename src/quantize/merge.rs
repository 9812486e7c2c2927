//! Merging adapters into their base model: `W + s * B A`, row by row, re-encoded.

use std::path::Path;

use super::{Decision, QuantizeError, QuantizeOptions, Rewrite, Summary, Update, Watch, decide, relabelled};
use crate::adapter::Adapter;
use crate::gguf::{Gguf, GgufFile, TensorInfo};
use crate::io::Manner;
use crate::quant::Format;

/// The output matrix, and the one that stands in for it.
const OUTPUT: &str = "output.weight";
const EMBEDDING: &str = "token_embd.weight";

/// An adapter to merge.
#[derive(Clone, Copy, Debug)]
pub struct Merging<'a> {
    /// The adapter.
    pub adapter: &'a Adapter,
    /// On top of its own scale.
    pub scale: f32,
}

/// How to merge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MergeOptions {
    /// Re-encode all matrices so; `None`: only the adapted ones, each in its own format.
    pub format: Option<Format>,
    /// Merge even what was trained on another file of the same shape.
    pub force: bool,
    /// Threads that encode.
    pub threads: usize,
    /// How the file is written.
    pub manner: Manner,
}

impl Default for MergeOptions {
    fn default() -> Self {
        Self {
            format: None,
            force: false,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            manner: Manner::default(),
        }
    }
}

/// Writes `base` with `adapters` merged into it to `output`, which appears whole or not at all. Several adapters of
/// one matrix add up. Memory is that of the adapters and a chunk of rows. `watch` sees each tensor first.
///
/// # Errors
/// Any [`QuantizeError`]; [`QuantizeError::Adapter`] if an adapter does not belong to `base`.
pub fn merge(
    base: &GgufFile,
    adapters: &[Merging<'_>],
    output: &Path,
    options: &MergeOptions,
    watch: Watch<'_>,
) -> Result<Summary, QuantizeError> {
    for merging in adapters {
        merging.adapter.check()?;
        merging.adapter.check_base(base, options.force)?;
    }
    let updates = |name: &str| updates(adapters, name);
    let mut decisions = decisions(base.header(), options, &updates)?;
    let mut sources: Vec<&TensorInfo> = base.header().tensors.iter().collect();
    if let Some((source, decision)) = untied(base.header(), options, &updates)? {
        sources.push(source);
        decisions.push(decision);
    }
    let metadata = options
        .format
        .map_or_else(|| base.header().metadata.clone(), |format| relabelled(base.header(), format));
    let job = Rewrite {
        input: base,
        sources,
        decisions: &decisions,
        metadata,
        threads: options.threads,
        updates: &updates,
        check_copied: false,
    };
    job.write(output, options.manner, watch)
}

/// The output matrix of a model that has it in its embedding, where an adapter changes it: a tensor of its own.
fn untied<'a>(
    gguf: &'a Gguf,
    options: &MergeOptions,
    updates: &dyn Fn(&str) -> Vec<Update<'a>>,
) -> Result<Option<(&'a TensorInfo, Decision)>, QuantizeError> {
    if gguf.tensor(OUTPUT).is_some() || updates(OUTPUT).is_empty() {
        return Ok(None);
    }
    let source = gguf.require_tensor(EMBEDDING)?;
    let format = match options.format {
        Some(format) => {
            super::fitting(super::wanted(OUTPUT, &QuantizeOptions::new(format), false), source.dim(0))
        }
        None => super::readable(source)?,
    };
    let decision = Decision { name: OUTPUT.into(), to: Some(format), bytes: 0, ..Decision::copied(source) };
    super::readable(source)?;
    Ok(Some((source, decision)))
}

/// What the adapters add to a tensor.
fn updates<'a>(adapters: &[Merging<'a>], name: &str) -> Vec<Update<'a>> {
    let Some(target) = name.strip_suffix(".weight") else { return Vec::new() };
    let update = |merging: &Merging<'a>| {
        let pair = merging.adapter.pair(target)?;
        Some((pair, merging.scale * merging.adapter.scale(pair)))
    };
    adapters.iter().filter_map(update).collect()
}

/// Adapted matrices are re-encoded even where the format stays.
fn decisions<'a>(
    gguf: &Gguf,
    options: &MergeOptions,
    updates: &dyn Fn(&str) -> Vec<Update<'a>>,
) -> Result<Vec<Decision>, QuantizeError> {
    let mut decisions = match options.format {
        Some(format) => {
            decide(gguf, &QuantizeOptions { threads: options.threads, ..QuantizeOptions::new(format) })?
        }
        None => gguf.tensors.iter().map(Decision::copied).collect(),
    };
    for (tensor, decision) in gguf.tensors.iter().zip(&mut decisions) {
        if decision.to.is_none() && !updates(&tensor.name).is_empty() {
            decision.to = Some(super::readable(tensor)?);
        }
    }
    Ok(decisions)
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use super::*;
    use crate::adapter::AdapterError;
    use crate::adapter::testing::{adapter_for, golden};
    use crate::bounds;

    fn run(
        base: &GgufFile,
        all: &[Merging<'_>],
        options: &MergeOptions,
    ) -> Result<(Summary, GgufFile), QuantizeError> {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out.gguf");
        let summary = merge(base, all, &out, options, &mut |_, _| ControlFlow::Continue(()))?;
        Ok((summary, GgufFile::open(out).unwrap()))
    }

    fn values(file: &GgufFile, name: &str) -> Vec<f32> {
        let tensor = file.header().require_tensor(name).unwrap();
        let mut out = vec![0.0; tensor.elements() as usize];
        let format = Format::from_ggml_id(tensor.type_id).unwrap();
        format.decode(file.tensor_bytes(tensor).unwrap(), &mut out).unwrap();
        out
    }

    #[test]
    fn the_merged_matrix_is_the_sum() {
        let base = golden("llama-tied");
        let (first, second) = (adapter_for(&base, 3), adapter_for(&base, 1));
        let all = [Merging { adapter: &first, scale: 0.5 }, Merging { adapter: &second, scale: -2.0 }];
        for threads in [1, 3] {
            let options = MergeOptions { threads, ..MergeOptions::default() };
            let (summary, out) = run(&base, &all, &options).unwrap();
            assert_eq!(summary.encoded, first.pairs.len());
            assert_eq!(out.header().metadata, base.header().metadata);
            for tensor in &base.header().tensors {
                let (old, new) = (values(&base, &tensor.name), values(&out, &tensor.name));
                let target = tensor.name.trim_end_matches(".weight");
                let Some(pair) = first.pair(target) else {
                    assert_eq!(old, new, "{target}");
                    continue;
                };
                let other = second.pair(target).unwrap();
                for (i, (old, new)) in old.iter().zip(&new).enumerate() {
                    let (row, col) = (i / pair.inputs, i % pair.inputs);
                    let product = |p: &crate::adapter::LoraPair| -> f64 {
                        let term =
                            |r: usize| f64::from(p.b[row * p.rank + r]) * f64::from(p.a[r * p.inputs + col]);
                        (0..p.rank).map(term).sum()
                    };
                    let want =
                        f64::from(*old) + 0.5 * 16.0 / 3.0 * product(pair) - 2.0 * 16.0 * product(other);
                    // A weight of at most 1, three terms times 8/3, one times 32: at most 41, in eight roundings.
                    assert!(
                        (f64::from(*new) - want).abs() < bounds::sum(8, 41.0),
                        "{target} {row} {col}: {new} {want}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_sum_that_overflows_is_refused() {
        let base = golden("llama-untied");
        let mut adapter = adapter_for(&base, 1);
        adapter.pairs[2].b[5] = 1e30;
        let said = run(&base, &[Merging { adapter: &adapter, scale: 1.0 }], &MergeOptions::default());
        let said = said.unwrap_err().to_string();
        assert!(said.contains("blk.0.attn_v.weight") && said.contains("F16"), "{said}");
        adapter.pairs[2].b[5] = f32::MAX;
        let options = MergeOptions { format: Some(Format::F32), ..MergeOptions::default() };
        let said =
            run(&base, &[Merging { adapter: &adapter, scale: 8.0 }], &options).unwrap_err().to_string();
        assert!(said.contains("blk.0.attn_v.weight") && said.contains("inf"), "{said}");
    }

    #[test]
    fn formats_are_kept_or_chosen() {
        let base = golden("llama-formats");
        let adapter = adapter_for(&base, 2);
        let all = [Merging { adapter: &adapter, scale: 0.01 }];
        let types = |file: &GgufFile| file.header().tensors.iter().map(|t| t.type_id).collect::<Vec<_>>();
        let (_, kept) = run(&base, &all, &MergeOptions::default()).unwrap();
        assert_eq!(types(&kept), types(&base));
        let options = MergeOptions { format: Some(Format::F16), ..MergeOptions::default() };
        let (_, chosen) = run(&base, &all, &options).unwrap();
        for name in ["blk.0.attn_q.weight", "blk.0.ffn_up.weight", "token_embd.weight"] {
            assert_eq!(
                chosen.header().require_tensor(name).unwrap().type_id,
                Format::F16.ggml_id(),
                "{name}"
            );
        }
        assert_eq!(chosen.header().file_type().unwrap().map(|t| t.0), Some(1));
    }

    #[test]
    fn what_does_not_belong_is_refused_and_nothing_written() {
        let base = golden("llama-tied");
        let mut adapter = adapter_for(&base, 2);
        let mut fingerprint = crate::adapter::BaseFingerprint::of(&base).unwrap();
        fingerprint.sha256 = "0".repeat(64);
        adapter.base = Some(fingerprint);
        let refused = |base: &GgufFile, force| {
            let options = MergeOptions { force, ..MergeOptions::default() };
            run(base, &[Merging { adapter: &adapter, scale: 1.0 }], &options).map(|_| ())
        };
        assert!(matches!(refused(&base, false), Err(QuantizeError::Adapter(AdapterError::OtherBase { .. }))));
        refused(&base, true).unwrap();
        let shape = refused(&golden("llama-untied"), true);
        assert!(matches!(shape, Err(QuantizeError::Adapter(AdapterError::Shape { .. }))));
    }
}
