// Q8_0: plane x has cols / 4 words of signed bytes, plane y an f16 scale for each 32 weights, two in a word.

alias Scale = f32;
const SHARED: u32 = 4u; // eights that share a scale

fn w_scale(planes: vec4<u32>, cols: u32, row: u32, oct: u32) -> Scale {
    return w_f16_at(planes.y, cols >> 5u, row, oct >> 2u);
}

fn w_signed_bytes(word: u32) -> vec4<f32> {
    return vec4<f32>(bitcast<vec4<i32>>(vec4<u32>(word) << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u));
}

fn w_eight(planes: vec4<u32>, cols: u32, row: u32, oct: u32, scale: Scale) -> Oct {
    let units = cols >> 2u;
    return Oct(
        scale * w_signed_bytes(w_word(planes.x, units, row, oct * 2u)),
        scale * w_signed_bytes(w_word(planes.x, units, row, oct * 2u + 1u)),
    );
}

#import scaled
