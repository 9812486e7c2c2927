struct Params {
    planes: vec4<u32>, // word offsets of the weight's planes
    cols: u32,         // columns of w, width of dx
    out: u32,          // rows of w (of this shard)
    dy_stride: u32,    // row length of dy
    dy_offset: u32,    // first column of dy that belongs to this shard
    count: u32,        // which rows: 0 tokens, 1 outputs
    accumulate: u32,   // add to dx instead of overwriting it
    pad0: u32,
    pad1: u32,
}
