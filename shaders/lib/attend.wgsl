// Streaming softmax of one query head over a range of positions (Milakov & Gimelshein 2018), by one workgroup of
// WIDTH lanes: a lane scores a position, then the lanes share out the value columns.
const WIDTH: u32 = 64u;
#import params
#import step
#import seen
#import ring
#import kv
#import reduce

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(4) var<storage, read_write> q: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> k: array<KvWord>;
@group(0) @binding(6) var<storage, read_write> v: array<KvWord>;

const LOWEST: f32 = -3.4e38;
const MAX_WORDS: u32 = 64u; // of a head: 256 elements

var<workgroup> query: array<vec4<f32>, MAX_WORDS>;
var<workgroup> weights: array<f32, WIDTH>;
var<workgroup> partial: array<vec4<f32>, WIDTH>;

// Result of a range: `sum` of the weights relative to `top`, and in lanes below head_dim / 4 four columns of the
// weighted values.
struct Attended {
    value: vec4<f32>,
    top: f32,
    sum: f32,
}

// Attends to positions start..end of the row's slot; start < end is not required.
fn attend(lane: u32, t: u32, head: u32, row: Row, start: u32, end: u32) -> Attended {
    let words = p.head_dim / 4u;
    let stride = p.kv_heads * words;
    let base = row.slot * p.ctx * stride + (head / (p.heads / p.kv_heads)) * words;
    for (var i = lane; i < words; i += WIDTH) {
        query[i] = q[(t * p.heads + head) * words + i] * p.scale;
    }
    workgroupBarrier();
    let column = lane % words;
    let slices = WIDTH / words;
    let slice = lane / words;
    var top = LOWEST;
    var sum = 0.0;
    var value = vec4<f32>(0.0);
    let turned = turns(start);
    for (var at = start; at < end; at += WIDTH) {
        let count = min(WIDTH, end - at);
        var score = LOWEST;
        if lane < count {
            let key = base + wrapped(at + lane - turned) * stride;
            var dots = vec4<f32>(0.0);
            for (var i = 0u; i < words; i++) {
                dots += query[i] * kv_unpack(k[key + i]);
            }
            score = capped((dots.x + dots.y) + (dots.z + dots.w));
        }
        let new_top = max(top, reduce_max(lane, score));
        let weight = select(0.0, exp(score - new_top), lane < count);
        weights[lane] = weight;
        let shrink = exp(top - new_top);
        sum = sum * shrink + reduce_sum(lane, weight);
        value *= shrink;
        top = new_top;
        if slice < slices {
            for (var j = slice; j < count; j += slices) {
                value += weights[j] * kv_unpack(v[base + wrapped(at + j - turned) * stride + column]);
            }
        }
        workgroupBarrier();
    }
    partial[lane] = value;
    workgroupBarrier();
    if lane < words {
        for (var s = 1u; s < slices; s++) {
            value += partial[s * words + lane];
        }
    }
    return Attended(value, top, sum);
}
