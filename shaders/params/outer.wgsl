struct Params {
    cols: u32,      // width of x, columns of dw
    out: u32,       // rows of dw
    dy_stride: u32, // row length of dy
    dy_offset: u32, // first column of dy that belongs to dw
    count: u32,     // which rows: 0 tokens, 1 outputs
    alpha: f32,     // factor of the product
    pad0: u32,
    pad1: u32,
}
