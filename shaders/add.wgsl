#candidate order=9 grid=width/256,1,1
#import params
#import step

// y = x (+ residual), four elements a lane.
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(4) var<storage, read_write> x: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> residual: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let words = p.width / 4u;
    if id.x >= words || id.y >= active_rows(rows[0], TOKEN_ROWS) {
        return;
    }
    let at = id.y * words + id.x;
    var value = x[at];
    if p.has_residual != 0u {
        value += residual[at];
    }
    y[at] = value;
}
