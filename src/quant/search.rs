//! Encoding by search: scales that minimise a weighted squared error.
//!
//! Candidates come from a range of step sizes around the one that just covers the data; for each, least squares gives
//! the best scale (and minimum) for the integers it rounds to. The stored, rounded scales of a super-block are then
//! chosen among the neighbours of the ideal ones by the error they really cause.
//!
//! Everything is inlined into the encoders, which are compiled for AVX2 as well. No step is fused and sums have a fixed
//! order, so all machines give the same bytes.

use crate::simd::half::covering_f16;

/// Weights of a super-block.
pub(super) const SUPER: usize = 256;
/// The most groups in a super-block.
const MAX_GROUPS: usize = 16;
/// Step sizes tried on either side of the covering one, in tenths of an integer.
const TENTHS: i32 = 10;

/// How much an error in each weight matters: large weights more, small ones not nothing.
#[inline(always)]
pub(super) fn importance(x: &[f32], out: &mut [f32]) {
    let mean_square = x.iter().map(|v| v * v).sum::<f32>() / x.len().max(1) as f32;
    let floor = mean_square.sqrt();
    for (w, v) in out.iter_mut().zip(x) {
        *w = floor + v.abs();
    }
}

/// The nearest integer in a range. Adding 1.5 * 2^23 rounds, ties to even, since the range is small.
#[inline(always)]
fn nearest(v: f32, low: f32, high: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    let v = if v > low { v } else { low };
    ((if v < high { v } else { high }) + ROUND) - ROUND
}

/// Sums of `K` terms of each weight and its importance, in eight lanes, so that they vectorise.
#[inline(always)]
pub(super) fn sums<const K: usize>(x: &[f32], w: &[f32], terms: impl Fn(f32, f32) -> [f32; K]) -> [f32; K] {
    let mut lanes = [[0.0f32; 8]; K];
    for (x, w) in x.as_chunks::<8>().0.iter().zip(w.as_chunks::<8>().0) {
        let terms: [[f32; K]; 8] = std::array::from_fn(|i| terms(x[i], w[i]));
        for (k, lanes) in lanes.iter_mut().enumerate() {
            for (lane, terms) in lanes.iter_mut().zip(&terms) {
                *lane += terms[k];
            }
        }
    }
    lanes.map(|s| ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7])))
}

#[inline(always)]
fn inverse(v: f32) -> f32 {
    if v == 0.0 { 0.0 } else { 1.0 / v }
}

/// A super-block with minima: a weight is `d * scale * code - dmin * min`.
pub(super) struct Affine {
    pub d: f32,
    pub dmin: f32,
    pub scale: [u8; MAX_GROUPS],
    pub min: [u8; MAX_GROUPS],
    pub codes: [u8; SUPER],
}

/// Encodes groups of `group` weights as codes `0 ..= top` with scales and minima `0 ..= scale_top`.
#[inline(always)]
pub(super) fn affine(x: &[f32; SUPER], group: usize, top: u8, scale_top: u8) -> Affine {
    let (top, scale_top) = (f32::from(top), f32::from(scale_top));
    let mut weights = [0.0; SUPER];
    importance(x, &mut weights);
    let mut ideal = [(0.0f32, 0.0f32); MAX_GROUPS];
    for (fit, (x, w)) in ideal.iter_mut().zip(x.chunks_exact(group).zip(weights.chunks_exact(group))) {
        *fit = fit_affine(x, w, top);
    }
    let d = covering_f16(ideal.iter().fold(0.0f32, |a, f| a.max(f.0)) / scale_top);
    let dmin = covering_f16(ideal.iter().fold(0.0f32, |a, f| a.max(f.1)) / scale_top);
    let mut out = Affine { d, dmin, scale: [0; MAX_GROUPS], min: [0; MAX_GROUPS], codes: [0; SUPER] };
    for (g, (x, w)) in x.chunks_exact(group).zip(weights.chunks_exact(group)).enumerate() {
        let start = (ideal[g].0 * inverse(d), ideal[g].1 * inverse(dmin));
        let (scale, min) = round_affine(x, w, (d, dmin), start, (top, scale_top));
        (out.scale[g], out.min[g]) = (scale as u8, min as u8);
        let (step, offset) = (d * scale, dmin * min);
        for (code, &v) in out.codes[g * group..].iter_mut().zip(x) {
            *code = nearest((v + offset) * inverse(step), 0.0, top) as u8;
        }
    }
    out
}

/// Scale and minimum (not negative) of one group: least squares over the best of the step sizes.
#[inline(always)]
fn fit_affine(x: &[f32], w: &[f32], top: f32) -> (f32, f32) {
    let low = x.iter().fold(0.0f32, |a, &v| a.min(v));
    let high = x.iter().fold(low, |a, &v| a.max(v));
    if high == low {
        return (0.0, -low);
    }
    let [sw, sx] = sums(x, w, |v, w| [w, w * v]);
    let mut best = ((high - low) / top, -low);
    let mut best_error = f32::INFINITY;
    for tenth in -TENTHS..=TENTHS {
        let per_unit = (top + 0.1 * tenth as f32) / (high - low);
        let [sc, scc, sxc] = sums(x, w, |v, w| {
            let c = nearest((v - low) * per_unit, 0.0, top);
            [w * c, w * c * c, w * v * c]
        });
        let determinant = sw * scc - sc * sc;
        if determinant <= 0.0 {
            continue;
        }
        let mut fit = ((sw * sxc - sx * sc) / determinant, (sc * sxc - scc * sx) / determinant);
        if fit.1 < 0.0 {
            fit = (sxc / scc, 0.0);
        }
        let error = affine_error(x, w, fit.0, fit.1, top);
        if error < best_error {
            (best, best_error) = (fit, error);
        }
    }
    best
}

