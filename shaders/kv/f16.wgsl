// KV storage in half precision: four elements in two words. Core WGSL, no f16 feature.
alias KvWord = vec2<u32>;

fn kv_unpack(word: KvWord) -> vec4<f32> {
    return vec4<f32>(unpack2x16float(word.x), unpack2x16float(word.y));
}

fn kv_pack(x: vec4<f32>) -> KvWord {
    return KvWord(pack2x16float(x.xy), pack2x16float(x.zw));
}
