// Q3_K: plane x has cols / 16 words of 2-bit codes, plane y a word of third bits for each 32 weights, plane z a signed byte
// of scale for each 16, plane w an f16 d for each 256, two in a word.

alias Scale = f32;
const SHARED: u32 = 2u; // eights that share a scale

fn w_scale(planes: vec4<u32>, cols: u32, row: u32, oct: u32) -> Scale {
    let d = w_f16_at(planes.w, cols >> 8u, row, oct >> 5u);
    return d * w_signed_byte(w_word(planes.z, cols >> 6u, row, oct >> 3u), (oct >> 1u) & 3u);
}

fn w_eight(planes: vec4<u32>, cols: u32, row: u32, oct: u32, scale: Scale) -> Oct {
    let q = w_pairs(w_word(planes.x, cols >> 4u, row, oct >> 1u) >> ((oct & 1u) * 16u));
    let h = w_bits(w_word(planes.y, cols >> 5u, row, oct >> 2u) >> ((oct & 3u) * 8u));
    let high = vec4<u32>(2u);
    return Oct(
        scale * (vec4<f32>(q[0] | (h[0] << high)) - 4.0),
        scale * (vec4<f32>(q[1] | (h[1] << high)) - 4.0),
    );
}

#import scaled
