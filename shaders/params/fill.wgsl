struct Params {
    width: u32,
    count: u32, // which rows: 0 tokens, 1 outputs, 2 the one row of a fixed tensor
    value: f32,
    pad0: u32,
}
