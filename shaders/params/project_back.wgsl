struct Params {
    cols: u32,       // columns of w, width of dx
    out: u32,        // rows of w
    dy_stride: u32,  // row length of dy
    dy_offset: u32,  // first column of dy that belongs to w
    count: u32,      // which rows: 0 tokens, 1 outputs
    accumulate: u32, // add to dx instead of overwriting it
    alpha: f32,      // factor of the product
    pad0: u32,
}
