//! Products of codes with one row of activations that lie in two bytes, `256 * high + low`: bytes meet bytes, so that codes need
//! not become words first. The sums are the same integers that [`Ints`](super::Ints) makes, lane by lane.
//!
//! Instructions of x86 only (`x86_bytes.rs`); elsewhere one row goes the way of several.

use crate::simd::Lanes;

/// Sixty-four rounded activations, which meet two groups of codes.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(crate) struct Pair {
    pub(super) high: [i8; 64],
    pub(super) low: [i8; 64],
    /// What the middle takes off the sums with high bytes, and with low ones, as the instructions want it: not set where nothing
    /// is taken off.
    pub(super) less: [[u8; 64]; 2],
}

impl Pair {
    pub(crate) const NONE: Pair = Pair { high: [0; 64], low: [0; 64], less: [[0; 64]; 2] };
}

/// Lanes with such products.
pub(crate) trait Bytes: Lanes {
    /// Sums with high bytes and with low ones.
    type Sums: Copy;
    /// Whole scales of a block.
    type Whole: Copy;
    /// Sets the first or second half of a pair to activations that were rounded by `Ints::rounded`.
    fn split(self, rounded: &[i16; 32], half: usize, to: &mut Pair);
    /// Sets what `middle`, taken off each code, takes off the sums.
    fn take_off(self, middle: u8, from: &mut Pair);
    /// As `Ints::scales`.
    fn whole(self, first: &[i16; 8], second: Option<&[i16; 8]>) -> Self::Whole;
    fn no_sums(self) -> Self::Sums;
    /// Adds the products of the groups `2 * P` and `2 * P + 1`, times their scales.
    fn products<const P: usize, const LESS: bool>(
        self,
        sums: Self::Sums,
        codes: [Self::B; 2],
        x: &Pair,
        by: Self::Whole,
    ) -> Self::Sums;
    /// Eight sums, each of four neighbours of all groups.
    fn eight(self, sums: Self::Sums) -> Self::V;
}

/// A loop over [`Bytes`]; see [`Job`](crate::simd::Job).
pub(crate) trait BytesJob {
    type Out;
    /// Must be `#[inline(always)]`.
    fn run<L: Bytes>(self, lanes: L) -> Self::Out;
}
