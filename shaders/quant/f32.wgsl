// F32: one plane of cols words a row, padded to whole octs.

fn w_oct(planes: vec4<u32>, cols: u32, row: u32, oct: u32) -> Oct {
    let k = oct * 8u;
    let units = w_padded(cols);
    return Oct(
        bitcast<vec4<f32>>(vec4<u32>(
            w_word(planes.x, units, row, k), w_word(planes.x, units, row, k + 1u),
            w_word(planes.x, units, row, k + 2u), w_word(planes.x, units, row, k + 3u),
        )),
        bitcast<vec4<f32>>(vec4<u32>(
            w_word(planes.x, units, row, k + 4u), w_word(planes.x, units, row, k + 5u),
            w_word(planes.x, units, row, k + 6u), w_word(planes.x, units, row, k + 7u),
        )),
    );
}

#import unscaled
