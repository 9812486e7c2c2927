struct Params {
    width: u32, // columns of w, columns of x
    scale: f32, // 1, or sqrt(width) where the architecture asks for it
    ctx: u32,   // positions per slot in the token table; 0: there is none
    pad0: u32,
}
