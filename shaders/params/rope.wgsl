struct Params {
    heads: u32,
    head_dim: u32,
    rope_dim: u32,  // leading dimensions of each head that rotate
    neox: u32,      // 0: pairs (2i, 2i+1); 1: pairs (i, i + rope_dim/2)
    base: f32,
    scale: f32,     // position multiplier (1 / linear scaling factor)
    has_factors: u32, // divide frequency i by factors[i] (Llama 3 scaling)
    inverse: u32,     // 1: rotate back, which is the gradient
    magnitude: f32,   // sines and cosines are multiplied with it
    pad0: u32,
    // Fixed-point fractions of 64 bits, low word first: scale / 2 pi, and base^(-2 / rope_dim).
    turn: vec2<u32>,
    step: vec2<u32>,
}
