// Products of a few rows of x, normed as they are read: x * norm is met by the weights, and its scale, which the sum of squares
// gives, is a factor of the whole sum. By lanes as in `linear`: each has ROWS rows of w and TOKENS rows of x that all lanes read
// alike; SLICES parts of a workgroup take turns along the columns. Imported after `params`, by shaders that bind `x` and `norm`.
override ROWS: u32 = 1u;   // at most 8
override TOKENS: u32 = 1u; // at most 8
override SLICES: u32 = 8u; // at most 8
override LANES: u32 = 32u * SLICES;

var<workgroup> sums: array<f32, 256>;

// The sum over all slices, in the first.
fn joined(index: u32, own: f32) -> f32 {
    if SLICES == 1u {
        return own;
    }
    var sum = own;
    sums[index] = sum;
    workgroupBarrier();
    if index < 32u {
        for (var s = 1u; s < SLICES; s++) {
            sum += sums[s * 32u + index];
        }
    }
    workgroupBarrier();
    return sum;
}

// What a row of x is divided by, of its sum of squares.
fn norm_scale(squares: f32) -> f32 {
    return inverseSqrt(squares / f32(p.cols) + p.eps);
}
