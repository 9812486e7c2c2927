//! Eight lanes at a time, each quarter of the 32 in turn: 12 of the 16 registers are sums, of three rows of weights and
//! four of activations. Of more rows of activations, the first half decodes the quarter and the second reads it again.

use std::arch::x86_64::*;

use super::codes::{MINIMUM, SIGNED};
use super::{BLOCKS, FEW, GROUP, LANES, Piece, Room, Sums};
use crate::quant::simd::{self, Job, Lanes, prefetch};

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn step<const BYTES: usize, const CODES: u8>(
    p: &Piece<'_>,
    room: &mut Room,
    totals: &mut [[f32; FEW]; GROUP],
) {
    match p.rows {
        ..=2 => tile::<2, 0, BYTES, CODES>(p, room),
        3 => tile::<3, 0, BYTES, CODES>(p, room),
        4 => tile::<4, 0, BYTES, CODES>(p, room),
        5 => tile::<3, 2, BYTES, CODES>(p, room),
        6 => tile::<3, 3, BYTES, CODES>(p, room),
        7 => tile::<4, 3, BYTES, CODES>(p, room),
        _ => tile::<4, 4, BYTES, CODES>(p, room),
    }
    if p.last {
        *totals = simd::run(Totals(&room.sums));
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn tile<const FIRST: usize, const SECOND: usize, const BYTES: usize, const CODES: u8>(
    p: &Piece<'_>,
    room: &mut Room,
) {
    let w = p.w.each_ref().map(|w| w.as_chunks::<BYTES>().0);
    let len = w[0].len();
    let fits = len <= BLOCKS
        && w.iter().all(|w| w.len() == len)
        && p.x.len() >= (FIRST + SECOND - 1) * p.stride + len * LANES;
    assert!(fits, "a piece is cut from its rows");
    for (k, (scales, added)) in room.scales.iter_mut().zip(&mut room.added).enumerate().take(len) {
        for i in 0..GROUP {
            scales[i] = scale::<BYTES, CODES>(&w[i][k], &mut added[i]);
        }
    }
    let w = w.map(<[_]>::as_ptr);
    let mut ahead = p.ahead;
    for part in 0..4 {
        // SAFETY: the rows have what `len` says, as checked above.
        unsafe {
            let x = p.x.as_ptr().add(8 * part);
            let mut lines = Lines { len, w, x, stride: p.stride, part, fresh: p.fresh };
            if part < 2 || CODES == SIGNED {
                first::<FIRST, false, BYTES, CODES>(&lines, &mut ahead, room);
            } else {
                first::<FIRST, true, BYTES, CODES>(&lines, &mut ahead, room);
            }
            if SECOND > 0 {
                lines.x = lines.x.add(FIRST * p.stride);
                match SECOND {
                    2 => again::<2, BYTES>(&lines, FIRST, room),
                    3 => again::<3, BYTES>(&lines, FIRST, room),
                    _ => again::<4, BYTES>(&lines, FIRST, room),
                }
            }
        }
    }
}

/// What the loops read: checked once, since bounds in registers would crowd them.
struct Lines<const BYTES: usize> {
    /// Blocks of each row of weights, at most [`BLOCKS`], and of 32 columns of each row of x.
    len: usize,
    w: [*const [u8; BYTES]; GROUP],
    /// From the quarter's first column on.
    x: *const f32,
    stride: usize,
    /// The quarter of the lanes.
    part: usize,
    fresh: bool,
}

/// Decodes a quarter, and adds its products with the first `ROWS` rows of x to the sums. Never inlined, so that its sums
/// get the registers.
///
/// # Safety
/// The lines must have what `len` says, for `ROWS` rows of x.
#[inline(never)]
#[allow(clippy::needless_range_loop)]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn first<const ROWS: usize, const HIGH: bool, const BYTES: usize, const CODES: u8>(
    lines: &Lines<BYTES>,
    ahead: &mut &[u8],
    room: &mut Room,
) {
    let mut acc = begin::<ROWS, BYTES>(lines, &room.sums, 0);
    let at = if CODES == SIGNED { BYTES - 32 + 8 * lines.part } else { BYTES - 16 + 8 * (lines.part % 2) };
    for k in 0..lines.len {
        if let Some((line, later)) = ahead.split_first_chunk::<64>() {
            prefetch(&line[0]);
            *ahead = later;
        }
        let mut weights = [_mm256_setzero_ps(); GROUP];
        // SAFETY: the caller's promise; `len` is at most the blocks that the room is for.
        unsafe {
            let out = room.weights.as_mut_ptr().add(k).cast::<f32>();
            for i in 0..GROUP {
                let codes = _mm_loadl_epi64(lines.w[i].add(k).cast::<u8>().add(at).cast());
                let codes = match CODES {
                    SIGNED => _mm256_cvtepi8_epi32(codes),
                    _ if HIGH => _mm256_srli_epi32::<4>(_mm256_cvtepu8_epi32(codes)),
                    _ => _mm256_and_si256(_mm256_cvtepu8_epi32(codes), _mm256_set1_epi32(15)),
                };
                let codes = _mm256_cvtepi32_ps(codes);
                let scale = _mm256_broadcast_ss(&(&*room.scales.as_ptr().add(k))[i]);
                let added = &(&*room.added.as_ptr().add(k))[i];
                weights[i] = match CODES {
                    SIGNED => _mm256_mul_ps(codes, scale),
                    _ => _mm256_fmadd_ps(codes, scale, _mm256_loadu_ps(added.as_ptr())),
                };
                _mm256_storeu_ps(out.add(8 * i), weights[i]);
            }
            for t in 0..ROWS {
                let x = _mm256_loadu_ps(lines.x.add(t * lines.stride + k * LANES));
                for i in 0..GROUP {
                    acc[i][t] = _mm256_fmadd_ps(weights[i], x, acc[i][t]);
                }
            }
        }
    }
    end(lines.part, &mut room.sums, 0, acc);
}

/// Adds the products of the quarter that was decoded last with `ROWS` rows of x to the sums of the rows from `from` on.
///
/// # Safety
/// As for [`first`].
#[inline(never)]
#[allow(clippy::needless_range_loop)]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn again<const ROWS: usize, const BYTES: usize>(lines: &Lines<BYTES>, from: usize, room: &mut Room) {
    let mut acc = begin::<ROWS, BYTES>(lines, &room.sums, from);
    for (k, weights) in room.weights.iter().enumerate().take(lines.len) {
        // SAFETY: the caller's promise.
        unsafe {
            // All weights and one x: the other way round would be a register too many.
            let mut w = [_mm256_setzero_ps(); GROUP];
            for i in 0..GROUP {
                w[i] = _mm256_loadu_ps(weights[i].as_ptr());
            }
            for t in 0..ROWS {
                let x = _mm256_loadu_ps(lines.x.add(t * lines.stride + k * LANES));
                for i in 0..GROUP {
                    acc[i][t] = _mm256_fmadd_ps(w[i], x, acc[i][t]);
                }
            }
        }
    }
    end(lines.part, &mut room.sums, from, acc);
}

