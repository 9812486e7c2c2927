// Sums and maxima over a workgroup of WIDTH lanes (a constant of the importing shader), always in the same order.
// All lanes must call; all get the result.
var<workgroup> reduce_slots: array<f32, WIDTH>;

fn reduce_sum(lane: u32, value: f32) -> f32 {
    reduce_slots[lane] = value;
    workgroupBarrier();
    for (var half = WIDTH / 2u; half > 0u; half /= 2u) {
        if lane < half {
            reduce_slots[lane] += reduce_slots[lane + half];
        }
        workgroupBarrier();
    }
    let sum = reduce_slots[0];
    workgroupBarrier();
    return sum;
}

fn reduce_max(lane: u32, value: f32) -> f32 {
    reduce_slots[lane] = value;
    workgroupBarrier();
    for (var half = WIDTH / 2u; half > 0u; half /= 2u) {
        if lane < half {
            reduce_slots[lane] = max(reduce_slots[lane], reduce_slots[lane + half]);
        }
        workgroupBarrier();
    }
    let top = reduce_slots[0];
    workgroupBarrier();
    return top;
}
