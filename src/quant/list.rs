// All weight formats, in this order: variant, name as GGUF tools print it, stem of its shader, tensor type number in a GGUF file,
// and the type that describes it. The enum, both tables and the build's set of shaders follow from this list: a format is added
// here, by its description (see `codec.rs`) and by its shader in `shaders/quant`.
formats! {
    /// 32-bit floats.
    F32 = "F32", "f32", 0, float, float::Single;
    /// IEEE half floats.
    F16 = "F16", "f16", 1, float, float::Half;
    /// bfloat16.
    BF16 = "BF16", "bf16", 30, float, float::Brain;
    /// 32 weights: f16 scale, 4-bit codes around 8.
    Q4_0 = "Q4_0", "q4_0", 2, block, legacy::Q4_0;
    /// 32 weights: f16 scale and minimum, 4-bit codes.
    Q4_1 = "Q4_1", "q4_1", 3, block, legacy::Q4_1;
    /// 32 weights: f16 scale, 5-bit codes around 16.
    Q5_0 = "Q5_0", "q5_0", 6, block, legacy::Q5_0;
    /// 32 weights: f16 scale and minimum, 5-bit codes.
    Q5_1 = "Q5_1", "q5_1", 7, block, legacy::Q5_1;
    /// 32 weights: f16 scale, signed bytes.
    Q8_0 = "Q8_0", "q8_0", 8, block, legacy::Q8_0;
    /// 256 weights in groups of 16: 4-bit scales and minima, 2-bit codes.
    Q2K = "Q2_K", "q2_k", 10, block, k_affine::Q2K;
    /// 256 weights in groups of 16: 6-bit scales, 3-bit codes around 4.
    Q3K = "Q3_K", "q3_k", 11, block, k_symmetric::Q3K;
    /// 256 weights in groups of 32: 6-bit scales and minima, 4-bit codes.
    Q4K = "Q4_K", "q4_k", 12, block, k_affine::Q4K;
    /// 256 weights in groups of 32: 6-bit scales and minima, 5-bit codes.
    Q5K = "Q5_K", "q5_k", 13, block, k_affine::Q5K;
    /// 256 weights in groups of 16: 8-bit scales, 6-bit codes around 32.
    Q6K = "Q6_K", "q6_k", 14, block, k_symmetric::Q6K;
    /// 32 weights: f16 scale, 4-bit indices into a fixed non-linear table.
    Iq4Nl = "IQ4_NL", "iq4_nl", 20, block, iq4_nl::Iq4Nl;
}
