struct Params {
    cols: u32,       // input width, columns of w
    out: u32,        // rows of w
    y_stride: u32,   // row length of y
    y_offset: u32,   // first column of y that is written
    count: u32,      // which rows: 0 tokens, 1 outputs
    accumulate: u32, // add to y instead of overwriting it
    alpha: f32,      // factor of the product
    has_bias: u32,
    has_residual: u32,
    pad0: u32,
    pad1: u32,
    pad2: u32,
}
