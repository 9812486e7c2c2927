#candidate order=9 grid=cols/64,1,1
#import params
#import step

// dx[t] (+)= alpha dy[t] w, any shape: one element a lane.
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(4) var<storage, read_write> dy: array<f32>;
@group(0) @binding(5) var<storage, read_write> w: array<f32>;
@group(0) @binding(6) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= p.cols || id.y >= active_rows(rows[0], p.count) {
        return;
    }
    let source = id.y * p.dy_stride + p.dy_offset;
    var sum = 0.0;
    for (var r = 0u; r < p.out; r++) {
        sum += dy[source + r] * w[r * p.cols + id.x];
    }
    let at = id.y * p.cols + id.x;
    sum *= p.alpha;
    if p.accumulate != 0u {
        sum += dx[at];
    }
    dx[at] = sum;
}
