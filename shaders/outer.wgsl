#candidate order=9 grid=cols/64,1,out<=65535
#import params
#import step

// dw += alpha dy^T x over the rows in their order, any shape: one element a lane.
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(4) var<storage, read_write> dy: array<f32>;
@group(0) @binding(5) var<storage, read_write> x: array<f32>;
@group(0) @binding(6) var<storage, read_write> dw: array<f32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let count = active_rows(rows[0], p.count);
    let column = group.x * 64u + lane;
    if column >= p.cols {
        return;
    }
    for (var r = group.z; r < p.out; r += groups.z) {
        var sum = 0.0;
        for (var t = 0u; t < count; t++) {
            sum += dy[t * p.dy_stride + p.dy_offset + r] * x[t * p.cols + column];
        }
        dw[r * p.cols + column] += p.alpha * sum;
    }
}
