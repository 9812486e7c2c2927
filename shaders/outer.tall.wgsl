#candidate order=1 on=software if=cols%4 if=out%4 if=dy_stride%4 if=dy_offset%4 if=cols<=32 grid=out/128,1,cols/8 SLICES=1
#candidate order=1 on=hardware if=cols%4 if=out%4 if=dy_stride%4 if=dy_offset%4 if=cols<=32 grid=out/128,1,cols/8 SLICES=4
#import params
#import step
#import slices

// dw += alpha dy^T x, few columns: a lane owns four rows of dw, and eight columns whose activations all lanes read alike.
// cols, out, dy_stride and dy_offset are multiples of 4.
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(4) var<storage, read_write> dy: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> x: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> dw: array<vec4<f32>>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let count = active_rows(rows[0], p.count);
    let words = p.cols / 4u;
    var slice = index / 32u;
    if SLICES == 1u {
        slice = 0u; // so that the compiler sees reads of x as the same for all lanes
    }
    let fours = p.out / 4u;
    let four = group.x * 32u + index % 32u;
    let mine = min(four, fours - 1u);
    let first = group.z * 2u;
    let second = min(first + 1u, words - 1u);
    var acc: array<vec4<f32>, 8>; // (row, half of the eight columns)
    for (var t = slice; t < count; t += SLICES) {
        let g = dy[(t * p.dy_stride + p.dy_offset) / 4u + mine];
        let a = x[t * words + first];
        let b = x[t * words + second];
        for (var i = 0u; i < 4u; i++) {
            acc[2u * i] += g[i] * a;
            acc[2u * i + 1u] += g[i] * b;
        }
    }
    join(&acc, 8u, index);
    for (var i = 0u; i < 8u; i++) {
        let word = first + i % 2u;
        if writes(slice, i) && four < fours && word < words {
            dw[(four * 4u + i / 2u) * words + word] += p.alpha * acc[i];
        }
    }
}
