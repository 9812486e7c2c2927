// Sums and maxima over a workgroup of WIDTH lanes (a constant of the importing shader), always in the same order.
// All lanes must call; all get the result. Every lane reads all slots: two barriers instead of a tree's seventeen,
// which matters to drivers that compile each barrier into a suspension of the lane.
var<workgroup> reduce_slots: array<f32, WIDTH>;

fn reduce_sum(lane: u32, value: f32) -> f32 {
    reduce_slots[lane] = value;
    workgroupBarrier();
    var sum = 0.0;
    for (var i = 0u; i < WIDTH; i++) {
        sum += reduce_slots[i];
    }
    workgroupBarrier();
    return sum;
}

fn reduce_max(lane: u32, value: f32) -> f32 {
    reduce_slots[lane] = value;
    workgroupBarrier();
    var top = reduce_slots[0];
    for (var i = 1u; i < WIDTH; i++) {
        top = max(top, reduce_slots[i]);
    }
    workgroupBarrier();
    return top;
}
