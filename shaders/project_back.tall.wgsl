#candidate order=1 on=software if=cols%4 if=out%4 if=dy_stride%4 if=dy_offset%4 if=cols<=32 grid=cols/8,32,1 SLICES=1
#candidate order=1 on=hardware if=cols%4 if=out%4 if=dy_stride%4 if=dy_offset%4 if=cols<=32 if=out<=63 grid=cols/8,32,1 SLICES=1
#candidate order=2 on=hardware if=cols%4 if=out%4 if=dy_stride%4 if=dy_offset%4 if=cols<=32 grid=cols/8,32,1 SLICES=4
#import params
#import step
#import slices

// dx[t] (+)= alpha dy[t] w, few columns: a lane owns a row of dy, and eight columns of w that all lanes read alike.
// cols, out, dy_stride and dy_offset are multiples of 4.
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(4) var<storage, read_write> dy: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> w: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> dx: array<vec4<f32>>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let count = active_rows(rows[0], p.count);
    let words = p.cols / 4u;
    var slice = index / 32u;
    if SLICES == 1u {
        slice = 0u; // so that the compiler sees reads of w as the same for all lanes
    }
    let token = group.y * 32u + index % 32u;
    let source = (min(token, count - 1u) * p.dy_stride + p.dy_offset) / 4u;
    let first = group.x * 2u;
    let second = min(first + 1u, words - 1u);
    var acc: array<vec4<f32>, 8>; // two are in use
    for (var four = slice; four < p.out / 4u; four += SLICES) {
        let g = dy[source + four];
        for (var i = 0u; i < 4u; i++) {
            let base = (four * 4u + i) * words;
            acc[0] += g[i] * w[base + first];
            acc[1] += g[i] * w[base + second];
        }
    }
    join(&acc, 2u, index);
    for (var i = 0u; i < 2u; i++) {
        if !writes(slice, i) || token >= count || first + i >= words {
            continue;
        }
        let at = token * words + first + i;
        var sum = p.alpha * acc[i];
        if p.accumulate != 0u {
            sum += dx[at];
        }
        dx[at] = sum;
    }
}
