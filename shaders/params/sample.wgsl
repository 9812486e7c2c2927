struct Params {
    vocab: u32,
    ctx: u32, // positions per slot in the token table
    pad0: u32,
    pad1: u32,
    // Tokens that end the repetitions that DRY looks for: ranges of (first, count), two a vector.
    breakers0: vec4<u32>,
    breakers1: vec4<u32>,
    breakers2: vec4<u32>,
}
