struct Params {
    width: u32, // elements
    pad0: u32,
    pad1: u32,
    pad2: u32,
}