/// Scale, and what is added to each scaled code, with the roundings of the single dot product.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn scale<const BYTES: usize, const CODES: u8>(block: &[u8; BYTES], added: &mut [f32; 8]) -> f32 {
    let first = block.first_chunk::<4>().map_or(0, |b| i32::from_le_bytes(*b));
    let pair = _mm_cvtph_ps(_mm_cvtsi32_si128(first));
    if CODES != SIGNED {
        let plus = if CODES == MINIMUM { _mm_movehdup_ps(pair) } else { _mm_mul_ps(pair, _mm_set1_ps(-8.0)) };
        // SAFETY: eight floats, at any alignment.
        unsafe { _mm256_storeu_ps(added.as_mut_ptr(), _mm256_broadcastss_ps(plus)) };
    }
    _mm_cvtss_f32(pair)
}

/// A quarter of the sums of the rows of activations from `from` on. Indices, as here and below, become names of registers.
#[inline]
#[allow(clippy::needless_range_loop)]
#[target_feature(enable = "avx2,fma,f16c")]
fn begin<const ROWS: usize, const BYTES: usize>(
    lines: &Lines<BYTES>,
    sums: &Sums,
    from: usize,
) -> [[__m256; ROWS]; GROUP] {
    let mut acc = [[_mm256_setzero_ps(); ROWS]; GROUP];
    if !lines.fresh {
        for i in 0..GROUP {
            for t in 0..ROWS {
                let eight = &sums[i][from + t].as_chunks::<8>().0[lines.part];
                // SAFETY: eight floats, at any alignment.
                acc[i][t] = unsafe { _mm256_loadu_ps(eight.as_ptr()) };
            }
        }
    }
    acc
}

/// Puts them back.
#[inline]
#[allow(clippy::needless_range_loop)]
#[target_feature(enable = "avx2,fma,f16c")]
fn end<const ROWS: usize>(part: usize, sums: &mut Sums, from: usize, acc: [[__m256; ROWS]; GROUP]) {
    for i in 0..GROUP {
        for t in 0..ROWS {
            let eight = &mut sums[i][from + t].as_chunks_mut::<8>().0[part];
            // SAFETY: eight floats, at any alignment.
            unsafe { _mm256_storeu_ps(eight.as_mut_ptr(), acc[i][t]) };
        }
    }
}

/// The sums of all lanes, in the order of a dot product.
struct Totals<'a>(&'a Sums);

impl Job for Totals<'_> {
    type Out = [[f32; FEW]; GROUP];

    #[inline(always)]
    fn run<L: Lanes>(self, l: L) -> [[f32; FEW]; GROUP] {
        let mut out = [[0.0; FEW]; GROUP];
        for (out, sums) in out.iter_mut().zip(self.0) {
            let mut v = [l.zero(); FEW];
            for (v, lanes) in v.iter_mut().zip(sums) {
                if let [a, b, c, d] = lanes.as_chunks::<8>().0 {
                    *v = l.add(l.add(l.load(a), l.load(c)), l.add(l.load(b), l.load(d)));
                }
            }
            *out = l.sums(v);
        }
        out
    }
}
