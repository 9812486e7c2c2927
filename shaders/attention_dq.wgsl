#params attention_back
#candidate order=9 grid=heads,4,1
const WIDTH: u32 = 64u;
#import params
#import step

// dq = sum over keys of exp(score - log-sum) (dy . v - delta) score' k. One workgroup per four rows of one head: a lane weighs
// a key for the four, then the lanes share out the columns.
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(4) var<storage, read_write> q: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> k: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> v: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> dy: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read_write> stats: array<vec2<f32>>;
@group(0) @binding(9) var<storage, read_write> dq: array<vec4<f32>>;

#import scores

var<workgroup> weights: array<vec4<f32>, WIDTH>;
var<workgroup> partial: array<vec4<f32>, 256>; // (row, lane)

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let count = active_rows(rows[0], TOKEN_ROWS);
    let head = group.x;
    let token = group.y * 4u;
    let words = p.head_dim / 4u;
    let stride = p.kv_heads * words;
    let base = (head / (p.heads / p.kv_heads)) * words;
    var source: array<u32, 4>;
    var log_sum = vec4<f32>(0.0);
    var delta = vec4<f32>(0.0);
    for (var r = 0u; r < 4u; r++) {
        let at = min(token + r, count - 1u) * p.heads + head;
        source[r] = at * words;
        log_sum[r] = stats[at].x;
        delta[r] = stats[at].y;
    }
    let seen = seen_by(token, count);
    let all = span(seen);
    let column = lane % words;
    let slices = WIDTH / words;
    let slice = lane / words;
    var acc: array<vec4<f32>, 4>;
    for (var at = all.x; at < all.y; at += WIDTH) {
        let j = at + lane;
        var weight = vec4<f32>(0.0);
        if j < all.y {
            var raw = vec4<f32>(0.0);
            var along = vec4<f32>(0.0);
            for (var i = 0u; i < words; i++) {
                let key = k[j * stride + base + i];
                let value = v[j * stride + base + i];
                for (var r = 0u; r < 4u; r++) {
                    raw[r] += dot(q[source[r] + i], key);
                    along[r] += dot(dy[source[r] + i], value);
                }
            }
            let sees = (vec4<u32>(j) >= seen.start) & (vec4<u32>(j) < seen.end);
            let s = scores(raw);
            weight = select(vec4<f32>(0.0), exp(s.score - log_sum) * (along - delta) * s.slope, sees);
        }
        weights[lane] = weight;
        workgroupBarrier();
        if slice < slices {
            let n = min(WIDTH, all.y - at);
            for (var i = slice; i < n; i += slices) {
                let key = k[(at + i) * stride + base + column];
                let four = weights[i];
                for (var r = 0u; r < 4u; r++) {
                    acc[r] += four[r] * key;
                }
            }
        }
        workgroupBarrier();
    }
    for (var r = 0u; r < 4u; r++) {
        partial[r * WIDTH + lane] = acc[r];
    }
    workgroupBarrier();
    if lane >= words {
        return;
    }
    for (var r = 0u; r < 4u && token + r < count; r++) {
        var sum = acc[r];
        for (var s = 1u; s < slices; s++) {
            sum += partial[r * WIDTH + s * words + lane];
        }
        dq[source[r] + lane] = sum;
    }
}
