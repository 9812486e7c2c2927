// What logits are multiplied with for a softmax at a temperature. At 0 and below, which is greedy, the softmax is that at 1.
fn softmax_scale(temperature: f32) -> f32 {
    return select(1.0, 1.0 / max(temperature, 1e-30), temperature > 0.0);
}
