//! The code compiled for this CPU against the portable code, which is its oracle.

use std::marker::PhantomData;

use super::codec::{BlockCodec, Decode, Encode};
use crate::simd::{run, run_portable};

/// Reproducible numbers in -1 .. 1.
pub(crate) fn noise(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

fn blocks_agree<B: BlockCodec<LEN, BYTES>, const LEN: usize, const BYTES: usize>() {
    const BLOCKS: usize = 5;
    let n = BLOCKS * LEN;
    let src = noise(n, 1);
    let [mut row, mut portable_row] = [(); 2].map(|()| vec![0; BLOCKS * BYTES]);
    run(Encode::<B, LEN, BYTES> { src: &src, out: &mut row, format: PhantomData });
    run_portable(Encode::<B, LEN, BYTES> { src: &src, out: &mut portable_row, format: PhantomData });
    assert_eq!(row, portable_row);

    let [mut out, mut portable_out] = [(); 2].map(|()| vec![0.0; n]);
    run(Decode::<B, LEN, BYTES> { bytes: &row, out: &mut out, format: PhantomData });
    run_portable(Decode::<B, LEN, BYTES> { bytes: &row, out: &mut portable_out, format: PhantomData });
    assert_eq!(
        out.iter().map(|v| v.to_bits()).collect::<Vec<_>>(),
        portable_out.iter().map(|v| v.to_bits()).collect::<Vec<_>>()
    );
}

macro_rules! agree {
    (block, $format:ty) => {
        blocks_agree::<$format, _, _>()
    };
    (float, $format:ty) => {};
}

macro_rules! formats {
    ($($(#[$doc:meta])* $f:ident = $name:literal, $stem:literal, $id:literal, $kind:ident, $file:ident::$codec:ident;)*) => {
        #[test]
        fn compiled_variants_agree() {
            $(agree!($kind, crate::quant::$file::$codec);)*
        }
    };
}
include!("list.rs");
