// BF16: one plane of cols / 2 words a row, padded to whole octs, two bf16 in a word.

fn w_brains(first: u32, second: u32) -> vec4<f32> {
    return bitcast<vec4<f32>>(vec4<u32>(first << 16u, first & 0xffff0000u, second << 16u, second & 0xffff0000u));
}

fn w_oct(planes: vec4<u32>, cols: u32, row: u32, oct: u32) -> Oct {
    let units = w_padded(cols) >> 1u;
    let k = oct * 4u;
    return Oct(
        w_brains(w_word(planes.x, units, row, k), w_word(planes.x, units, row, k + 1u)),
        w_brains(w_word(planes.x, units, row, k + 2u), w_word(planes.x, units, row, k + 3u)),
    );
}

#import unscaled
