// Formats that stand side by side in one layer's q, k and v, by the stems of their shaders: files with mixed formats store v
// with more bits. For these there are kernels that meet both in one product; of the K-quants as llama.cpp mixes them, and of
// what it takes in their place where rows are no multiple of 256.
pairs! {
    "q2_k" and "q3_k";
    "q2_k" and "q4_k";
    "q3_k" and "q4_k";
    "q3_k" and "q5_k";
    "q4_k" and "q5_k";
    "q4_k" and "q6_k";
    "q5_k" and "q6_k";
    "iq4_nl" and "q5_0";
    "iq4_nl" and "q5_1";
    "q5_0" and "q5_1";
    "q5_0" and "q8_0";
    "q5_1" and "q8_0";
}
