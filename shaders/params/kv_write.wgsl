struct Params {
    width: u32, // kv_heads * head_dim
    ctx: u32,   // positions per slot, a ring
    pad0: u32,
    pad1: u32,
}
