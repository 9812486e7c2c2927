//! The quantization layer against golden vectors, its own device layout, its shaders and its error bounds.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../../src/bounds.rs"]
mod bounds;
mod device;
mod dot;
mod encode;
mod golden;
#[path = "../../src/quant/loss.rs"]
mod loss;
mod npz;
mod shaders;

use emberlm::quant::Format;

/// Reproducible normal deviates (a 64-bit linear congruential generator and the polar method).
pub(crate) struct Normal(u64);

impl Normal {
    pub(crate) fn new(seed: u64) -> Normal {
        Normal(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678)
    }

    pub(crate) fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    fn one(&mut self) -> f32 {
        loop {
            let (u, v) = (2.0 * self.uniform() - 1.0, 2.0 * self.uniform() - 1.0);
            let s = u * u + v * v;
            if s > 0.0 && s < 1.0 {
                return (u * (-2.0 * s.ln() / s).sqrt()) as f32;
            }
        }
    }

    pub(crate) fn vec(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.one()).collect()
    }
}

pub(crate) fn encode(format: Format, x: &[f32]) -> Vec<u8> {
    let mut bytes = vec![0; format.row_bytes(x.len()).unwrap()];
    format.encode(x, &mut bytes).unwrap();
    bytes
}

pub(crate) fn decode(format: Format, bytes: &[u8], n: usize) -> Vec<f32> {
    let mut out = vec![0.0; n];
    format.decode(bytes, &mut out).unwrap();
    out
}

pub(crate) fn assert_same_bits(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}: length");
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        assert_eq!(f.to_bits(), e.to_bits(), "{what}: weight {i} is {f:e}, expected {e:e}");
    }
}
