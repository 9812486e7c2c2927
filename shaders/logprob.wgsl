#candidate order=9 grid=1,1,1
#import params
#import step
const WIDTH: u32 = 256u;
#import logits

// y[o] = l[label] - log sum exp l, where l = logits[o] / temperature. One workgroup a row.
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(3) var<storage, read> outs: array<Out>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let o = group.y;
    if o >= active_rows(rows[0], OUTPUT_ROWS) {
        return;
    }
    let base = o * p.vocab;
    let top = row_max(lane, base, p.vocab);
    let scale = softmax_scale(outs[o].temperature);
    let total = log_sum_exp(lane, base, p.vocab, top, scale);
    if lane == 0u {
        y[o] = (logits[base + outs[o].label] - top) * scale - total;
    }
}
