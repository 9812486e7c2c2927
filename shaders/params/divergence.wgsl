struct Params {
    vocab: u32,
    pad0: u32,
    pad1: u32,
    pad2: u32,
}
