// Activations of gated layers and their slopes: kind 0 silu, kind 1 gelu (tanh form).
const GELU_TANH: u32 = 1u;
const ROOT_2_OVER_PI: f32 = 0.7978845608028654;

struct Activation {
    value: vec4<f32>,
    slope: vec4<f32>,
}

fn silu(x: vec4<f32>) -> Activation {
    let gate = 1.0 / (1.0 + exp(-x));
    return Activation(x * gate, gate * (1.0 + x * (1.0 - gate)));
}

// The argument is clamped: tanh is 1 there in f32, and some drivers overflow beyond.
fn gelu_tanh(x: vec4<f32>) -> Activation {
    let inner = ROOT_2_OVER_PI * (x + 0.044715 * x * x * x);
    let bent = tanh(clamp(inner, vec4<f32>(-15.0), vec4<f32>(15.0)));
    let slope = ROOT_2_OVER_PI * (1.0 + 3.0 * 0.044715 * x * x);
    return Activation(0.5 * x * (1.0 + bent), 0.5 * (1.0 + bent) + 0.5 * x * (1.0 - bent * bent) * slope);
}
