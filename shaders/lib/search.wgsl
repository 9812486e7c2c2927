// Thresholds on logits as integers in the order of the floats, found by a 16-way search: the largest key between two
// bounds from which on the logits still reach a goal. Sums are made in a fixed order.
var<workgroup> search_slots: array<vec4<f32>, WIDTH>;

// Maps floats to integers in the same order.
fn order_key(v: f32) -> u32 {
    let bits = bitcast<u32>(v);
    return select(bits | 0x80000000u, ~bits, (bits >> 31u) == 1u);
}

// Sum over all lanes, four values at once: each of 16 lanes adds a 16th, then all add those.
fn sum4(lane: u32, value: vec4<f32>) -> vec4<f32> {
    search_slots[lane] = value;
    workgroupBarrier();
    var sum = vec4<f32>(0.0);
    if lane < 16u {
        for (var i = 0u; i < WIDTH / 16u; i++) {
            sum += search_slots[lane * (WIDTH / 16u) + i];
        }
    }
    workgroupBarrier();
    if lane < 16u {
        search_slots[lane] = sum;
    }
    workgroupBarrier();
    sum = vec4<f32>(0.0);
    for (var i = 0u; i < 16u; i++) {
        sum += search_slots[i];
    }
    workgroupBarrier();
    return sum;
}

// Weight of a logit in a search: 1 to count, or its probability relative to the largest.
fn search_weight(logit: f32, top: f32, count: bool) -> f32 {
    if count {
        return 1.0;
    }
    return exp(logit - top);
}

// Weight of all logits with at least this key.
fn reach(lane: u32, base: u32, vocab: u32, key: u32, top: f32, count: bool) -> f32 {
    var sum = 0.0;
    for (var i = lane; i < vocab; i += WIDTH) {
        let logit = logits[base + i];
        if order_key(logit) >= key {
            sum += search_weight(logit, top, count);
        }
    }
    return sum4(lane, vec4<f32>(sum)).x;
}

// The largest key in floor..=ceiling whose reach is at least `goal`; that of `floor` is taken for granted.
fn search(lane: u32, base: u32, vocab: u32, floor: u32, ceiling: u32, top: f32, goal: f32, count: bool) -> u32 {
    var low = floor;
    var high = ceiling;
    while low < high {
        let step = (high - low) / 16u + 1u;
        // Candidate c is low + c * step for c from 1 to 16; those past `high` (they may wrap around) are ignored.
        let first = vec4<u32>(low) + step * vec4<u32>(1u, 2u, 3u, 4u);
        var sums = array<vec4<f32>, 4>();
        for (var i = lane; i < vocab; i += WIDTH) {
            let logit = logits[base + i];
            let key = order_key(logit);
            let weight = vec4<f32>(search_weight(logit, top, count));
            let reached = vec4<u32>(key);
            let none = vec4<f32>(0.0);
            sums[0] += select(none, weight, reached >= first);
            sums[1] += select(none, weight, reached >= first + 4u * step);
            sums[2] += select(none, weight, reached >= first + 8u * step);
            sums[3] += select(none, weight, reached >= first + 12u * step);
        }
        var held = 0u; // candidates that reach the goal: reach falls as the key rises
        for (var quad = 0u; quad < 4u; quad++) {
            let total = sum4(lane, sums[quad]);
            for (var i = 0u; i < 4u; i++) {
                let candidate = quad * 4u + i + 1u;
                if held == candidate - 1u && candidate <= (high - low) / step && total[i] >= goal {
                    held = candidate;
                }
            }
        }
        low += held * step;
        high = min(high, low + step - 1u);
        high = max(high, low);
    }
    return low;
}
