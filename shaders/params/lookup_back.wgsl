struct Params {
    width: u32, // columns of dw, columns of dx
    scale: f32, // as in the forward
    pad0: u32,
    pad1: u32,
}
