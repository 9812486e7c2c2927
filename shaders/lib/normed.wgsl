// Products of a row of x, normed as it is read: x * norm is met by the weights, and its scale, which the sum of squares
// gives, is a factor of the whole sum. A lane has ROWS rows of w; SLICES parts of a workgroup take turns along the
// columns. Imported after `params`, by shaders that bind `x` and `norm`.
override ROWS: u32 = 1u;   // at most 8; of several slices 2
override SLICES: u32 = 8u; // at most 8
override LANES: u32 = 32u * SLICES;

const SQUARES: u32 = 8u; // where a lane's sums have that of squares

var<workgroup> sums: array<f32, 768>; // (row or squares, lane)

// Turns the sums of each slice into the whole ones, in the first slice. All lanes must call.
fn join(index: u32, acc: ptr<function, array<f32, 9>>) {
    if SLICES == 1u {
        return;
    }
    for (var r = 0u; r < ROWS; r++) {
        sums[r * LANES + index] = (*acc)[r];
    }
    sums[ROWS * LANES + index] = (*acc)[SQUARES];
    workgroupBarrier();
    if index < 32u {
        for (var s = 1u; s < SLICES; s++) {
            for (var r = 0u; r < ROWS; r++) {
                (*acc)[r] += sums[r * LANES + s * 32u + index];
            }
            (*acc)[SQUARES] += sums[ROWS * LANES + s * 32u + index];
        }
    }
}

// What a row of x is multiplied with, of its sum of squares.
fn norm_scale(squares: f32) -> f32 {
    return inverseSqrt(squares / f32(p.cols) + p.eps);
}