/// The rounded scale and minimum, among the neighbours of `start`, with the least error.
#[inline(always)]
fn round_affine(
    x: &[f32],
    w: &[f32],
    (d, dmin): (f32, f32),
    start: (f32, f32),
    (top, scale_top): (f32, f32),
) -> (f32, f32) {
    let (mut best, mut best_error) = ((0.0, 0.0), f32::INFINITY);
    for i in -1..=1 {
        for j in -1..=1 {
            let scale = nearest(start.0 + i as f32, 0.0, scale_top);
            let min = nearest(start.1 + j as f32, 0.0, scale_top);
            let error = affine_error(x, w, d * scale, dmin * min, top);
            if error < best_error {
                (best, best_error) = ((scale, min), error);
            }
        }
    }
    best
}

#[inline(always)]
fn affine_error(x: &[f32], w: &[f32], step: f32, offset: f32, top: f32) -> f32 {
    let per_unit = inverse(step);
    let [error] = sums(x, w, |v, w| {
        let miss = step * nearest((v + offset) * per_unit, 0.0, top) - offset - v;
        [w * miss * miss]
    });
    error
}

/// A super-block without minima: a weight is `d * scale * q`, the code being `q + centre`.
pub(super) struct Symmetric {
    pub d: f32,
    pub scale: [i8; MAX_GROUPS],
    pub codes: [u8; SUPER],
}

/// Encodes groups of 16 weights as integers `-centre .. centre` with scales `-scale_end .. scale_end`.
#[inline(always)]
pub(super) fn symmetric(x: &[f32; SUPER], centre: u8, scale_end: u8) -> Symmetric {
    let (centre, scale_end) = (f32::from(centre), f32::from(scale_end));
    let mut weights = [0.0; SUPER];
    importance(x, &mut weights);
    let (groups, _) = x.as_chunks::<16>();
    let (group_weights, _) = weights.as_chunks::<16>();
    let mut ideal = [0.0f32; MAX_GROUPS];
    for (fit, (x, w)) in ideal.iter_mut().zip(groups.iter().zip(group_weights)) {
        *fit = fit_symmetric(x, w, centre);
    }
    let largest = ideal.iter().fold(0.0f32, |a, &v| if v.abs() > a.abs() { v } else { a });
    let d = covering_f16(largest / -scale_end);
    let mut out = Symmetric { d, scale: [0; MAX_GROUPS], codes: [0; SUPER] };
    for (g, (x, w)) in groups.iter().zip(group_weights).enumerate() {
        let scale = round_symmetric(x, w, d, ideal[g] * inverse(d), centre, scale_end);
        out.scale[g] = scale as i8;
        let per_unit = inverse(d * scale);
        for (code, &v) in out.codes[16 * g..].iter_mut().zip(x) {
            *code = (nearest(v * per_unit, -centre, centre - 1.0) + centre) as u8;
        }
    }
    out
}

/// Scale of one group, of either sign: least squares over the best of the step sizes.
#[inline(always)]
fn fit_symmetric(x: &[f32; 16], w: &[f32; 16], centre: f32) -> f32 {
    let largest = x.iter().fold(0.0f32, |a, &v| if v.abs() > a.abs() { v } else { a });
    if largest == 0.0 {
        return 0.0;
    }
    let (mut best, mut best_gain) = (0.0, 0.0);
    for tenth in -TENTHS..=TENTHS {
        let per_unit = -(centre + 0.1 * tenth as f32) / largest;
        let [xq, qq] = sums(x, w, |v, w| {
            let q = nearest(v * per_unit, -centre, centre - 1.0);
            [w * v * q, w * q * q]
        });
        // Least squares leaves sum(w x^2) - xq^2 / qq.
        if xq * xq > best_gain * qq {
            (best, best_gain) = (xq / qq, xq * xq / qq);
        }
    }
    best
}

#[inline(always)]
fn round_symmetric(x: &[f32; 16], w: &[f32; 16], d: f32, start: f32, centre: f32, scale_end: f32) -> f32 {
    let (mut best, mut best_error) = (0.0, f32::INFINITY);
    for i in -1..=1 {
        let scale = nearest(start + i as f32, -scale_end, scale_end - 1.0);
        let (step, per_unit) = (d * scale, inverse(d * scale));
        let [error] = sums(x, w, |v, w| {
            let miss = step * nearest(v * per_unit, -centre, centre - 1.0) - v;
            [w * miss * miss]
        });
        if error < best_error {
            (best, best_error) = (scale, error);
        }
    }
    best
}
