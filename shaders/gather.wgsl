#candidate order=9 grid=width/256,1,1
#import params
#import step

// y[o] = x[outs[o].row], four elements a lane.
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(3) var<storage, read> outs: array<Out>;
@group(0) @binding(4) var<storage, read_write> x: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let words = p.width / 4u;
    if id.x >= words || id.y >= active_rows(rows[0], OUTPUT_ROWS) {
        return;
    }
    y[id.y * words + id.x] = x[outs[id.y].row * words + id.x];
}
