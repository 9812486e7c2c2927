// Adds one slice of the products of rows of w with x * norm, and of the squares of x. `source`: first word of the row of x.
fn w_normed(planes: vec4<u32>, row: ptr<function, array<u32, 8>>, source: u32, slice: u32, acc: ptr<function, array<f32, 9>>) {
    let words = p.cols / 4u;
    // Up to two rows a lane: whole blocks of 32 columns, whose scales are unpacked once. More: eight columns at a time, for
    // which there are registers.
    let blocks = select(0u, p.cols / 32u, ROWS <= 2u);
    for (var block = slice; block < blocks; block += SLICES) {
        var values = array<vec4<f32>, 8>();
        var square = vec4<f32>(0.0);
        for (var i = 0u; i < 8u; i++) {
            let v = x[source + block * 8u + i];
            square += v * v;
            values[i] = v * norm[block * 8u + i];
        }
        (*acc)[SQUARES] += (square.x + square.y) + (square.z + square.w);
        for (var r = 0u; r < ROWS; r++) {
            var weights = w_block32(planes, p.cols, (*row)[r], block);
            var sum = vec4<f32>(0.0);
            for (var i = 0u; i < 8u; i++) {
                sum += weights[i] * values[i];
            }
            (*acc)[r] += (sum.x + sum.y) + (sum.z + sum.w);
        }
    }
    for (var oct = blocks * 4u + slice; oct * 2u < words; oct += SLICES) {
        // The last oct of a row may be a half, whose rest belongs to the next row of x.
        let whole = oct * 2u + 1u < words;
        let lo = x[source + oct * 2u];
        let hi = select(vec4<f32>(0.0), x[source + oct * 2u + 1u], whole);
        (*acc)[SQUARES] += dot(lo, lo) + dot(hi, hi);
        let x_lo = lo * norm[oct * 2u];
        let x_hi = hi * select(vec4<f32>(0.0), norm[oct * 2u + 1u], whole);
        for (var r = 0u; r < ROWS; r++) {
            let weights = w_oct(planes, p.cols, (*row)[r], oct);
            (*acc)[r] += dot(weights.lo, x_lo) + dot(weights.hi, x_hi);
        }
    }
}
