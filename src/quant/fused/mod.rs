//! Matrix products with two to eight rows of activations where weights go from their bytes straight to the registers
//! that multiply them: AVX2 or AVX-512, and formats of blocks of 32 that are nibbles or signed bytes.
//!
//! Scaled weights are multiplied, so that a batch shares the work of scaling; sums have the order of `one.rs`, to the bit.

#![cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub(super) mod one;

use super::few::{DEPTH, FEW, LANES};
use super::level::Level;
use super::simd::{Job, Lanes};

/// Rows of weights that are met together: with eight rows of activations 24 sums of AVX-512's 32 registers, with four 12
/// of AVX2's 16.
pub(super) const GROUP: usize = 3;
/// Columns whose results are written together.
pub(super) const COLUMNS: usize = 8 * GROUP;
/// Most blocks of a piece.
const BLOCKS: usize = DEPTH / LANES;

/// A level that this CPU has, from AVX2 on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fused(Level);

impl Fused {
    /// The level in use, if these products have a way there.
    pub(super) fn detect() -> Option<Fused> {
        Fused::of(Level::in_use())
    }

    /// A level, if it is not above that in use.
    pub(super) fn of(level: Level) -> Option<Fused> {
        (Level::Avx2..=Level::in_use()).contains(&level).then_some(Fused(level))
    }
}

/// How the codes at the end of a block become weights.
pub(super) mod codes {
    /// Nibbles from which 8 is taken off, times the f16 that begins the block.
    pub const CENTRED: u8 = 0;
    /// Nibbles times the first f16, plus the second.
    pub const MINIMUM: u8 = 1;
    /// Signed bytes, times the f16 that begins the block.
    pub const SIGNED: u8 = 2;
}

/// A piece of some rows of weights, and the activations that they meet.
pub(super) struct Piece<'a> {
    /// Encoded, as many whole blocks each.
    pub w: [&'a [u8]; GROUP],
    /// Rows of activations, each from the piece's first column on.
    pub x: &'a [f32],
    /// From one row of x to the next.
    pub stride: usize,
    /// Rows of activations: two to eight.
    pub rows: usize,
    /// Whether the sums start at zero.
    pub fresh: bool,
    /// Whether they end here.
    pub last: bool,
    /// What will be read next: fetched meanwhile.
    pub ahead: &'a [u8],
}

/// Sums of each row of weights, by row of activations, by lane.
type Sums = [[[f32; LANES]; FEW]; GROUP];

/// What steps leave behind for later ones, and need themselves: clearing it for each would take a while.
#[repr(align(64))]
pub(super) struct Room {
    sums: Sums,
    /// Eight weights of each block.
    weights: [[[f32; 8]; GROUP]; BLOCKS],
    scales: [[f32; GROUP]; BLOCKS],
    /// What is added to the scaled codes of a block, eight times: an operand in memory.
    added: [[[f32; 8]; GROUP]; BLOCKS],
}

impl Room {
    pub(super) fn new() -> Room {
        Room {
            sums: [[[0.0; LANES]; FEW]; GROUP],
            weights: [[[0.0; 8]; GROUP]; BLOCKS],
            scales: [[0.0; GROUP]; BLOCKS],
            added: [[[0.0; 8]; GROUP]; BLOCKS],
        }
    }
}

/// Adds the products of a piece to the sums; those of all lanes, when they end, make the totals.
pub(super) type Step = fn(Fused, &Piece<'_>, &mut Room, &mut [[f32; FEW]; GROUP]);

/// The [`Step`] of a format of so many bytes a block, with one of the [`codes`].
pub(super) fn step<const BYTES: usize, const CODES: u8>(
    fused: Fused,
    piece: &Piece<'_>,
    room: &mut Room,
    totals: &mut [[f32; FEW]; GROUP],
) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a `Fused` holds only a level that the CPU has.
    unsafe {
        match fused.0 {
            Level::Avx512 => avx512::step::<BYTES, CODES>(piece, &mut room.sums, totals),
            _ => avx2::step::<BYTES, CODES>(piece, room, totals),
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (fused, piece, room, totals, CODES);
}

/// Eight columns of all rows of results, from the totals of eight columns.
pub(super) struct Across<'a>(pub &'a [[f32; FEW]; 8]);

impl Job for Across<'_> {
    type Out = [[f32; 8]; FEW];

    #[inline(always)]
    fn run<L: Lanes>(self, l: L) -> [[f32; 8]; FEW] {
        let mut v = [l.zero(); 8];
        for (v, totals) in v.iter_mut().zip(self.0) {
            *v = l.load(totals);
        }
        let mut out = [[0.0; 8]; FEW];
        for (out, v) in out.iter_mut().zip(l.transpose(v)) {
            *out = l.to_array(v);
        }
        out
    }
}
