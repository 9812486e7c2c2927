#import reduce
#import temperature
// Rows of logits (outputs, vocab), read by one workgroup of WIDTH lanes each.
@group(0) @binding(4) var<storage, read_write> logits: array<f32>;

// Smaller than any logit that matters; infinities are not safe under the fast mathematics of some drivers.
const LOWEST: f32 = -3.4e38;

fn row_max(lane: u32, base: u32, vocab: u32) -> f32 {
    var top = LOWEST;
    for (var i = lane; i < vocab; i += WIDTH) {
        top = max(top, logits[base + i]);
    }
    return reduce_max(lane, top);
}

// log sum exp of a row times `scale`, above its maximum times that.
fn log_sum_exp(lane: u32, base: u32, vocab: u32, top: f32, scale: f32) -> f32 {
    var sum = 0.0;
    for (var i = lane; i < vocab; i += WIDTH) {
        sum += exp((logits[base + i] - top) * scale);
    }
    return log(reduce_sum(lane, sum));
}
