struct Params {
    vocab: u32,
    ctx: u32, // positions per slot in the token table
    pad0: u32,
    pad1: u32,
}
