#candidate order=1 on=software if=cols%4 if=out%4 if=dy_stride%4 if=dy_offset%4 if=cols>32 grid=cols/128,8,1 SLICES=1
#candidate order=1 on=hardware if=cols%4 if=out%4 if=dy_stride%4 if=dy_offset%4 if=cols>32 if=out<=63 grid=cols/128,8,1 SLICES=1
#candidate order=2 on=hardware if=cols%4 if=out%4 if=dy_stride%4 if=dy_offset%4 if=cols>32 grid=cols/128,8,1 SLICES=4
#import params
#import step
#import slices

// dx[t] (+)= alpha dy[t] w, many columns: a lane owns four columns, and eight rows of dy that all lanes read alike.
// cols, out, dy_stride and dy_offset are multiples of 4.
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(4) var<storage, read_write> dy: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> w: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> dx: array<vec4<f32>>;

const TOKENS: u32 = 8u;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let count = active_rows(rows[0], p.count);
    let words = p.cols / 4u;
    var slice = index / 32u;
    if SLICES == 1u {
        slice = 0u; // so that the compiler sees reads of dy as the same for all lanes
    }
    let word = group.x * 32u + index % 32u;
    let column = min(word, words - 1u);
    let token = group.y * TOKENS;
    var source: array<u32, TOKENS>;
    for (var t = 0u; t < TOKENS; t++) {
        source[t] = (min(token + t, count - 1u) * p.dy_stride + p.dy_offset) / 4u;
    }
    var acc: array<vec4<f32>, 8>;
    for (var four = slice; four < p.out / 4u; four += SLICES) {
        let base = four * 4u * words + column;
        let a = w[base];
        let b = w[base + words];
        let c = w[base + 2u * words];
        let d = w[base + 3u * words];
        for (var t = 0u; t < TOKENS; t++) {
            let g = dy[source[t] + four];
            acc[t] += g.x * a + g.y * b + g.z * c + g.w * d;
        }
    }
    join(&acc, TOKENS, index);
    for (var t = 0u; t < TOKENS; t++) {
        if writes(slice, t) && token + t < count && word < words {
            var sum = p.alpha * acc[t];
            let at = (token + t) * words + word;
            if p.accumulate != 0u {
                sum += dx[at];
            }
            dx[at] = sum;
        }
    }
}
