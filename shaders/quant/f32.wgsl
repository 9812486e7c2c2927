// F32: one plane of cols words a row.

fn w_oct(planes: vec4<u32>, cols: u32, row: u32, oct: u32) -> Oct {
    let k = oct * 8u;
    return Oct(
        bitcast<vec4<f32>>(vec4<u32>(
            w_word(planes.x, cols, row, k), w_word(planes.x, cols, row, k + 1u),
            w_word(planes.x, cols, row, k + 2u), w_word(planes.x, cols, row, k + 3u),
        )),
        bitcast<vec4<f32>>(vec4<u32>(
            w_word(planes.x, cols, row, k + 4u), w_word(planes.x, cols, row, k + 5u),
            w_word(planes.x, cols, row, k + 6u), w_word(planes.x, cols, row, k + 7u),
        )),
    );
}

alias Scale = f32; // none
const SHARED: u32 = 4u;

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
