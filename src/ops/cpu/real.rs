//! The two float types that twins are instantiated with.

use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub};

use super::Columns;
use crate::kernels::{self, Left, Operand, Right};
use crate::ops::block16;
use crate::quant::Format;
use crate::simd;
use crate::text::{Breakers, Choice, SamplerError, SamplerParams, choose_with_breakers};

/// The float type a twin is instantiated with: f32 to run, f64 to check gradients by central differences.
pub trait Real:
    Copy
    + Send
    + Sync
    + 'static
    + PartialOrd
    + Default
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + MulAssign
    + bytemuck::Pod
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// Minus infinity.
    const LOWEST: Self;
    /// Conversion.
    fn from_f32(v: f32) -> Self;
    /// Conversion.
    fn from_f64(v: f64) -> Self;
    /// Conversion, rounding.
    fn to_f32(self) -> f32;
    /// Conversion.
    fn to_f64(self) -> f64;
    /// Square root.
    fn sqrt(self) -> Self;
    /// e^x.
    fn exp(self) -> Self;
    /// Natural logarithm.
    fn ln(self) -> Self;
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
    /// Dot product of an encoded row with one activation row.
    fn dot_row(format: Format, row: &[u8], x: &[Self]) -> Self;

    /// y = (accumulate ? y : 0) + alpha x w^T over the part's columns, for at most [`kernels::FEW`] rows of `cols`; each
    /// element as by [`Real::dot_row`] or [`Real::dot`]. Row `first` of w makes the part's first column.
    #[allow(clippy::too_many_arguments)]
    fn few(
        w: Operand<'_, Self>,
        cols: usize,
        first: usize,
        x: &[Self],
        rows: usize,
        alpha: Self,
        accumulate: bool,
        y: &mut Columns<'_, Self>,
    );

    /// y = (accumulate ? y : 0) + alpha L R over the part's columns, `rows` rows and `depth` terms.
    #[allow(clippy::too_many_arguments)]
    fn product(
        left: Left<'_, Self>,
        right: Right<'_, Self>,
        rows: usize,
        depth: usize,
        alpha: Self,
        accumulate: bool,
        y: &mut Columns<'_, Self>,
    );

    /// x = exp(x scale + shift), element by element.
    fn exp_all(x: &mut [Self], scale: Self, shift: Self) {
        for x in x {
            *x = (*x * scale + shift).exp();
        }
    }

    /// The sum of exp((x - less) scale) over a row, in a fixed order.
    fn sum_exp(x: &[Self], less: Self, scale: Self) -> Self {
        // Pieces are summed apart, which keeps the rounding error of a long row small.
        let piece = |piece: &[Self]| piece.iter().fold(Self::ZERO, |s, x| s + ((*x - less) * scale).exp());
        x.chunks(256).fold(Self::ZERO, |s, x| s + piece(x))
    }

    /// Chooses the next token from logits.
    fn choose(
        logits: &[Self],
        history: &[u32],
        p: &SamplerParams,
        breakers: &Breakers,
        pos: u32,
    ) -> Result<Choice, SamplerError>;

    /// Dot product in a fixed order.
    fn dot(a: &[Self], b: &[Self]) -> Self;

    /// y += a * x.
    fn axpy(a: Self, x: &[Self], y: &mut [Self]);

    /// `out[j] = x . line j`, lines as wide as `x`.
    fn dot_lines(x: &[Self], lines: &[Self], out: &mut [Self]) {
        for (out, line) in out.iter_mut().zip(lines.chunks_exact(x.len().max(1))) {
            *out = Self::dot(x, line);
        }
    }

    /// `y += weights[j] * line j` over all lines, as wide as `y`.
    fn add_lines(weights: &[Self], lines: &[Self], y: &mut [Self]) {
        for (weight, line) in weights.iter().zip(lines.chunks_exact(y.len().max(1))) {
            Self::axpy(*weight, line, y);
        }
    }

    /// The values of whole blocks of a 16-bit cache.
    fn unpack(lanes: &[u16], out: &mut [Self]) {
        let (blocks, values) = (lanes.as_chunks::<{ block16::BLOCK }>().0, out.as_chunks_mut().0);
        for (lanes, values) in blocks.iter().zip(values) {
            *values = block16::unpack(*lanes).map(Self::from_f32);
        }
    }
}

/// What both types have from the language.
macro_rules! real {
    ($t:ty) => {
        const ZERO: Self = 0.0;
        const ONE: Self = 1.0;
        const LOWEST: Self = <$t>::NEG_INFINITY;
        fn from_f32(v: f32) -> Self {
            v as $t
        }
        fn from_f64(v: f64) -> Self {
            v as $t
        }
        fn to_f32(self) -> f32 {
            self as f32
        }
        fn to_f64(self) -> f64 {
            f64::from(self)
        }
        fn sqrt(self) -> Self {
            <$t>::sqrt(self)
        }
        fn exp(self) -> Self {
            <$t>::exp(self)
        }
        fn ln(self) -> Self {
            <$t>::ln(self)
        }
        fn tanh(self) -> Self {
            <$t>::tanh(self)
        }
    };
}

pub(super) use real;

impl Real for f32 {
    real!(f32);

    fn dot_row(format: Format, row: &[u8], x: &[f32]) -> f32 {
        format.dot(row, x)
    }

    fn few(
        w: Operand<'_, f32>,
        cols: usize,
        first: usize,
        x: &[f32],
        rows: usize,
        alpha: f32,
        accumulate: bool,
        y: &mut Columns<'_, f32>,
    ) {
        kernels::FewRows { rows, width: y.range.len(), cols, x, w, first, alpha, accumulate, y }.run();
    }

    fn product(
        left: Left<'_, f32>,
        right: Right<'_, f32>,
        rows: usize,
        depth: usize,
        alpha: f32,
        accumulate: bool,
        y: &mut Columns<'_, f32>,
    ) {
        kernels::Product { rows, width: y.range.len(), depth, left, right, alpha, accumulate, y }.run();
    }

    fn dot(a: &[f32], b: &[f32]) -> f32 {
        kernels::dot_f32(a, b)
    }

    fn exp_all(x: &mut [f32], scale: f32, shift: f32) {
        simd::exp_all(x, scale, shift);
    }

    fn sum_exp(x: &[f32], less: f32, scale: f32) -> f32 {
        simd::sum_exp(x, less, scale) as f32
    }

    fn axpy(a: f32, x: &[f32], y: &mut [f32]) {
        kernels::axpy_f32(a, x, y);
    }

    fn dot_lines(x: &[f32], lines: &[f32], out: &mut [f32]) {
        kernels::dot_lines(x, lines, out);
    }

    fn add_lines(weights: &[f32], lines: &[f32], y: &mut [f32]) {
        kernels::add_lines(weights, lines, y);
    }

    fn unpack(lanes: &[u16], out: &mut [f32]) {
        block16::unpack_row(lanes, out);
    }

    fn choose(
        logits: &[f32],
        history: &[u32],
        p: &SamplerParams,
        breakers: &Breakers,
        pos: u32,
    ) -> Result<Choice, SamplerError> {
        choose_with_breakers(logits, history, p, breakers, pos)
    }
}
