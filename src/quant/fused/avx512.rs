//! Sixteen lanes at a time, each half of the 32 in turn: 24 of the 32 registers are sums.

use std::arch::x86_64::*;

use super::codes::{CENTRED, MINIMUM, SIGNED};
use super::{BLOCKS, FEW, GROUP, LANES, Piece, Sums};
use crate::quant::simd::prefetch;

#[target_feature(enable = "avx512f,avx2,fma,f16c")]
pub(super) fn step<const BYTES: usize, const CODES: u8>(
    p: &Piece<'_>,
    sums: &mut Sums,
    totals: &mut [[f32; FEW]; GROUP],
) {
    match p.rows {
        ..=2 => tile::<2, BYTES, CODES>(p, sums, totals),
        3 => tile::<3, BYTES, CODES>(p, sums, totals),
        4 => tile::<4, BYTES, CODES>(p, sums, totals),
        5 => tile::<5, BYTES, CODES>(p, sums, totals),
        6 => tile::<6, BYTES, CODES>(p, sums, totals),
        7 => tile::<7, BYTES, CODES>(p, sums, totals),
        _ => tile::<8, BYTES, CODES>(p, sums, totals),
    }
}

#[target_feature(enable = "avx512f,avx2,fma,f16c")]
fn tile<const ROWS: usize, const BYTES: usize, const CODES: u8>(
    p: &Piece<'_>,
    sums: &mut Sums,
    totals: &mut [[f32; FEW]; GROUP],
) {
    let w = p.w.each_ref().map(|w| w.as_chunks::<BYTES>().0);
    let len = w[0].len();
    let fits =
        len <= BLOCKS && w.iter().all(|w| w.len() == len) && p.x.len() >= (ROWS - 1) * p.stride + len * LANES;
    assert!(fits, "a piece is cut from its rows");
    let mut scales = [[[0.0; 2]; BLOCKS]; GROUP];
    for i in 0..GROUP {
        for (block, out) in w[i].iter().zip(&mut scales[i]) {
            *out = scale::<BYTES, CODES>(block);
        }
    }
    let [a, b, c] = w;
    let lines = Lines { len, w: [a.as_ptr(), b.as_ptr(), c.as_ptr()], x: p.x.as_ptr(), stride: p.stride };
    let mut ahead = p.ahead;
    // SAFETY: as checked above.
    unsafe {
        half::<0, ROWS, BYTES, CODES>(&lines, &scales, p.fresh, &mut ahead, sums);
        half::<1, ROWS, BYTES, CODES>(&lines, &scales, p.fresh, &mut ahead, sums);
    }
    if p.last {
        for (sums, totals) in sums.iter().zip(totals) {
            let mut lanes = [_mm512_setzero_ps(); FEW];
            for t in 0..ROWS {
                lanes[t] = _mm512_add_ps(load(&sums[t], 0), load(&sums[t], 1));
            }
            total(lanes, totals);
        }
    }
}

/// What the loop reads: checked once, since bounds in registers would crowd it.
struct Lines<const BYTES: usize> {
    /// Blocks of each row of weights, at most [`BLOCKS`], and of 32 columns of each row of x.
    len: usize,
    w: [*const [u8; BYTES]; GROUP],
    x: *const f32,
    stride: usize,
}

/// Adds the products of half of the lanes: 0 to 15, or 16 to 31. Never inlined, so that its sums get the registers.
///
/// # Safety
/// The lines must have what `len` says, for `ROWS` rows of x.
#[inline(never)]
#[target_feature(enable = "avx512f,avx2,fma,f16c")]
unsafe fn half<const HALF: usize, const ROWS: usize, const BYTES: usize, const CODES: u8>(
    lines: &Lines<BYTES>,
    scales: &[[[f32; 2]; BLOCKS]; GROUP],
    fresh: bool,
    ahead: &mut &[u8],
    sums: &mut Sums,
) {
    let mut acc = [[_mm512_setzero_ps(); ROWS]; GROUP];
    if !fresh {
        for i in 0..GROUP {
            for t in 0..ROWS {
                acc[i][t] = load(&sums[i][t], HALF);
            }
        }
    }
    for k in 0..lines.len {
        if let Some((line, later)) = ahead.split_first_chunk::<64>() {
            prefetch(&line[0]);
            *ahead = later;
        }
        let mut weights = [_mm512_setzero_ps(); GROUP];
        for i in 0..GROUP {
            // SAFETY: the caller's promise; `len` is at most the length of the scales.
            unsafe {
                let [scale, min] = *scales[i].as_ptr().add(k);
                weights[i] = sixteen::<HALF, BYTES, CODES>(&*lines.w[i].add(k), scale, min);
            }
        }
        #[allow(clippy::needless_range_loop)]
        for t in 0..ROWS {
            // SAFETY: the caller's promise.
            let x = unsafe { _mm512_loadu_ps(lines.x.add(t * lines.stride + k * LANES + 16 * HALF)) };
            for i in 0..GROUP {
                acc[i][t] = _mm512_fmadd_ps(weights[i], x, acc[i][t]);
            }
        }
    }
    for i in 0..GROUP {
        for t in 0..ROWS {
            let to = &mut sums[i][t].as_chunks_mut::<16>().0[HALF];
            // SAFETY: sixteen floats, at any alignment.
            unsafe { _mm512_storeu_ps(to.as_mut_ptr(), acc[i][t]) };
        }
    }
}

