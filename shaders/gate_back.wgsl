#candidate order=9 grid=width/256,1,1
#import params
#import step
#import activation

// dgate = dy * up * act'(gate), dup = dy * act(gate), four elements a lane.
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(4) var<storage, read_write> gate: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> up: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> dy: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> dgate: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read_write> dup: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let words = p.width / 4u;
    if id.x >= words || id.y >= active_rows(rows[0], p.count) {
        return;
    }
    let at = id.y * words + id.x;
    let d = dy[at];
    if p.kind == GELU_TANH {
        let a = gelu_tanh(gate[at]);
        dgate[at] = d * up[at] * a.slope;
        dup[at] = d * a.value;
    } else {
        let a = silu(gate[at]);
        dgate[at] = d * up[at] * a.slope;
        dup[at] = d * a.value;
    }
}
