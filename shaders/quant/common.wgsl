// Shared by the weight formats. The op that includes a format declares `w: array<u32>`, the weights on the device.
//
// A weight tensor is up to four planes of words, interleaved by groups of 32 rows: word k of row r of a plane with
// `units` words a row lies at plane + ((r / 32) * units + k) * 32 + r % 32. One lane per row reads whole cache lines.

// Eight consecutive weights of a row.
struct Oct {
    lo: vec4<f32>,
    hi: vec4<f32>,
}

// Columns of a row of floats with the zeros that fill its last oct; blocks need none.
fn w_padded(cols: u32) -> u32 {
    return (cols + 7u) & 0xfffffff8u;
}

const w_nibble_shifts = vec4<u32>(0u, 4u, 8u, 12u);
const w_pair_shifts = vec4<u32>(0u, 2u, 4u, 6u);
const w_bit_shifts = vec4<u32>(0u, 1u, 2u, 3u);

fn w_word(plane: u32, units: u32, row: u32, k: u32) -> u32 {
    return w[plane + ((row >> 5u) * units + k) * 32u + (row & 31u)];
}

// The f16 in the low half of `bits`. In integers, because drivers may flush f16 subnormals, which scales often are.
fn w_f16(bits: u32) -> f32 {
    let magnitude = bits & 0x7fffu;
    let normal = (magnitude << 13u) + 0x38000000u;
    let subnormal = bitcast<u32>(f32(magnitude) * 5.9604644775390625e-8);
    let special = (magnitude << 13u) | 0x7f800000u;
    let finite = select(normal, subnormal, magnitude < 0x0400u);
    return bitcast<f32>(select(special, finite, magnitude < 0x7c00u) | ((bits & 0x8000u) << 16u));
}

// Both f16 of a word, low half first.
fn w_f16_pair(word: u32) -> vec2<f32> {
    return vec2<f32>(w_f16(word), w_f16(word >> 16u));
}

// The f16 at `index` of a plane that packs two in a word; `count` of them a row.
fn w_f16_at(plane: u32, count: u32, row: u32, index: u32) -> f32 {
    return w_f16(w_word(plane, (count + 1u) >> 1u, row, index >> 1u) >> ((index & 1u) * 16u));
}

// The signed byte `index` (0 to 3) of a word.
fn w_signed_byte(word: u32, index: u32) -> f32 {
    return f32(bitcast<i32>(word << (24u - index * 8u)) >> 24u);
}

// Eight 4-bit codes.
fn w_nibbles(word: u32) -> array<vec4<u32>, 2> {
    let mask = vec4<u32>(15u);
    return array<vec4<u32>, 2>((vec4<u32>(word) >> w_nibble_shifts) & mask, (vec4<u32>(word >> 16u) >> w_nibble_shifts) & mask);
}

// Eight 2-bit codes from the low half of a word.
fn w_pairs(word: u32) -> array<vec4<u32>, 2> {
    let mask = vec4<u32>(3u);
    return array<vec4<u32>, 2>((vec4<u32>(word) >> w_pair_shifts) & mask, (vec4<u32>(word >> 8u) >> w_pair_shifts) & mask);
}

// Eight 1-bit codes from the low byte of a word.
fn w_bits(word: u32) -> array<vec4<u32>, 2> {
    let mask = vec4<u32>(1u);
    return array<vec4<u32>, 2>((vec4<u32>(word) >> w_bit_shifts) & mask, (vec4<u32>(word >> 4u) >> w_bit_shifts) & mask);
}
