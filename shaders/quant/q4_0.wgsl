// Q4_0: plane x has cols / 8 words of nibbles, plane y an f16 scale for each 32 weights, two in a word.

alias Scale = f32;
const SHARED: u32 = 4u; // eights that share a scale

fn w_scale(planes: vec4<u32>, cols: u32, row: u32, oct: u32) -> Scale {
    return w_f16_at(planes.y, cols >> 5u, row, oct >> 2u);
}

fn w_eight(planes: vec4<u32>, cols: u32, row: u32, oct: u32, scale: Scale) -> Oct {
    let q = w_nibbles(w_word(planes.x, cols >> 3u, row, oct));
    return Oct(scale * (vec4<f32>(q[0]) - 8.0), scale * (vec4<f32>(q[1]) - 8.0));
}

#import scaled
