#candidate order=1 on=hardware capacity=1,9.. rows=1 grid=out/32,1,1 ROWS=1 TOKENS=1 SLICES=8
#candidate order=2 on=hardware capacity=2 grid=out/32,2,1 ROWS=1 TOKENS=2 SLICES=8
#candidate order=3 on=hardware capacity=3..4 grid=out/32,4,1 ROWS=1 TOKENS=4 SLICES=8
#candidate order=4 on=hardware capacity=5.. rows=8 grid=out/32,8,1 ROWS=1 TOKENS=8 SLICES=8
#candidate order=1 on=software capacity=1,9.. rows=1 grid=out/128,1,1 ROWS=4 TOKENS=1 SLICES=1
#candidate order=2 on=software capacity=2 grid=out/128,2,1 ROWS=4 TOKENS=2 SLICES=1
#candidate order=3 on=software capacity=3..4 grid=out/128,4,1 ROWS=4 TOKENS=4 SLICES=1
#candidate order=5 on=software capacity=5..8 grid=out/256,8,1 ROWS=8 TOKENS=8 SLICES=1
#candidate order=6 on=software capacity=9.. rows=8 grid=out/128,8,1 ROWS=4 TOKENS=8 SLICES=1
#candidate order=7 on=software capacity=9.. grid=out/256,8,1 ROWS=8 TOKENS=8 SLICES=1
#import params
#import step
#import weight

// y[t] = w x[t] (+ bias) (+ residual) for a few rows of x: decode, and prefill where registers are enough.
// A lane owns ROWS rows of w in different groups of 32, and TOKENS rows of x that all lanes read alike; SLICES parts
// of a workgroup take turns along the columns, and their sums are joined in order.
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> w: array<u32>;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(4) var<storage, read_write> x: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<storage, read_write> residual: array<f32>;
@group(0) @binding(7) var<storage, read_write> y: array<f32>;

override ROWS: u32 = 1u;   // at most 8
override TOKENS: u32 = 1u; // at most 8
override SLICES: u32 = 8u; // at most 8
override LANES: u32 = 32u * SLICES;

var<workgroup> sums: array<f32, 256>;

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
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let count = active_rows(rows[0], p.count);
    let lane = index % 32u;
    var slice = index / 32u;
    if SLICES == 1u {
        slice = 0u; // so that the compiler sees reads of x as the same for all lanes
    }
    let words = p.cols / 4u;
    let first = group.x * ROWS * 32u + lane;
    let token = group.y * TOKENS;
    // Rows past the end repeat the last one, and are not written.
    var row: array<u32, 8>;
    for (var r = 0u; r < ROWS; r++) {
        row[r] = min(first + 32u * r, p.out - 1u);
    }
    var source: array<u32, 8>;
    for (var t = 0u; t < TOKENS; t++) {
        source[t] = min(token + t, count - 1u) * words;
    }
    var acc: array<f32, 64>;
    // One row a lane: whole blocks of 32 columns, whose scales are unpacked once. Several: eight columns at a time, for
    // which there are registers.
    let blocks = select(0u, p.cols / 32u, ROWS == 1u);
    for (var block = slice; block < blocks; block += SLICES) {
        var weights = w_block32(p.planes, p.cols, row[0], block);
        for (var t = 0u; t < TOKENS; t++) {
            var sum = vec4<f32>(0.0);
            for (var i = 0u; i < 8u; i++) {
                sum += weights[i] * x[source[t] + block * 8u + i];
            }
            acc[t * 8u] += (sum.x + sum.y) + (sum.z + sum.w);
        }
    }
    for (var oct = blocks * 4u + slice; oct * 2u < words; oct += SLICES) {
        var weights: array<Oct, 8>;
        for (var r = 0u; r < ROWS; r++) {
            weights[r] = w_oct(p.planes, p.cols, row[r], oct);
        }
        for (var t = 0u; t < TOKENS; t++) {
            let lo = x[source[t] + oct * 2u];
            // The last oct of a row may be a half, whose rest belongs to the next row of x.
            let hi = select(vec4<f32>(0.0), x[source[t] + oct * 2u + 1u], oct * 2u + 1u < words);
            for (var r = 0u; r < ROWS; r++) {
                acc[t * 8u + r] += dot(weights[r].lo, lo) + dot(weights[r].hi, hi);
            }
        }
    }
    for (var t = 0u; t < TOKENS; t++) {
        for (var r = 0u; r < ROWS; r++) {
            var sum = acc[t * 8u + r];
            if SLICES > 1u {
                sums[index] = sum;
                workgroupBarrier();
                if slice == 0u {
                    for (var s = 1u; s < SLICES; s++) {
                        sum += sums[s * 32u + lane];
                    }
                }
                workgroupBarrier();
            }
            if slice == 0u && first + 32u * r < p.out && token + t < count {
                finish(token + t, row[r], sum);
            }
        }
    }
}
