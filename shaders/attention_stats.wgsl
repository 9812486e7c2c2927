#params attention_back
#candidate order=9 grid=heads,4,1
const WIDTH: u32 = 64u;
#import params
#import step
#import reduce

// stats[t][head] = (log of the sum of exp(score), dy . y). One workgroup per four rows of one head; a lane scores a position
// against the four, with a streaming softmax of its own, and the lanes' sums are joined at the end.
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(4) var<storage, read_write> q: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> k: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> dy: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read_write> stats: array<vec2<f32>>;

#import scores

const LOWEST: f32 = -3.4e38;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let count = active_rows(rows[0], TOKEN_ROWS);
    let head = group.x;
    let token = group.y * 4u;
    let words = p.head_dim / 4u;
    let stride = p.kv_heads * words;
    let column = (head / (p.heads / p.kv_heads)) * words;
    var source: array<u32, 4>;
    for (var r = 0u; r < 4u; r++) {
        source[r] = (min(token + r, count - 1u) * p.heads + head) * words;
    }
    let seen = seen_by(token, count);
    let all = span(seen);
    var top = vec4<f32>(LOWEST);
    var sum = vec4<f32>(0.0);
    for (var j = all.x + lane; j < all.y; j += WIDTH) {
        var raw = vec4<f32>(0.0);
        for (var i = 0u; i < words; i++) {
            let key = k[j * stride + column + i];
            raw += vec4<f32>(
                dot(q[source[0] + i], key), dot(q[source[1] + i], key),
                dot(q[source[2] + i], key), dot(q[source[3] + i], key),
            );
        }
        let sees = (vec4<u32>(j) >= seen.start) & (vec4<u32>(j) < seen.end);
        let score = select(vec4<f32>(LOWEST), scores(raw).score, sees);
        let peak = max(top, score);
        sum = sum * exp(top - peak) + select(vec4<f32>(0.0), exp(score - peak), sees);
        top = peak;
    }
    for (var r = 0u; r < 4u; r++) {
        let peak = reduce_max(lane, top[r]);
        let total = reduce_sum(lane, sum[r] * exp(top[r] - peak));
        var delta = 0.0;
        if lane < words {
            delta = dot(dy[source[r] + lane], y[source[r] + lane]);
        }
        delta = reduce_sum(lane, delta);
        if lane == 0u && token + r < count {
            stats[(token + r) * p.heads + head] = vec2<f32>(peak + log(total), delta);
        }
    }
}
