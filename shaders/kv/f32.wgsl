// KV storage in single precision.
alias KvWord = vec4<f32>;

fn kv_unpack(word: KvWord) -> vec4<f32> {
    return word;
}

fn kv_pack(x: vec4<f32>) -> KvWord {
    return x;
}
