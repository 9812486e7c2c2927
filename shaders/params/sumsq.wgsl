struct Params {
    width: u32, // elements of x
    row: u32,   // row of y that takes the partial sums
    pad0: u32,
    pad1: u32,
}
