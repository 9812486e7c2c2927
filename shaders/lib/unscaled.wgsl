// The rest of a weight format that has no scales, from its `w_oct`.
alias Scale = f32;
const SHARED: u32 = 4u; // eights that share a scale

fn w_scale(planes: vec4<u32>, cols: u32, row: u32, oct: u32) -> Scale {
    return 1.0;
}

fn w_eight(planes: vec4<u32>, cols: u32, row: u32, oct: u32, scale: Scale) -> Oct {
    return w_oct(planes, cols, row, oct);
}

fn w_block32(planes: vec4<u32>, cols: u32, row: u32, block: u32) -> array<vec4<f32>, 8> {
    let a = w_oct(planes, cols, row, block * 4u);
    let b = w_oct(planes, cols, row, block * 4u + 1u);
    let c = w_oct(planes, cols, row, block * 4u + 2u);
    let d = w_oct(planes, cols, row, block * 4u + 3u);
    return array<vec4<f32>, 8>(a.lo, a.hi, b.lo, b.hi, c.lo, c.hi, d.lo, d.hi);
}
