struct Params {
    width: u32,
    cap: f32,
    pad0: u32,
    pad1: u32,
}
