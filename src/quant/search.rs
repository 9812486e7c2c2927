//! Encoding by search: scales that minimise a weighted squared error.
//!
//! Candidates come from a range of step sizes around the one that just covers the data; for each, least squares gives
//! the best scale (and minimum) for the integers it rounds to. The stored, rounded scales of a super-block are then
//! chosen among the neighbours of the ideal ones by the error they really cause.

use super::half::covering_f16;

/// Weights of a super-block.
pub(super) const SUPER: usize = 256;
/// The most groups in a super-block.
const MAX_GROUPS: usize = 16;
/// Step sizes tried on either side of the covering one, in tenths of an integer.
const TENTHS: i32 = 10;

/// How much an error in each weight matters: large weights more, small ones not nothing.
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
    (v.max(low).min(high) + ROUND) - ROUND
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
fn fit_affine(x: &[f32], w: &[f32], top: f32) -> (f32, f32) {
    let low = x.iter().fold(0.0f32, |a, &v| a.min(v));
    let high = x.iter().fold(low, |a, &v| a.max(v));
    if high == low {
        return (0.0, -low);
    }
    let mut best = ((high - low) / top, -low);
    let mut best_error = f32::INFINITY;
    for tenth in -TENTHS..=TENTHS {
        let per_unit = (top + 0.1 * tenth as f32) / (high - low);
        let (mut sw, mut sx, mut sc, mut scc, mut sxc) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for (&v, &w) in x.iter().zip(w) {
            let c = nearest((v - low) * per_unit, 0.0, top);
            sw += w;
            sx += w * v;
            sc += w * c;
            scc += w * c * c;
            sxc += w * v * c;
        }
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

fn affine_error(x: &[f32], w: &[f32], step: f32, offset: f32, top: f32) -> f32 {
    let per_unit = inverse(step);
    let error = |v: f32| step * nearest((v + offset) * per_unit, 0.0, top) - offset - v;
    x.iter().zip(w).map(|(&v, &w)| w * error(v) * error(v)).sum()
}

/// A super-block without minima: a weight is `d * scale * q`, the code being `q + centre`.
pub(super) struct Symmetric {
    pub d: f32,
    pub scale: [i8; MAX_GROUPS],
    pub codes: [u8; SUPER],
}

/// Encodes groups of 16 weights as integers `-centre .. centre` with scales `-scale_end .. scale_end`.
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
fn fit_symmetric(x: &[f32; 16], w: &[f32; 16], centre: f32) -> f32 {
    let largest = x.iter().fold(0.0f32, |a, &v| if v.abs() > a.abs() { v } else { a });
    if largest == 0.0 {
        return 0.0;
    }
    let (mut best, mut best_gain) = (0.0, 0.0);
    for tenth in -TENTHS..=TENTHS {
        let per_unit = -(centre + 0.1 * tenth as f32) / largest;
        let (mut xq, mut qq) = (0.0f32, 0.0f32);
        for (&v, &w) in x.iter().zip(w) {
            let q = nearest(v * per_unit, -centre, centre - 1.0);
            xq += w * v * q;
            qq += w * q * q;
        }
        // Least squares leaves sum(w x^2) - xq^2 / qq.
        if xq * xq > best_gain * qq {
            (best, best_gain) = (xq / qq, xq * xq / qq);
        }
    }
    best
}

fn round_symmetric(x: &[f32; 16], w: &[f32; 16], d: f32, start: f32, centre: f32, scale_end: f32) -> f32 {
    let (mut best, mut best_error) = (0.0, f32::INFINITY);
    for i in -1..=1 {
        let scale = nearest(start + i as f32, -scale_end, scale_end - 1.0);
        let (step, per_unit) = (d * scale, inverse(d * scale));
        let miss = |v: f32| step * nearest(v * per_unit, -centre, centre - 1.0) - v;
        let error = x.iter().zip(w).map(|(&v, &w)| w * miss(v) * miss(v)).sum::<f32>();
        if error < best_error {
            (best, best_error) = (scale, error);
        }
    }
    best
}
