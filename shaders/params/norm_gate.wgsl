struct Params {
    planes: vec4<u32>, // word offsets of the weight's planes
    cols: u32,         // input width, columns of w
    out: u32,          // rows of the gate, a multiple of 32, and of up, which follow
    kind: u32,         // 0: silu(gate) * up; 1: gelu_tanh(gate) * up
    count: u32,        // which rows: 0 tokens, 1 outputs
    eps: f32,          // of the norm
    pad0: u32,
    pad1: u32,
    pad2: u32,
}
