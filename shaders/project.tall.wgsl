#candidate order=1 on=software if=cols%4 if=out<=32 grid=out/8,32,1 SLICES=1
#candidate order=1 on=hardware if=cols%4 if=out<=32 if=cols<=63 grid=out/8,32,1 SLICES=1
#candidate order=2 on=hardware if=cols%4 if=out<=32 grid=out/8,32,1 SLICES=4
#import params
#import step
#import slices

// y[t] (+)= alpha w x[t] (+ bias) (+ residual), few outputs: a lane owns a row of x, and eight rows of w that all lanes read
// alike. cols is a multiple of 4.
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(4) var<storage, read_write> x: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> w: array<vec4<f32>>;
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

const OUTS: u32 = 8u;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let count = active_rows(rows[0], p.count);
    let words = p.cols / 4u;
    var slice = index / 32u;
    if SLICES == 1u {
        slice = 0u; // so that the compiler sees reads of w as the same for all lanes
    }
    let token = group.y * 32u + index % 32u;
    let source = min(token, count - 1u) * words;
    let first = group.x * OUTS;
    var base: array<u32, OUTS>;
    for (var r = 0u; r < OUTS; r++) {
        base[r] = min(first + r, p.out - 1u) * words;
    }
    var acc: array<vec4<f32>, 8>; // two are in use
    for (var i = slice; i < words; i += SLICES) {
        let v = x[source + i];
        acc[0] += vec4<f32>(dot(w[base[0] + i], v), dot(w[base[1] + i], v), dot(w[base[2] + i], v), dot(w[base[3] + i], v));
        acc[1] += vec4<f32>(dot(w[base[4] + i], v), dot(w[base[5] + i], v), dot(w[base[6] + i], v), dot(w[base[7] + i], v));
    }
    join(&acc, 2u, index);
    for (var r = 0u; r < OUTS; r++) {
        if writes(slice, r / 4u) && token < count && first + r < p.out {
            finish(token, first + r, acc[r / 4u][r % 4u]);
        }
    }
}
