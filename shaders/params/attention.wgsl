struct Params {
    heads: u32,
    kv_heads: u32,
    head_dim: u32,
    ctx: u32,     // positions per slot of k and v, a ring
    scale: f32,   // of q.k
    softcap: f32, // 0 = off; else scores = softcap * tanh(scores / softcap)
    window: u32,  // 0 = off; else only the last `window` positions
    splits: u32,  // parts the context is cut into (decode); rows of `part` = rows * heads * splits
}
