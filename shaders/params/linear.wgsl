struct Params {
    planes: vec4<u32>, // word offsets of the weight's planes
    cols: u32,         // input width, columns of w
    out: u32,          // rows of w (of this shard)
    y_stride: u32,     // row length of y
    y_offset: u32,     // first column of y that this shard writes
    count: u32,        // which rows: 0 tokens, 1 outputs
    has_bias: u32,
    has_residual: u32,
    w_first: u32,      // row of w that is the first of these, a multiple of 32; `planes` begin there
}
