//! f16 and bf16 bits. Reading is exact and needs no hardware support, so that it inlines everywhere.

/// The value of f16 bits.
#[inline(always)]
pub(crate) fn from_f16(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let magnitude = u32::from(bits & 0x7fff);
    // Normal numbers need the other exponent bias (127 - 15 = 112); subnormals are multiples of 2^-24.
    let normal = f32::from_bits((magnitude << 13) + (112 << 23));
    let subnormal = magnitude as f32 * f32::from_bits((127 - 24) << 23);
    let special = f32::from_bits((magnitude << 13) | 0x7f80_0000);
    let finite = if magnitude < 0x0400 { subnormal } else { normal };
    let value = if magnitude < 0x7c00 { finite } else { special };
    f32::from_bits(value.to_bits() | sign)
}

/// The nearest f16, ties to even, as little-endian bytes.
pub(crate) fn to_f16_le(value: f32) -> [u8; 2] {
    ::half::f16::from_f32(value).to_le_bytes()
}

/// The value that an f32 has once stored as f16.
pub(crate) fn through_f16(value: f32) -> f32 {
    ::half::f16::from_f32(value).to_f32()
}

/// The f16 that a scale of integers `1 ..= end` should be stored as: the nearest, or the next larger in size where the
/// nearest (a coarse subnormal) would leave the largest integer short by more than a hundredth.
pub(crate) fn covering_f16(value: f32) -> f32 {
    let near = ::half::f16::from_f32(value);
    if near.to_f32().abs() < 0.99 * value.abs() {
        return from_f16((near.to_bits() & 0x7fff) + 1).copysign(value);
    }
    near.to_f32()
}

/// The nearest bf16, ties to even, NaN kept quiet.
pub(crate) fn to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() {
        return ((bits >> 16) | 64) as u16;
    }
    ((u64::from(bits) + 0x7fff + u64::from((bits >> 16) & 1)) >> 16) as u16
}

/// The value of little-endian bf16 bytes.
#[inline(always)]
pub(crate) fn from_bf16_le(bytes: [u8; 2]) -> f32 {
    f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16)
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_f16_is_read_exactly() {
        for bits in 0..=u16::MAX {
            let (found, expected) = (super::from_f16(bits), ::half::f16::from_bits(bits).to_f32());
            let same = found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan());
            assert!(same, "{bits:#06x}");
        }
    }
}
