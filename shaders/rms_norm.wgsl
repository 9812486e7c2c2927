#candidate order=9 grid=groups,1,1
#import params
#import step
const WIDTH: u32 = 64u;
#import reduce

// y = x / sqrt(mean(x^2) + eps) * w (+ residual), one workgroup per group of `width` elements.
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(4) var<storage, read_write> x: array<f32>;
@group(0) @binding(5) var<storage, read> w: array<f32>;
@group(0) @binding(6) var<storage, read_write> residual: array<f32>;
@group(0) @binding(7) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    if group.y >= active_rows(rows[0], p.count) {
        return;
    }
    let base = (group.y * p.groups + group.x) * p.width;
    var squares = 0.0;
    for (var i = lane; i < p.width; i += WIDTH) {
        let v = x[base + i];
        squares += v * v;
    }
    let mean = reduce_sum(lane, squares) / f32(p.width);
    let scale = inverseSqrt(mean + p.eps);
    for (var i = lane; i < p.width; i += WIDTH) {
        var value = x[base + i] * scale * w[i];
        if p.has_residual != 0u {
            value += residual[base + i];
        }
        y[base + i] = value;
    }
}
