#candidate order=9 grid=width/64,1,1
#import params
#import step

// dx[outs[o].row] += dy[o]: a lane owns a column and takes the outputs in their order.
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(3) var<storage, read> outs: array<Out>;
@group(0) @binding(4) var<storage, read_write> dy: array<f32>;
@group(0) @binding(5) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= p.width {
        return;
    }
    let count = active_rows(rows[0], OUTPUT_ROWS);
    for (var o = 0u; o < count; o++) {
        dx[outs[o].row * p.width + id.x] += dy[o * p.width + id.x];
    }
}
