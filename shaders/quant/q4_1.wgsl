// Q4_1: plane x has cols / 8 words of nibbles, plane y a word for each 32 weights: f16 scale, f16 minimum.

alias Scale = vec2<f32>;
const SHARED: u32 = 4u; // eights that share a scale

fn w_scale(planes: vec4<u32>, cols: u32, row: u32, oct: u32) -> Scale {
    return w_f16_pair(w_word(planes.y, cols >> 5u, row, oct >> 2u));
}

fn w_eight(planes: vec4<u32>, cols: u32, row: u32, oct: u32, scale: Scale) -> Oct {
    let q = w_nibbles(w_word(planes.x, cols >> 3u, row, oct));
    return Oct(scale.x * vec4<f32>(q[0]) + scale.y, scale.x * vec4<f32>(q[1]) + scale.y);
}

fn w_oct(planes: vec4<u32>, cols: u32, row: u32, oct: u32) -> Oct {
    return w_eight(planes, cols, row, oct, w_scale(planes, cols, row, oct));
}

fn w_block32(planes: vec4<u32>, cols: u32, row: u32, block: u32) -> array<vec4<f32>, 8> {
    let s = w_scale(planes, cols, row, block * 4u);
    let a = w_eight(planes, cols, row, block * 4u, s);
    let b = w_eight(planes, cols, row, block * 4u + 1u, s);
    let c = w_eight(planes, cols, row, block * 4u + 2u, s);
    let d = w_eight(planes, cols, row, block * 4u + 3u, s);
    return array<vec4<f32>, 8>(a.lo, a.hi, b.lo, b.hi, c.lo, c.hi, d.lo, d.hi);
}
