struct Params {
    width: u32,  // elements normalised together
    groups: u32, // groups per row: 1, or the heads for q/k norm
    count: u32,  // which rows: 0 tokens, 1 outputs
    eps: f32,
    has_residual: u32,
    pad0: u32,
    pad1: u32,
    pad2: u32,
}
