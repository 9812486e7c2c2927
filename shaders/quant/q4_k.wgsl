// Q4_K: plane x has cols / 8 words of nibbles; plane y for each 32 weights a byte of scale and a byte of minimum; plane z a
// word for each 256: f16 d, f16 dmin.

alias Scale = vec2<f32>;
const SHARED: u32 = 4u; // eights that share a scale

fn w_scale(planes: vec4<u32>, cols: u32, row: u32, oct: u32) -> Scale {
    let d = w_f16_pair(w_word(planes.z, cols >> 8u, row, oct >> 5u));
    let both = w_word(planes.y, cols >> 6u, row, oct >> 3u) >> (((oct >> 2u) & 1u) * 16u);
    return d * vec2<f32>(f32(both & 255u), f32((both >> 8u) & 255u));
}

fn w_eight(planes: vec4<u32>, cols: u32, row: u32, oct: u32, scale: Scale) -> Oct {
    let q = w_nibbles(w_word(planes.x, cols >> 3u, row, oct));
    return Oct(scale.x * vec4<f32>(q[0]) - scale.y, scale.x * vec4<f32>(q[1]) - scale.y);
}

#import scaled
