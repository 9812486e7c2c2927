// F16: one plane of cols / 2 words a row, padded to whole octs, two f16 in a word. Unpacked by the builtin, for speed:
// a driver that flushes f16 subnormals changes a weight by at most 6.1e-5, less than f16 itself rounds a weight of 0.125.

fn w_oct(planes: vec4<u32>, cols: u32, row: u32, oct: u32) -> Oct {
    let units = w_padded(cols) >> 1u;
    let k = oct * 4u;
    return Oct(
        vec4<f32>(
            unpack2x16float(w_word(planes.x, units, row, k)), unpack2x16float(w_word(planes.x, units, row, k + 1u)),
        ),
        vec4<f32>(
            unpack2x16float(w_word(planes.x, units, row, k + 2u)), unpack2x16float(w_word(planes.x, units, row, k + 3u)),
        ),
    );
}

#import unscaled
