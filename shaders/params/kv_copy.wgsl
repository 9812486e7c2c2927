struct Params {
    width: u32,      // kv_heads * head_dim
    ctx: u32,        // positions per slot
    has_tokens: u32, // the token table is copied too
    pad0: u32,
}
