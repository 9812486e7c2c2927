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

#import scaled
