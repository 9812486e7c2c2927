#candidate order=9 grid=1,1,1
#import params
#import step_types
#import temperature

// logits[o] = coef / temperature * (onehot(label) - softmax(logits[o] / temperature)), in place, one workgroup a row.
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(3) var<storage, read> outs: array<Out>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<storage, read_write> logits: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let o = group.y;
    let base = o * p.vocab;
    let label = min(outs[o].label, p.vocab - 1u);
    let scale = softmax_scale(outs[o].temperature);
    let coef = outs[o].coef * scale;
    let own = logits[base + label];
    // All lanes have read the label's logit before one of them overwrites it.
    storageBarrier();
    workgroupBarrier();
    for (var i = lane; i < p.vocab; i += 256u) {
        logits[base + i] = select(0.0, coef, i == label) - coef * exp((logits[base + i] - own) * scale + y[o]);
    }
}
