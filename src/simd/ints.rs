//! Products of codes with activations that were rounded to 16 bits: sums of them are exact, in any order.
//!
//! As with [`Lanes`], loops are written once, over [`Ints`], and compiled for the widest registers at hand.

#[cfg(target_arch = "aarch64")]
mod arm;
#[cfg(target_arch = "x86_64")]
pub(crate) mod bytes;
#[cfg(target_arch = "x86_64")]
pub(crate) mod x86;
#[cfg(target_arch = "x86_64")]
mod x86_bytes;

use super::{Lanes, Portable};

/// Whole numbers of some lanes.
pub(crate) trait Ints<L: Lanes>: Copy {
    /// Rows of activations whose sums fit the registers beside all else: 4 or 8.
    const TALL: usize = 8;
    /// Thirty-two numbers of 16 bits, in an order of its own.
    type W: Copy;
    /// Sums of products.
    type I: Copy;
    /// As many f32.
    type F: Copy;
    /// The scales of a block's groups of sixteen.
    type S: Copy;
    /// Bytes as numbers, less a centre.
    fn words(self, b: L::B, centre: u8) -> Self::W;
    /// Of eight groups of 32: what they are multiplied by, or their first halves if the second have others.
    fn scales(self, first: &[i16; 8], second: Option<&[i16; 8]>) -> Self::S;
    /// The numbers of group `G` times their scales.
    fn times<const G: usize>(self, w: Self::W, scales: Self::S) -> Self::W;
    /// The numbers two by two, in that order.
    fn pairs(self, w: Self::W) -> [i32; 16];
    /// `x * by` to the nearest integer, ties to even, in that order. None is too large.
    fn rounded(self, x: [L::V; 4], by: f32) -> [i16; 32];
    /// Rounded numbers as [`Ints::products`] reads them.
    #[inline(always)]
    fn arranged(self, rounded: [i16; 32]) -> [i16; 32] {
        rounded
    }
    fn none(self) -> Self::I;
    /// Adds the products with thirty-two rounded activations.
    fn products(self, sums: Self::I, w: Self::W, x: &[i16; 32]) -> Self::I;
    fn zero(self) -> Self::F;
    /// `sums + step * products`.
    fn add(self, sums: Self::F, step: f32, products: Self::I) -> Self::F;
    /// The same, where neighbours' products were added up to eight sums first.
    #[inline(always)]
    fn add_neighbours(self, sums: Self::F, step: f32, products: Self::I) -> Self::F {
        self.add(sums, step, products)
    }
    /// `sums + a * b` in the first eight lanes.
    fn add_eight(self, sums: Self::F, a: L::V, b: &[f32; 8]) -> Self::F;
    /// Eight sums of all.
    fn fold(self, sums: Self::F) -> L::V;
}

impl Ints<Portable> for Portable {
    type W = [i16; 32];
    type I = [i32; 8];
    type F = [f32; 8];
    type S = [[i16; 8]; 2];

    #[inline(always)]
    fn words(self, b: [u8; 32], centre: u8) -> [i16; 32] {
        b.map(|b| i16::from(b) - i16::from(centre))
    }

    #[inline(always)]
    fn scales(self, first: &[i16; 8], second: Option<&[i16; 8]>) -> [[i16; 8]; 2] {
        [*first, *second.unwrap_or(first)]
    }

    #[inline(always)]
    fn times<const G: usize>(self, w: [i16; 32], scales: [[i16; 8]; 2]) -> [i16; 32] {
        std::array::from_fn(|i| w[i] * scales[i / 16][G])
    }

    #[inline(always)]
    fn pairs(self, w: [i16; 32]) -> [i32; 16] {
        bytemuck::cast(w)
    }

    #[inline(always)]
    fn rounded(self, x: [[f32; 8]; 4], by: f32) -> [i16; 32] {
        // 1.5 * 2^23: there a step is one.
        const FAR: f32 = 12_582_912.0;
        let x = x.as_flattened();
        std::array::from_fn(|i| ((x[i] * by + FAR).to_bits() as i32 - FAR.to_bits() as i32) as i16)
    }

    #[inline(always)]
    fn none(self) -> [i32; 8] {
        [0; 8]
    }

    #[inline(always)]
    fn products(self, sums: [i32; 8], w: [i16; 32], x: &[i16; 32]) -> [i32; 8] {
        let product = |i: usize| i32::from(w[i]) * i32::from(x[i]);
        let four = |i: usize| product(i) + product(i + 1) + product(i + 2) + product(i + 3);
        std::array::from_fn(|i| sums[i] + four(4 * i))
    }

    #[inline(always)]
    fn zero(self) -> [f32; 8] {
        [0.0; 8]
    }

    #[inline(always)]
    fn add(self, sums: [f32; 8], step: f32, products: [i32; 8]) -> [f32; 8] {
        self.mul_add(products.map(|v| v as f32), [step; 8], sums)
    }

    #[inline(always)]
    fn add_eight(self, sums: [f32; 8], a: [f32; 8], b: &[f32; 8]) -> [f32; 8] {
        self.mul_add(a, *b, sums)
    }

    #[inline(always)]
    fn fold(self, sums: [f32; 8]) -> [f32; 8] {
        sums
    }
}
