struct Params {
    width: u32,
    kind: u32, // 0: silu(gate) * up; 1: gelu_tanh(gate) * up
    count: u32,
    pad0: u32,
}