/// Scale, and what is added to each scaled code.
#[inline]
#[target_feature(enable = "avx512f,avx2,fma,f16c")]
fn scale<const BYTES: usize, const CODES: u8>(block: &[u8; BYTES]) -> [f32; 2] {
    let first = block.first_chunk::<4>().map_or(0, |b| i32::from_le_bytes(*b));
    let pair = _mm_cvtph_ps(_mm_cvtsi32_si128(first));
    let scale = _mm_cvtss_f32(pair);
    match CODES {
        MINIMUM => [scale, _mm_cvtss_f32(_mm_movehdup_ps(pair))],
        CENTRED => [scale, -8.0 * scale],
        _ => [scale, 0.0],
    }
}

/// Sixteen weights of a block, with the roundings of the single dot product.
#[inline]
#[target_feature(enable = "avx512f,avx2,fma,f16c")]
fn sixteen<const HALF: usize, const BYTES: usize, const CODES: u8>(
    block: &[u8; BYTES],
    scale: f32,
    plus: f32,
) -> __m512 {
    // The codes end the block.
    if CODES == SIGNED {
        let bytes = block.last_chunk::<32>().map_or([0; 16], |b| b.as_chunks().0[HALF]);
        let codes = _mm512_cvtepi8_epi32(to_vector(&bytes));
        return _mm512_mul_ps(_mm512_cvtepi32_ps(codes), _mm512_set1_ps(scale));
    }
    // The sixteen weights that there can be, then each nibble's: permutations see four bits of an index.
    let codes =
        _mm512_setr_ps(0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0);
    let all = _mm512_fmadd_ps(codes, _mm512_set1_ps(scale), _mm512_set1_ps(plus));
    let low = _mm512_cvtepu8_epi32(to_vector(block.last_chunk::<16>().unwrap_or(&[0; 16])));
    _mm512_permutexvar_ps(if HALF == 1 { _mm512_srli_epi32::<4>(low) } else { low }, all)
}

#[inline]
#[target_feature(enable = "avx512f,avx2,fma,f16c")]
fn to_vector(bytes: &[u8; 16]) -> __m128i {
    // SAFETY: sixteen bytes, at any alignment.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx2,fma,f16c")]
fn load(lanes: &[f32; LANES], half: usize) -> __m512 {
    // SAFETY: sixteen floats, at any alignment.
    unsafe { _mm512_loadu_ps(lanes.as_chunks::<16>().0[half].as_ptr()) }
}

/// The sums of each vector's lanes, in the order of a dot product: what lies eight lanes apart, then four, two, one.
#[inline]
#[target_feature(enable = "avx512f,avx2,fma,f16c")]
fn total(v: [__m512; FEW], out: &mut [f32; FEW]) {
    let mut eighths = [_mm512_setzero_ps(); 4];
    for i in 0..4 {
        let low = _mm512_shuffle_f32x4::<0x44>(v[i], v[i + 4]);
        eighths[i] = _mm512_add_ps(low, _mm512_shuffle_f32x4::<0xEE>(v[i], v[i + 4]));
    }
    let [a, b, c, d] = eighths;
    // Quarters of vectors 0, 4, 1, 5, and of 2, 6, 3, 7.
    let p = _mm512_add_ps(_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0xDD>(a, b));
    let q = _mm512_add_ps(_mm512_shuffle_f32x4::<0x88>(c, d), _mm512_shuffle_f32x4::<0xDD>(c, d));
    let r = _mm512_add_ps(_mm512_shuffle_ps::<0x44>(p, q), _mm512_shuffle_ps::<0xEE>(p, q));
    let sums = _mm512_add_ps(_mm512_permute_ps::<0x88>(r), _mm512_permute_ps::<0xDD>(r));
    let order = _mm512_setr_epi32(0, 8, 1, 9, 4, 12, 5, 13, 0, 0, 0, 0, 0, 0, 0, 0);
    let sums = _mm512_castps512_ps256(_mm512_permutexvar_ps(order, sums));
    // SAFETY: eight floats, at any alignment.
    unsafe { _mm256_storeu_ps(out.as_mut_ptr(), sums) };
}
