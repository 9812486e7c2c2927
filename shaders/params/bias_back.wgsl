struct Params {
    width: u32,     // of db
    dy_stride: u32, // row length of dy
    dy_offset: u32, // first column of dy that belongs to db
    count: u32,     // which rows: 0 tokens, 1 outputs
}
