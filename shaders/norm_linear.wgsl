#candidate order=1 on=hardware capacity=1,9.. if=!w2 rows=1 grid=out/32,1,1 ROWS=1 TOKENS=1 SLICES=8
#candidate order=2 on=hardware capacity=2 if=!w2 grid=out/32,2,1 ROWS=1 TOKENS=2 SLICES=8
#candidate order=3 on=hardware capacity=3..4 if=!w2 grid=out/32,4,1 ROWS=1 TOKENS=4 SLICES=8
#candidate order=4 on=hardware capacity=5.. if=!w2 grid=out/32,8,1 ROWS=1 TOKENS=8 SLICES=8
#candidate order=1 on=software capacity=1,9.. if=!w2 rows=1 grid=out/128,1,1 ROWS=4 TOKENS=1 SLICES=1
#candidate order=2 on=software capacity=2 if=!w2 grid=out/128,2,1 ROWS=4 TOKENS=2 SLICES=1
#candidate order=3 on=software capacity=3..4 if=!w2 grid=out/128,4,1 ROWS=4 TOKENS=4 SLICES=1
#candidate order=4 on=software capacity=5.. if=!w2 grid=out/256,8,1 ROWS=8 TOKENS=8 SLICES=1
#import params
#import step
#import weight
#import normed
#import normed_sums

// y[t] = w norm(x[t]) (+ bias) for a few rows of x.
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> w: array<u32>;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(4) var<storage, read_write> x: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> norm: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> bias: array<f32>;
@group(0) @binding(7) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let count = active_rows(rows[0], p.count);
    var slice = index / 32u;
    if SLICES == 1u {
        slice = 0u; // so that the compiler sees reads of x as the same for all lanes
    }
    let first = group.x * ROWS * 32u + index % 32u;
    let token = group.y * TOKENS;
    // Rows past the end repeat the last one, and are not written.
    var row = array<u32, 8>();
    for (var r = 0u; r < ROWS; r++) {
        row[r] = min(first + 32u * r, p.out - 1u);
    }
    var source = array<u32, 8>();
    for (var t = 0u; t < TOKENS; t++) {
        source[t] = min(token + t, count - 1u) * (p.cols / 4u);
    }
    var acc = array<f32, 64>();
    var squares = array<f32, 8>();
    w_normed(p.planes, row, source, slice, &acc, &squares);
    for (var t = 0u; t < TOKENS; t++) {
        let scale = norm_scale(joined(index, squares[t]));
        for (var r = 0u; r < ROWS; r++) {
            var value = joined(index, acc[t * 8u + r]) * scale;
            if slice == 0u && first + 32u * r < p.out && token + t < count {
                if p.has_bias != 0u {
                    value += bias[row[r]];
                }
                y[(token + t) * p.y_stride + p.y_offset + row[r]] = value;
            }
        }
    }
}
