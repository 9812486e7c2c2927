struct Params {
    width: u32,      // kv_heads * head_dim
    ctx: u32,        // positions per slot, a ring
    has_tokens: u32, // the token table is copied too
    table: u32,      // positions per slot of the token table
}
