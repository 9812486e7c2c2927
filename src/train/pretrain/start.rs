//! A model file with random weights: where training from nothing begins.

use std::path::Path;

use crate::gguf::{GgufWriter, Metadata, TensorSpec};
use crate::io::{Access, Existing, Manner, write_file};
use crate::model::{Blueprint, Start};
use crate::quantize::QuantizeError;
use crate::train::TrainError;
use crate::train::data::Random;

/// Values made at once.
const PIECE: usize = 1 << 14;

/// Writes a model of random weights; `metadata` has the tokenizer. The same blueprint, tokenizer and seed give the same bytes.
///
/// # Errors
/// [`TrainError::Model`] for a shape that no model can have, [`TrainError::Writing`] if the file cannot be written.
pub fn write_random(
    path: &Path,
    blueprint: &Blueprint,
    metadata: &Metadata,
    seed: u64,
) -> Result<(), TrainError> {
    blueprint.check()?;
    let mut metadata = metadata.clone();
    blueprint.put(&mut metadata);
    let manner = Manner { existing: Existing::Replace, access: Access::Private };
    write_file(path, manner, |sink| -> Result<(), TrainError> {
        let tensors = blueprint.tensors();
        let specs: Vec<TensorSpec> = tensors.iter().map(|t| t.spec.clone()).collect();
        let mut writer = GgufWriter::new(sink, &metadata, &specs).map_err(QuantizeError::from)?;
        for (index, tensor) in tensors.iter().enumerate() {
            writer.begin(&tensor.spec.name).map_err(QuantizeError::from)?;
            let mut values = Values::new(tensor.start, seed, index as u64);
            let mut left = tensor.spec.dims.iter().product::<u64>() as usize;
            while left > 0 {
                let piece = values.take(left.min(PIECE));
                let bytes: Vec<u8> = piece.iter().flat_map(|v| v.to_le_bytes()).collect();
                writer.write(&bytes).map_err(QuantizeError::from)?;
                left -= piece.len();
            }
        }
        writer.finish().map_err(QuantizeError::from)?;
        Ok(())
    })?;
    Ok(())
}

/// Values of one tensor.
struct Values {
    start: Start,
    random: Random,
}

impl Values {
    fn new(start: Start, seed: u64, stream: u64) -> Self {
        Self { start, random: Random::new(seed ^ 0x7765_6967_6874, stream) }
    }

    fn take(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.next()).collect()
    }

    /// Box and Muller's transform.
    fn next(&mut self) -> f32 {
        let deviation = match self.start {
            Start::Constant(value) => return value,
            Start::Normal { deviation } => f64::from(deviation),
        };
        // In (0, 1], so that the logarithm is finite.
        let mut unit = || ((self.random.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64;
        let radius = (-2.0 * unit().ln()).sqrt();
        (radius * (std::f64::consts::TAU * unit()).cos() * deviation) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_the_deviation_asked_for() {
        let mut values = Values::new(Start::Normal { deviation: 0.02 }, 3, 1);
        let all = values.take(20_000);
        let mean = all.iter().map(|v| f64::from(*v)).sum::<f64>() / all.len() as f64;
        let spread = (all.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / all.len() as f64).sqrt();
        // Four standard errors.
        assert!(mean.abs() < 4.0 * 0.02 / 20_000f64.sqrt(), "{mean}");
        assert!((spread / 0.02 - 1.0).abs() < 4.0 / 40_000f64.sqrt(), "{spread}");
    }
}
