#candidate order=4 on=software capacity=5.. grid=out/64,8,1
#require subgroup
#import params
#import step
#import weight

// y[t] = w x[t] (+ bias) (+ residual), eight rows of x at a time, for a CPU that runs shaders: a read of storage costs it
// as much as some 40 products, whether lanes read the same or not. So eight lanes read eight columns of a row of x at
// once and hand them round, each for eight rows of w. A workgroup is those lanes, which takes 64 rows of w; subgroups
// have eight lanes at least.
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> w: array<u32>;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(4) var<storage, read_write> x: array<f32>;
@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<storage, read_write> residual: array<f32>;
@group(0) @binding(7) var<storage, read_write> y: array<f32>;

const LANES: u32 = 8u;
const ROWS: u32 = 8u;
const TOKENS: u32 = 8u;

fn finish(t: u32, r: u32, sum: f32) {
    let at = t * p.y_stride + p.y_offset + r;
    var value = sum;
    if p.has_bias != 0u {
        value += bias[r];
    }
    if p.has_residual != 0u {
        value += residual[at];
    }
    y[at] = value;
}

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_invocation_id) place: u32,
) {
    let count = active_rows(rows[0], p.count);
    let first = group.x * ROWS * LANES + lane;
    let token = group.y * TOKENS;
    // Rows past the end repeat the last one, and are not written.
    var row: array<u32, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
        row[r] = min(first + LANES * r, p.out - 1u);
    }
    var source: array<u32, TOKENS>;
    for (var t = 0u; t < TOKENS; t++) {
        source[t] = min(token + t, count - 1u) * p.cols + place % 8u;
    }
    var acc: array<f32, 64>;
    let octs = (p.cols + 7u) / 8u;
    // Scales are as dear to read and decode as weights: once for all that share one.
    var scales: array<Scale, ROWS>;
    for (var oct = 0u; oct < octs; oct++) {
        if oct % SHARED == 0u {
            for (var r = 0u; r < ROWS; r++) {
                scales[r] = w_scale(p.planes, p.cols, row[r], oct);
            }
        }
        var weights: array<Oct, ROWS>;
        for (var r = 0u; r < ROWS; r++) {
            weights[r] = w_eight(p.planes, p.cols, row[r], oct, scales[r]);
        }
        for (var t = 0u; t < TOKENS; t++) {
            // The last oct of a row may be a half, whose rest belongs to the next row of x.
            let own = select(0.0, x[source[t] + oct * 8u], oct * 8u + place % 8u < p.cols);
            let lo = vec4<f32>(
                subgroupBroadcast(own, 0u),
                subgroupBroadcast(own, 1u),
                subgroupBroadcast(own, 2u),
                subgroupBroadcast(own, 3u),
            );
            let hi = vec4<f32>(
                subgroupBroadcast(own, 4u),
                subgroupBroadcast(own, 5u),
                subgroupBroadcast(own, 6u),
                subgroupBroadcast(own, 7u),
            );
            for (var r = 0u; r < ROWS; r++) {
                acc[t * ROWS + r] += dot(weights[r].lo, lo) + dot(weights[r].hi, hi);
            }
        }
    }
    for (var t = 0u; t < TOKENS; t++) {
        for (var r = 0u; r < ROWS; r++) {
            if first + LANES * r < p.out && token + t < count {
                finish(token + t, row[r], acc[t * ROWS + r]);
            }
        }
    }
}
