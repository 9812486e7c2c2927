struct Params {
    width: u32,
    has_residual: u32,
    pad0: u32,
    pad1: u32,
}
