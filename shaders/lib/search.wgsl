// Thresholds on logits as integers in the order of the floats, found by a 4-way search: the largest key between two
// bounds from which on the logits still reach a goal. Sums are made in a fixed order.
var<workgroup> search_slots: array<vec4<f32>, WIDTH>;
// The bounds of the search. All lanes load them as one value, so that the loop around the barriers is uniform by the
// language's rules and not only in fact.
var<workgroup> search_bounds: vec2<u32>;

// Maps floats to integers in the same order.
fn order_key(v: f32) -> u32 {
    let bits = bitcast<u32>(v);
    return select(bits | 0x80000000u, ~bits, (bits >> 31u) == 1u);
}

// Sum over all lanes, four values at once.
fn sum4(lane: u32, value: vec4<f32>) -> vec4<f32> {
    search_slots[lane] = value;
    workgroupBarrier();
    var sum = vec4<f32>(0.0);
    for (var i = 0u; i < WIDTH; i++) {
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
    if lane == 0u {
        search_bounds = vec2<u32>(floor, ceiling);
    }
    var bounds = workgroupUniformLoad(&search_bounds);
    while bounds.x < bounds.y {
        let low = bounds.x;
        let high = bounds.y;
        let step = (high - low) / 4u + 1u;
        // Candidate c is low + c * step for c from 1 to 4; those past `high` (they may wrap around) are ignored.
        let first = vec4<u32>(low) + step * vec4<u32>(1u, 2u, 3u, 4u);
        var sums = vec4<f32>(0.0);
        for (var i = lane; i < vocab; i += WIDTH) {
            let logit = logits[base + i];
            let weight = vec4<f32>(search_weight(logit, top, count));
            sums += select(vec4<f32>(0.0), weight, vec4<u32>(order_key(logit)) >= first);
        }
        let total = sum4(lane, sums);
        var held = 0u; // candidates that reach the goal: reach falls as the key rises
        for (var i = 0u; i < 4u; i++) {
            if held == i && i + 1u <= (high - low) / step && total[i] >= goal {
                held = i + 1u;
            }
        }
        if lane == 0u {
            let next = low + held * step;
            search_bounds = vec2<u32>(next, max(min(high, next + step - 1u), next));
        }
        bounds = workgroupUniformLoad(&search_bounds);
    }
    return bounds.x;
}
