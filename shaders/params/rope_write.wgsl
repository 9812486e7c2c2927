struct Params {
    heads: u32,
    kv_heads: u32,
    head_dim: u32,
    rope_dim: u32,  // leading dimensions of each head that rotate
    neox: u32,      // 0: pairs (2i, 2i+1); 1: pairs (i, i + rope_dim/2)
    ctx: u32,       // positions per slot of the cache, a ring
    has_factors: u32, // divide frequency i by factors[i] (Llama 3 scaling)
    has_norms: u32,   // RMS norm of each head of q and k first
    base: f32,
    scale: f32,     // position multiplier (1 / linear scaling factor)
    magnitude: f32, // sines and cosines are multiplied with it
    eps: f32,       // of the norms
    // Fixed-point fractions of 64 bits, low word first: scale / 2 pi, and base^(-2 / rope_dim).
    turn: vec2<u32>,
    step: vec2<u32>,
}
