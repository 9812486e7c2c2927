// Q5_0: plane x has cols / 8 words of nibbles, plane y a word of fifth bits and plane z an f16 scale for each 32 weights,
// two scales in a word.

alias Scale = f32;
const SHARED: u32 = 4u; // eights that share a scale

fn w_scale(planes: vec4<u32>, cols: u32, row: u32, oct: u32) -> Scale {
    return w_f16_at(planes.z, cols >> 5u, row, oct >> 2u);
}

fn w_eight(planes: vec4<u32>, cols: u32, row: u32, oct: u32, scale: Scale) -> Oct {
    let q = w_nibbles(w_word(planes.x, cols >> 3u, row, oct));
    let h = w_bits(w_word(planes.y, cols >> 5u, row, oct >> 2u) >> ((oct & 3u) * 8u));
    let high = vec4<u32>(4u);
    return Oct(
        scale * (vec4<f32>(q[0] | (h[0] << high)) - 16.0),
        scale * (vec4<f32>(q[1] | (h[1] << high)) - 16.0),
    );
}

#import scaled
