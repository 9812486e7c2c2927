// Q2_K: plane x has cols / 16 words of 2-bit codes; plane y for each 16 weights a byte, scale low and minimum high; plane z
// a word for each 256 weights: f16 d, f16 dmin.

alias Scale = vec2<f32>;
const SHARED: u32 = 2u; // eights that share a scale

fn w_scale(planes: vec4<u32>, cols: u32, row: u32, oct: u32) -> Scale {
    let d = w_f16_pair(w_word(planes.z, cols >> 8u, row, oct >> 5u));
    let both = w_word(planes.y, cols >> 6u, row, oct >> 3u) >> (((oct >> 1u) & 3u) * 8u);
    return d * vec2<f32>(f32(both & 15u), f32((both >> 4u) & 15u));
}

fn w_eight(planes: vec4<u32>, cols: u32, row: u32, oct: u32, scale: Scale) -> Oct {
    let q = w_pairs(w_word(planes.x, cols >> 4u, row, oct >> 1u) >> ((oct & 1u) * 16u));
    return Oct(scale.x * vec4<f32>(q[0]) - scale.y, scale.x * vec4<f32>(q[1]) - scale.y);
}

#import scaled
