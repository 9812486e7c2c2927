struct Params {
    width: u32,      // elements normalised together
    groups: u32,     // groups per row
    count: u32,      // which rows: 0 tokens, 1 outputs
    eps: f32,
    accumulate: u32, // add to dx instead of overwriting it
    pad0: u32,
    pad1: u32,
    pad2: u32,
}
