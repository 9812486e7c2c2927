#candidate order=3 on=software if=!part if=head_dim%32 if=head_dim<=256 grid=heads,1,1 PARTS=head_dim/32
#require subgroup
#import params
#import step
#import seen
#import ring
#import kv

// y = softmax(scale q k^T) v, for a CPU that runs shaders (see linear.eight): a workgroup of eight lanes for each row and
// head, which hand values round instead of waiting for each other. A lane scores a position of eight, then sums up four
// columns of every 32.
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(4) var<storage, read_write> q: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> k: array<KvWord>;
@group(0) @binding(6) var<storage, read_write> v: array<KvWord>;
@group(0) @binding(7) var<storage, read_write> y: array<vec4<f32>>;

const LANES: u32 = 8u;
const LOWEST: f32 = -3.4e38;
const MOST: u32 = 8u; // parts of a head: 256 elements
override PARTS: u32;  // head_dim / 32

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(subgroup_invocation_id) place: u32,
) {
    let lane = place % LANES;
    let row = rows[1u + group.y];
    let start = first_position(row);
    let end = row.pos + 1u;
    let words = p.head_dim / 4u;
    let stride = p.kv_heads * words;
    let base = row.slot * p.ctx * stride + (group.x / (p.heads / p.kv_heads)) * words;
    let own = (group.y * p.heads + group.x) * words + lane;
    var query: array<vec4<f32>, MOST>;
    var value: array<vec4<f32>, MOST>;
    for (var i = 0u; i < PARTS; i++) {
        query[i] = q[own + LANES * i] * p.scale;
        value[i] = vec4<f32>(0.0);
    }
    var top = LOWEST;
    var sum = 0.0;
    let turned = turns(start);
    for (var at = start; at < end; at += LANES) {
        // Lanes past the end see the last position again, at no weight.
        let key = base + wrapped(min(at + lane, end - 1u) - turned) * stride;
        var dots = vec4<f32>(0.0);
        for (var i = 0u; i < PARTS; i++) {
            let word = key + LANES * i;
            dots += subgroupBroadcast(query[i], 0u) * kv_unpack(k[word]);
            dots += subgroupBroadcast(query[i], 1u) * kv_unpack(k[word + 1u]);
            dots += subgroupBroadcast(query[i], 2u) * kv_unpack(k[word + 2u]);
            dots += subgroupBroadcast(query[i], 3u) * kv_unpack(k[word + 3u]);
            dots += subgroupBroadcast(query[i], 4u) * kv_unpack(k[word + 4u]);
            dots += subgroupBroadcast(query[i], 5u) * kv_unpack(k[word + 5u]);
            dots += subgroupBroadcast(query[i], 6u) * kv_unpack(k[word + 6u]);
            dots += subgroupBroadcast(query[i], 7u) * kv_unpack(k[word + 7u]);
        }
        let score = capped((dots.x + dots.y) + (dots.z + dots.w));
        let new_top = max(top, subgroupMax(score));
        let weight = select(0.0, exp(score - new_top), at + lane < end);
        let shrink = exp(top - new_top);
        sum = sum * shrink + subgroupAdd(weight);
        top = new_top;
        let weights = array<f32, LANES>(
            subgroupBroadcast(weight, 0u),
            subgroupBroadcast(weight, 1u),
            subgroupBroadcast(weight, 2u),
            subgroupBroadcast(weight, 3u),
            subgroupBroadcast(weight, 4u),
            subgroupBroadcast(weight, 5u),
            subgroupBroadcast(weight, 6u),
            subgroupBroadcast(weight, 7u),
        );
        for (var i = 0u; i < PARTS; i++) {
            var part = value[i] * shrink;
            for (var j = 0u; j < LANES; j++) {
                let word = base + wrapped(min(at + j, end - 1u) - turned) * stride + lane + LANES * i;
                part += weights[j] * kv_unpack(v[word]);
            }
            value[i] = part;
        }
    }
    for (var i = 0u; i < PARTS; i++) {
        y[own + LANES * i] = value[i] / sum;
    }
}
