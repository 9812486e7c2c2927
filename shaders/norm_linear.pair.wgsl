#candidate order=1 on=hardware if=w2 grid=out/32,1,2 ROWS=1 SLICES=8
#candidate order=1 on=software if=w2 grid=out/128,1,2 ROWS=4 SLICES=1
#import params
#import step
#import weight
#import normed
#import normed_sums
#import second

// The same with a second matrix of another format, whose rows follow in y: files with mixed formats store v so.
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> w: array<u32>;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(4) var<storage, read_write> x: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> norm: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> bias: array<f32>;
@group(0) @binding(7) var<storage, read_write> y: array<f32>;
@group(0) @binding(8) var<storage, read> w2: array<u32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let t = group.y;
    let is_second = group.z == 1u;
    let out = select(p.out, p.out2, is_second);
    if t >= active_rows(rows[0], p.count) || group.x * ROWS * 32u >= out {
        return;
    }
    var slice = index / 32u;
    if SLICES == 1u {
        slice = 0u; // so that the compiler sees reads of x as the same for all lanes
    }
    let first = group.x * ROWS * 32u + index % 32u;
    // Rows past the end repeat the last one, and are not written.
    var row = array<u32, 8>();
    for (var r = 0u; r < ROWS; r++) {
        row[r] = min(first + 32u * r, out - 1u);
    }
    var acc = array<f32, 9>();
    if is_second {
        w2_normed(p.planes2, &row, t * (p.cols / 4u), slice, &acc);
    } else {
        w_normed(p.planes, &row, t * (p.cols / 4u), slice, &acc);
    }
    join(index, &acc);
    let scale = norm_scale(acc[SQUARES]);
    for (var r = 0u; r < ROWS; r++) {
        if slice == 0u && first + 32u * r < out {
            let column = select(0u, p.out, is_second) + row[r];
            var value = acc[r] * scale;
            if p.has_bias != 0u {
                value += bias[column];
            }
            y[t * p.y_stride + p.y_offset + column] = value;
        }
    }
}
