#candidate order=1 on=software if=dy_stride%4 if=dy_offset%4 grid=cols/64,8,1 LANES=8
#import params
#import step
#import weight

// dx[t] (+)= dy[t] w where registers are enough: a lane owns eight columns, and eight rows of dy that all lanes read
// alike, and walks down w four rows at a time. dy_offset and dy_stride are multiples of 4.
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> w: array<u32>;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(4) var<storage, read_write> dy: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> dx: array<vec4<f32>>;

const TOKENS: u32 = 8u;

override LANES: u32 = 8u;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let count = active_rows(rows[0], p.count);
    let octs = (p.cols + 7u) / 8u;
    let words = p.cols / 4u;
    let mine = group.x * LANES + lane;
    let oct = min(mine, octs - 1u); // lanes past the end repeat the last one, and do not write
    let token = group.y * TOKENS;
    var source: array<u32, TOKENS>;
    for (var t = 0u; t < TOKENS; t++) {
        source[t] = (min(token + t, count - 1u) * p.dy_stride + p.dy_offset) / 4u;
    }
    var acc: array<vec4<f32>, 16>; // (row of dy, half of the oct)
    let whole = p.out / 4u;
    for (var four = 0u; four < whole; four++) {
        let a = w_oct(p.planes, p.cols, four * 4u, oct);
        let b = w_oct(p.planes, p.cols, four * 4u + 1u, oct);
        let c = w_oct(p.planes, p.cols, four * 4u + 2u, oct);
        let d = w_oct(p.planes, p.cols, four * 4u + 3u, oct);
        for (var t = 0u; t < TOKENS; t++) {
            let g = dy[source[t] + four];
            acc[2u * t] += g.x * a.lo + g.y * b.lo + g.z * c.lo + g.w * d.lo;
            acc[2u * t + 1u] += g.x * a.hi + g.y * b.hi + g.z * c.hi + g.w * d.hi;
        }
    }
    for (var r = whole * 4u; r < p.out; r++) {
        let a = w_oct(p.planes, p.cols, r, oct);
        for (var t = 0u; t < TOKENS; t++) {
            let g = dy[source[t] + whole][r % 4u];
            acc[2u * t] += g * a.lo;
            acc[2u * t + 1u] += g * a.hi;
        }
    }
    if mine >= octs {
        return;
    }
    for (var t = 0u; t < TOKENS; t++) {
        if token + t >= count {
            break;
        }
        let at = (token + t) * words + oct * 2u;
        // The last oct of a row may be a half.
        for (var half = 0u; half < 2u && oct * 2u + half < words; half++) {
            if p.accumulate != 0u {
                acc[2u * t + half] += dx[at + half];
            }
            dx[at + half] = acc[2u * t + half];
        }
    }
}
