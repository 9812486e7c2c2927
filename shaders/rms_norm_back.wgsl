#candidate order=1 on=software grid=groups,1,1 WIDTH=8
#candidate order=9 grid=groups,1,1 WIDTH=64
#import params
#import step
#import reduce_pair

// With r = (mean(x^2) + eps)^-1/2 and g = dy * w: dx (+)= r * (g - x * r^2 * mean(g * x)).
// One workgroup per group of `width` elements.
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(4) var<storage, read_write> x: array<f32>;
@group(0) @binding(5) var<storage, read> w: array<f32>;
@group(0) @binding(6) var<storage, read_write> dy: array<f32>;
@group(0) @binding(7) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let base = (group.y * p.groups + group.x) * p.width;
    var sums = vec2<f32>(0.0);
    for (var i = lane; i < p.width; i += WIDTH) {
        let v = x[base + i];
        sums += v * vec2<f32>(v, dy[base + i] * w[i]);
    }
    let mean = reduce_pair(lane, sums) / f32(p.width);
    let scale = inverseSqrt(mean.x + p.eps);
    let along = scale * scale * mean.y;
    for (var i = lane; i < p.width; i += WIDTH) {
        var value = scale * (dy[base + i] * w[i] - x[base + i] * along);
        if p.accumulate != 0u {
            value += dx[base + i];
        }
        dx[base + i] = value;
    }
}
