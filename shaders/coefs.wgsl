#candidate order=9 grid=1,1,1
#import params
#import step

// dy[o] = outs[o].coef
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(3) var<storage, read> outs: array<Out>;
@group(0) @binding(4) var<storage, read_write> dy: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x < p.width && id.y < active_rows(rows[0], OUTPUT_ROWS) {
        dy[id.y * p.width + id.x] = outs[id.y].coef;
    }
}
