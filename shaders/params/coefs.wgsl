struct Params {
    width: u32, // elements of an output row that get its coefficient
    pad0: u32,
    pad1: u32,
    pad2: u32,
}
