#candidate order=9 grid=1,1,1
#import params
#import step
#import temperature
const WIDTH: u32 = 256u;
#import reduce

// y[o] = sum p (log p - log q) over the vocabulary, with p = softmax(base[o] / temperature) and q = softmax(other[o] /
// temperature). One workgroup a row.
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(3) var<storage, read> outs: array<Out>;
@group(0) @binding(4) var<storage, read_write> base: array<f32>;
@group(0) @binding(5) var<storage, read_write> other: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;

const LOWEST: f32 = -3.4e38;

// q - p - p log(q / p): what a token adds, never below zero. Near d = 0 by its series, where the difference would cancel.
fn gap(log_p: f32, log_q: f32) -> f32 {
    let weight = exp(log_p);
    let d = log_q - log_p;
    if abs(d) < 0.25 {
        return weight * d * d * (0.5 + d * (1.0 / 6.0 + d * (1.0 / 24.0 + d * (1.0 / 120.0 + d / 720.0))));
    }
    return exp(log_q) - weight - select(0.0, weight * d, weight > 0.0);
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let o = group.y;
    if o >= active_rows(rows[0], OUTPUT_ROWS) {
        return;
    }
    let first = o * p.vocab;
    let scale = softmax_scale(outs[o].temperature);
    var tops = vec2(LOWEST, LOWEST);
    for (var i = lane; i < p.vocab; i += WIDTH) {
        tops = max(tops, vec2(base[first + i], other[first + i]));
    }
    tops = vec2(reduce_max(lane, tops.x), reduce_max(lane, tops.y));
    var sums = vec2(0.0, 0.0);
    for (var i = lane; i < p.vocab; i += WIDTH) {
        sums += exp((vec2(base[first + i], other[first + i]) - tops) * scale);
    }
    sums = log(vec2(reduce_sum(lane, sums.x), reduce_sum(lane, sums.y)));
    var total = 0.0;
    for (var i = lane; i < p.vocab; i += WIDTH) {
        let logs = (vec2(base[first + i], other[first + i]) - tops) * scale - sums;
        total += gap(logs.x, logs.y);
    }
    total = reduce_sum(lane, total);
    if lane == 0u {
        y[o] = total;
    }
}
