// Q5_K: plane x has cols / 8 words of nibbles, plane y a word of fifth bits for each 32 weights; plane z for each 32 a byte
// of scale and a byte of minimum; plane w a word for each 256: f16 d, f16 dmin.

alias Scale = vec2<f32>;
const SHARED: u32 = 4u; // eights that share a scale

fn w_scale(planes: vec4<u32>, cols: u32, row: u32, oct: u32) -> Scale {
    let d = w_f16_pair(w_word(planes.w, cols >> 8u, row, oct >> 5u));
    let both = w_word(planes.z, cols >> 6u, row, oct >> 3u) >> (((oct >> 2u) & 1u) * 16u);
    return d * vec2<f32>(f32(both & 255u), f32((both >> 8u) & 255u));
}

fn w_eight(planes: vec4<u32>, cols: u32, row: u32, oct: u32, scale: Scale) -> Oct {
    let q = w_nibbles(w_word(planes.x, cols >> 3u, row, oct));
    let h = w_bits(w_word(planes.y, cols >> 5u, row, oct >> 2u) >> ((oct & 3u) * 8u));
    let high = vec4<u32>(4u);
    return Oct(
        scale.x * vec4<f32>(q[0] | (h[0] << high)) - scale.y,
        scale.x * vec4<f32>(q[1] | (h[1] << high)) - scale.y,
    );
}

#import scaled
