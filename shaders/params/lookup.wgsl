struct Params {
    width: u32, // columns of w, columns of x
    scale: f32, // 1, or sqrt(width) where the architecture asks for it
    pad0: u32,
    pad1: u32,
}
