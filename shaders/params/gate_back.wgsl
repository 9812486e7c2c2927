struct Params {
    width: u32,
    kind: u32, // 0: silu(gate) * up; 1: gelu_tanh(gate) * up
    count: u32,        // which rows: 0 tokens, 1 outputs
    pad0: u32,
}
