// F16: one plane of cols / 2 words a row, two f16 in a word. Unpacked by the builtin, for speed: a driver that flushes
// f16 subnormals changes a weight by at most 6.1e-5, less than f16 itself rounds a weight of 0.125.

fn w_oct(planes: vec4<u32>, cols: u32, row: u32, oct: u32) -> Oct {
    let units = cols >> 1u;
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

alias Scale = f32; // none
const SHARED: u32 = 4u;

fn w_scale(planes: vec4<u32>, cols: u32, row: u32, oct: u32) -> Scale {
    return 1.0;
}

fn w_eight(planes: vec4<u32>, cols: u32, row: u32, oct: u32, scale: Scale) -> Oct {
    return w_oct(planes, cols, row, oct);
}

fn w_block32(planes: vec4<u32>, cols: u32, row: u32, block: u32) -> array<vec4<f32>, 8> {
    let a = w_oct(planes, cols, row, block * 4u);
    let b = w_oct(planes, cols, row, block * 4u + 1u);
    let c = w_oct(planes, cols, row, block * 4u + 2u);
    let d = w_oct(planes, cols, row, block * 4u + 3u);
    return array<vec4<f32>, 8>(a.lo, a.hi, b.lo, b.hi, c.lo, c.hi, d.lo, d.hi);
}
