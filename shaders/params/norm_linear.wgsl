struct Params {
    planes: vec4<u32>, // word offsets of the weight's planes
    planes2: vec4<u32>, // of the second weight's
    cols: u32,         // input width, columns of w and w2
    out: u32,          // rows of w
    out2: u32,         // rows of w2, at most as many, which follow in y; 0 without it
    y_stride: u32,     // row length of y
    y_offset: u32,     // first column of y that is written
    count: u32,        // which rows: 0 tokens, 1 outputs
    has_bias: u32,
    eps: f32,          // of the norm
}
