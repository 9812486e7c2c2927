struct Params {
    heads: u32,
    kv_heads: u32,
    head_dim: u32,
    window: u32,  // 0 = off; else only the last `window` positions
    scale: f32,   // of q.k
    softcap: f32, // 0 = off; else scores = softcap * tanh(scores / softcap)
    pad0: u32,
    pad1: u32,
}
