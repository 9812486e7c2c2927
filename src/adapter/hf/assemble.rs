//! From module paths to GGUF targets and back: names, order of rows, one scale for all.

use super::names::{ARCHITECTURES, Place};
use super::{peft, rope};
use crate::adapter::error::short;
use crate::adapter::{Adapter, AdapterError, LoraPair};
use crate::gguf::Gguf;

/// Where the scale comes from.
pub(super) enum Scaling {
    /// `alpha / rank` for all.
    Alpha(f64),
    /// A PEFT configuration.
    Peft(Box<peft::Config>),
    /// MLX: the same scale for all, whatever the rank.
    Scale(f64),
}

impl Scaling {
    /// The scale of a module times its rank.
    fn alpha(&self, module: &str, rank: usize) -> Result<f64, AdapterError> {
        let alpha = match self {
            Scaling::Alpha(alpha) => *alpha,
            Scaling::Peft(config) => config.alpha(module, rank)?,
            Scaling::Scale(scale) => scale * rank as f64,
        };
        let usable = alpha != 0.0 && (alpha as f32).is_finite();
        usable.then_some(alpha).ok_or_else(|| {
            super::config_error(format!("alpha {alpha} of `{}` cannot be used", short(module)))
        })
    }
}

/// A pair with its module path.
pub(super) struct Module {
    pub place: Place,
    pub pair: LoraPair,
}

fn check_architecture(base: &Gguf) -> Result<&str, AdapterError> {
    let architecture = base.metadata.get::<&str>("general.architecture")?;
    if ARCHITECTURES.contains(&architecture) {
        return Ok(architecture);
    }
    let known = ARCHITECTURES.join(", ");
    Err(AdapterError::unsupported(format!("architecture `{}` (known: {known})", short(architecture))))
}

/// Makes an adapter of pairs named by module path. Where scales differ, the most common one is kept and the ratio of
/// the others goes into their B.
pub(super) fn adapter(pairs: Vec<LoraPair>, scaling: &Scaling, base: &Gguf) -> Result<Adapter, AdapterError> {
    let architecture = check_architecture(base)?.to_owned();
    let alphas =
        pairs.iter().map(|pair| scaling.alpha(&pair.target, pair.rank)).collect::<Result<Vec<_>, _>>()?;
    let common = most_common(&alphas).ok_or(AdapterError::Empty)?;
    let mut placed = Vec::with_capacity(pairs.len());
    for (mut pair, alpha) in pairs.into_iter().zip(alphas) {
        let unknown = || format!("a LoRA of module `{}`", short(&pair.target));
        let place = Place::of_module(&pair.target).ok_or_else(|| AdapterError::unsupported(unknown()))?;
        pair.target = place.target();
        if let Some(heads) = rope::permuted_heads(base, place, pair.outputs)? {
            pair.b = rope::to_gguf(&pair.b, heads, pair.rank);
        }
        scale_b(&mut pair, alpha / common);
        placed.push((place, pair));
    }
    placed.sort_by_key(|(place, _)| *place);
    let pairs = placed.into_iter().map(|(_, pair)| pair).collect();
    let adapter = Adapter { architecture, alpha: common as f32, pairs, ..Adapter::default() };
    adapter.check()?;
    adapter.check_shapes(base)?;
    Ok(adapter)
}

/// The pairs with module paths and rows in Hugging Face's order, in the order of a forward pass.
pub(super) fn modules(adapter: &Adapter, base: &Gguf) -> Result<Vec<Module>, AdapterError> {
    check_architecture(base)?;
    let module = |pair: &LoraPair| {
        let unknown = || AdapterError::unsupported(format!("exporting a LoRA of `{}`", short(&pair.target)));
        let place = Place::of_target(&pair.target).ok_or_else(unknown)?;
        let mut pair = pair.clone();
        if let Some(heads) = rope::permuted_heads(base, place, pair.outputs)? {
            pair.b = rope::to_hf(&pair.b, heads, pair.rank);
        }
        Ok(Module { place, pair })
    };
    let mut modules = adapter.pairs.iter().map(module).collect::<Result<Vec<_>, AdapterError>>()?;
    modules.sort_by_key(|module| module.place);
    Ok(modules)
}

/// Multiplies B, unless by one.
pub(super) fn scale_b(pair: &mut LoraPair, factor: f64) {
    if factor != 1.0 {
        pair.b.iter_mut().for_each(|b| *b = (f64::from(*b) * factor) as f32);
    }
}

/// The value that occurs most often, of several the first.
pub(super) fn most_common<T: PartialEq + Copy>(values: &[T]) -> Option<T> {
    let mut counts: Vec<(T, usize)> = Vec::new();
    for &value in values {
        match counts.iter_mut().find(|(seen, _)| *seen == value) {
            Some((_, count)) => *count += 1,
            None => counts.push((value, 1)),
        }
    }
    counts.into_iter().rev().max_by_key(|(_, count)| *count).map(|(value, _)| value)
}

/// Layers of the base model.
pub(super) fn layers(base: &Gguf) -> Result<usize, AdapterError> {
    let architecture = base.metadata.get::<&str>("general.architecture")?;
    Ok(base.metadata.get(&format!("{architecture}.block_count"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_the_most_common_is_taken() {
        assert_eq!(most_common(&[3, 1, 2, 1, 2]), Some(1));
        assert_eq!(most_common(&[8.0, 4.0]), Some(8.0));
        assert_eq!(most_common::<u8>(&[]), None);
    }
}
