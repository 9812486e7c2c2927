#params attention_back
#candidate order=9 grid=kv_heads,4,1
const WIDTH: u32 = 64u;
#import params
#import step

// dv = sum over queries of w dy, dk = sum over queries of w (dy . v - delta) score' q, with w = exp(score - log-sum). One
// workgroup per four keys of one kv head: a lane weighs a query of one head for the four, then the lanes share out the
// columns. Rows see rows before them only, and sequences lie one behind another.
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(4) var<storage, read_write> q: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> k: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> v: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> dy: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read_write> stats: array<vec2<f32>>;
@group(0) @binding(9) var<storage, read_write> dk: array<vec4<f32>>;
@group(0) @binding(10) var<storage, read_write> dv: array<vec4<f32>>;

#import scores

var<workgroup> weights: array<vec4<f32>, WIDTH>; // of dy
var<workgroup> slopes: array<vec4<f32>, WIDTH>;  // of q
var<workgroup> partial: array<vec4<f32>, 512>;   // (key, lane) of dk, then of dv

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let count = active_rows(rows[0], TOKEN_ROWS);
    let kv_head = group.x;
    let first = group.y * 4u;
    let words = p.head_dim / 4u;
    let heads = p.heads / p.kv_heads;
    var source: array<u32, 4>;
    for (var c = 0u; c < 4u; c++) {
        source[c] = (min(first + c, count - 1u) * p.kv_heads + kv_head) * words;
    }
    let keys = first + vec4<u32>(0u, 1u, 2u, 3u);
    let column = lane % words;
    let slices = WIDTH / words;
    let slice = lane / words;
    let total = (count - first) * heads; // queries from the first key's row on, by row and head
    var dk_acc: array<vec4<f32>, 4>;
    var dv_acc: array<vec4<f32>, 4>;
    for (var at = 0u; at < total; at += WIDTH) {
        // Later rows see no more of the four.
        let row_here = first + at / heads;
        if rows[1u + row_here].first > first + 3u || (p.window > 0u && row_here >= first + 3u + p.window) {
            break;
        }
        var weight = vec4<f32>(0.0);
        var slope = vec4<f32>(0.0);
        if at + lane < total {
            let t = first + (at + lane) / heads;
            let query = t * p.heads + kv_head * heads + (at + lane) % heads;
            let row = rows[1u + t];
            let sees = (keys >= vec4<u32>(first_position(row))) & (keys <= vec4<u32>(min(row.pos, count - 1u)));
            if any(sees) {
                var raw = vec4<f32>(0.0);
                var along = vec4<f32>(0.0);
                for (var i = 0u; i < words; i++) {
                    let a = q[query * words + i];
                    let b = dy[query * words + i];
                    for (var c = 0u; c < 4u; c++) {
                        raw[c] += dot(a, k[source[c] + i]);
                        along[c] += dot(b, v[source[c] + i]);
                    }
                }
                let s = scores(raw);
                let stat = stats[query];
                weight = select(vec4<f32>(0.0), exp(s.score - stat.x), sees);
                slope = weight * (along - stat.y) * s.slope;
            }
        }
        weights[lane] = weight;
        slopes[lane] = slope;
        workgroupBarrier();
        if slice < slices {
            let n = min(WIDTH, total - at);
            for (var i = slice; i < n; i += slices) {
                let t = first + (at + i) / heads;
                let query = (t * p.heads + kv_head * heads + (at + i) % heads) * words + column;
                let a = q[query];
                let b = dy[query];
                for (var c = 0u; c < 4u; c++) {
                    dk_acc[c] += slopes[i][c] * a;
                    dv_acc[c] += weights[i][c] * b;
                }
            }
        }
        workgroupBarrier();
    }
    for (var c = 0u; c < 4u; c++) {
        partial[c * WIDTH + lane] = dk_acc[c];
        partial[(4u + c) * WIDTH + lane] = dv_acc[c];
    }
    workgroupBarrier();
    if lane >= words {
        return;
    }
    for (var c = 0u; c < 4u && first + c < count; c++) {
        var key = dk_acc[c];
        var value = dv_acc[c];
        for (var s = 1u; s < slices; s++) {
            key += partial[c * WIDTH + s * words + lane];
            value += partial[(4u + c) * WIDTH + s * words + lane];
        }
        dk[source[c] + lane] = key;
        dv[source[c] + lane] = value;
    }
}
