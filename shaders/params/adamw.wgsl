struct Params {
    width: u32,  // elements
    decays: u32, // 1: weights decay; 0: they are norms or biases
    pad0: u32,
    pad1: u32,
}
