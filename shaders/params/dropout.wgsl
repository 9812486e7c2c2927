struct Params {
    width: u32,
    threshold: u32,  // dropped where the hash is below: rate * 2^32
    scale: f32,      // 1 / (1 - rate)
    id: u32,         // tells one use from another
    accumulate: u32, // add to y instead of overwriting it
    pad0: u32,
    pad1: u32,
    pad2: u32,
}
