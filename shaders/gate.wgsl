#import params
#import step

// y = act(gate) * up, four elements a lane.
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(4) var<storage, read_write> gate: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> up: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> y: array<vec4<f32>>;

const GELU_TANH: u32 = 1u;
const ROOT_2_OVER_PI: f32 = 0.7978845608028654;

fn silu(x: vec4<f32>) -> vec4<f32> {
    return x / (1.0 + exp(-x));
}

// The argument is clamped: tanh is 1 there in f32, and some drivers overflow beyond.
fn gelu_tanh(x: vec4<f32>) -> vec4<f32> {
    let inner = ROOT_2_OVER_PI * (x + 0.044715 * x * x * x);
    return 0.5 * x * (1.0 + tanh(clamp(inner, vec4<f32>(-15.0), vec4<f32>(15.0))));
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let words = p.width / 4u;
    if id.x >= words || id.y >= active_rows(rows[0], p.count) {
        return;
    }
    let at = id.y * words + id.x;
    let g = gate[at];
    if p.kind == GELU_TANH {
        y[at] = gelu_tanh(g) * up[at];
    } else {
        y[at] = silu(g) * up[at];
    }
}
