// What follows for a format from its scales (`w_scale`, which `SHARED` eights have in common: 2 or 4) and its eight weights (`w_eight`).

fn w_oct(planes: vec4<u32>, cols: u32, row: u32, oct: u32) -> Oct {
    return w_eight(planes, cols, row, oct, w_scale(planes, cols, row, oct));
}

fn w_block32(planes: vec4<u32>, cols: u32, row: u32, block: u32) -> array<vec4<f32>, 8> {
    let s = w_scale(planes, cols, row, block * 4u);
    var t = s;
    if SHARED == 2u {
        t = w_scale(planes, cols, row, block * 4u + 2u);
    }
    let a = w_eight(planes, cols, row, block * 4u, s);
    let b = w_eight(planes, cols, row, block * 4u + 1u, s);
    let c = w_eight(planes, cols, row, block * 4u + 2u, t);
    let d = w_eight(planes, cols, row, block * 4u + 3u, t);
    return array<vec4<f32>, 8>(a.lo, a.hi, b.lo, b.hi, c.lo, c.hi, d.lo, d.hi);
}
