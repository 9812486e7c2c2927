// KV storage in 16 bits a value: blocks of four with a shared exponent, a block in two words (src/ops/block16.rs says
// how). Integers and multiplications by powers of two only, so that every device stores the same words.
alias KvWord = vec2<u32>;

fn kv_unpack(word: KvWord) -> vec4<f32> {
    let bits = word & vec2<u32>(0x00030003u);
    let pairs = (bits | (bits >> vec2<u32>(14u))) & vec2<u32>(15u);
    let step = bitcast<f32>((pairs.x | (pairs.y << 4u)) << 23u);
    let high = vec4<u32>(word.x << 16u, word.x, word.y << 16u, word.y) & vec4<u32>(0xfffc0000u);
    return vec4<f32>(bitcast<vec4<i32>>(high)) * step;
}

fn kv_pack(x: vec4<f32>) -> KvWord {
    let sizes = bitcast<vec4<u32>>(x) & vec4<u32>(0x7fffffffu);
    let exponent = max(max(sizes.x, sizes.y), max(sizes.z, sizes.w)) >> 23u;
    if exponent == 255u {
        return KvWord(0x00030003u);
    }
    let step = max(exponent, 31u) - 30u;
    let mantissas = clamp(round(x * bitcast<f32>((236u - step) << 23u)), vec4<f32>(-8191.0), vec4<f32>(8191.0));
    let exponents = (vec4<u32>(step) >> vec4<u32>(0u, 2u, 4u, 6u)) & vec4<u32>(3u);
    let lanes = ((bitcast<vec4<u32>>(vec4<i32>(mantissas)) << vec4<u32>(2u)) & vec4<u32>(0xfffcu)) | exponents;
    return KvWord(lanes.x | (lanes.y << 16u), lanes.z | (lanes.w << 16u));
}
