struct Params {
    planes: vec4<u32>, // word offsets of the weight's planes
    width: u32,        // columns of w, columns of x
    row_first: u32,    // first vocabulary row held by w
    row_count: u32,    // vocabulary rows held by w
    ctx: u32,          // positions per slot in the token table; 0: there is none
    scale: f32,        // 1, or sqrt(width) where the architecture asks for it
    pad0: u32,
    pad1: u32,
    pad2: u32,
}
