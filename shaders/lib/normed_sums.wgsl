// Adds the products of rows of w with rows of x * norm, and the squares of x, of one slice. `source`: first words of the rows of x.
fn w_normed(
    planes: vec4<u32>,
    row: array<u32, 8>,
    source: array<u32, 8>,
    slice: u32,
    acc: ptr<function, array<f32, 64>>,
    squares: ptr<function, array<f32, 8>>,
) {
    let words = p.cols / 4u;
    var own_row = row;
    var own_source = source;
    // One row a lane: whole blocks of 32 columns, whose scales are unpacked once. Several: eight columns at a time, for
    // which there are registers.
    let blocks = select(0u, p.cols / 32u, ROWS == 1u);
    for (var block = slice; block < blocks; block += SLICES) {
        var weights = w_block32(planes, p.cols, own_row[0], block);
        for (var t = 0u; t < TOKENS; t++) {
            var sum = vec4<f32>(0.0);
            var square = vec4<f32>(0.0);
            for (var i = 0u; i < 8u; i++) {
                let v = x[own_source[t] + block * 8u + i];
                square += v * v;
                sum += weights[i] * (v * norm[block * 8u + i]);
            }
            (*acc)[t * 8u] += (sum.x + sum.y) + (sum.z + sum.w);
            (*squares)[t] += (square.x + square.y) + (square.z + square.w);
        }
    }
    for (var oct = blocks * 4u + slice; oct * 2u < words; oct += SLICES) {
        var weights = array<Oct, 8>();
        for (var r = 0u; r < ROWS; r++) {
            weights[r] = w_oct(planes, p.cols, own_row[r], oct);
        }
        // The last oct of a row may be a half, whose rest belongs to the next row of x.
        let whole = oct * 2u + 1u < words;
        let n_lo = norm[oct * 2u];
        let n_hi = select(vec4<f32>(0.0), norm[oct * 2u + 1u], whole);
        for (var t = 0u; t < TOKENS; t++) {
            let lo = x[own_source[t] + oct * 2u];
            let hi = select(vec4<f32>(0.0), x[own_source[t] + oct * 2u + 1u], whole);
            (*squares)[t] += dot(lo, lo) + dot(hi, hi);
            let x_lo = lo * n_lo;
            let x_hi = hi * n_hi;
            for (var r = 0u; r < ROWS; r++) {
                (*acc)[t * 8u + r] += dot(weights[r].lo, x_lo) + dot(weights[r].hi, x_hi);
            }
        }
    }
}
