#candidate order=1 on=software if=cols%4 if=out>32 grid=out/128,8,1 SLICES=1
#candidate order=1 on=hardware if=cols%4 if=out>32 if=cols<=63 grid=out/128,8,1 SLICES=1
#candidate order=2 on=hardware if=cols%4 if=out>32 grid=out/128,8,1 SLICES=4
#import params
#import step
#import slices

// y[t] (+)= alpha w x[t] (+ bias) (+ residual), many outputs: a lane owns four rows of w, 32 apart, and eight rows of x
// that all lanes read alike. cols is a multiple of 4.
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

const TOKENS: u32 = 8u;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let count = active_rows(rows[0], p.count);
    let words = p.cols / 4u;
    var slice = index / 32u;
    if SLICES == 1u {
        slice = 0u; // so that the compiler sees reads of x as the same for all lanes
    }
    let first = group.x * 128u + index % 32u; // and 32, 64, 96 further
    let last = vec4<u32>(p.out - 1u);
    let base = min(vec4<u32>(first) + vec4<u32>(0u, 32u, 64u, 96u), last) * words;
    let token = group.y * TOKENS;
    var source: array<u32, TOKENS>;
    for (var t = 0u; t < TOKENS; t++) {
        source[t] = min(token + t, count - 1u) * words;
    }
    var acc: array<vec4<f32>, 8>;
    for (var i = slice; i < words; i += SLICES) {
        let a = w[base.x + i];
        let b = w[base.y + i];
        let c = w[base.z + i];
        let d = w[base.w + i];
        for (var t = 0u; t < TOKENS; t++) {
            let v = x[source[t] + i];
            acc[t] += vec4<f32>(dot(a, v), dot(b, v), dot(c, v), dot(d, v));
        }
    }
    join(&acc, TOKENS, index);
    for (var t = 0u; t < TOKENS; t++) {
        if !writes(slice, t) || token + t >= count {
            continue;
        }
        for (var i = 0u; i < 4u; i++) {
            if first + 32u * i < p.out {
                finish(token + t, first + 32u * i, acc[t][i]);
            }
        }
    }
}
