#candidate order=9 grid=out/64,1,1
#import params
#import step

// y[t] (+)= alpha w x[t] (+ bias) (+ residual), any shape: one element a lane.
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(4) var<storage, read_write> x: array<f32>;
@group(0) @binding(5) var<storage, read_write> w: array<f32>;
@group(0) @binding(6) var<storage, read_write> bias: array<f32>;
@group(0) @binding(7) var<storage, read_write> residual: array<f32>;
@group(0) @binding(8) var<storage, read_write> y: array<f32>;

fn finish(t: u32, r: u32, sum: f32) {
    let at = t * p.y_stride + p.y_offset + r;
    var value = p.alpha * sum;
    if p.accumulate != 0u {
        value += y[at];
    }
    if p.has_bias != 0u {
        value += bias[r];
    }
    if p.has_residual != 0u {
        value += residual[at];
    }
    y[at] = value;
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= p.out || id.y >= active_rows(rows[0], p.count) {
        return;
    }
    var sum = 0.0;
    for (var c = 0u; c < p.cols; c++) {
        sum += w[id.x * p.cols + c] * x[id.y * p.cols + c];
    }
    finish(id.y, id.x, sum);
}
