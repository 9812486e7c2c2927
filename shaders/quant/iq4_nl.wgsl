// IQ4_NL: plane x has cols / 8 words of nibbles, indices into a table of sixteen bytes; plane y an f16 scale for each 32
// weights, two in a word.

// The table (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113) as signed bytes, four in a word:
// selected with arithmetic, since an indexed constant array may end up in slow private memory.
fn w_nonlinear(codes: vec4<u32>) -> vec4<f32> {
    let low = select(vec4<u32>(0xbfad9881u), vec4<u32>(0xf6eaddcfu), (codes & vec4<u32>(4u)) != vec4<u32>(0u));
    let high = select(vec4<u32>(0x26190d01u), vec4<u32>(0x71594535u), (codes & vec4<u32>(4u)) != vec4<u32>(0u));
    let word = select(low, high, codes >= vec4<u32>(8u));
    let up = vec4<u32>(24u) - (codes & vec4<u32>(3u)) * 8u;
    return vec4<f32>(bitcast<vec4<i32>>(word << up) >> vec4<u32>(24u));
}

alias Scale = f32;
const SHARED: u32 = 4u; // eights that share a scale

fn w_scale(planes: vec4<u32>, cols: u32, row: u32, oct: u32) -> Scale {
    return w_f16_at(planes.y, cols >> 5u, row, oct >> 2u);
}

fn w_eight(planes: vec4<u32>, cols: u32, row: u32, oct: u32, scale: Scale) -> Oct {
    let q = w_nibbles(w_word(planes.x, cols >> 3u, row, oct));
    return Oct(scale * w_nonlinear(q[0]), scale * w_nonlinear(q[1]));
}

#import scaled
