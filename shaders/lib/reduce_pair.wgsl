// Sum of two numbers a lane over a workgroup of WIDTH lanes, as `reduce`; the width is the dispatcher's choice, at most 64.
override WIDTH: u32 = 64u;
var<workgroup> pair_slots: array<vec2<f32>, 64>;

fn reduce_pair(lane: u32, value: vec2<f32>) -> vec2<f32> {
    pair_slots[lane] = value;
    workgroupBarrier();
    var sum = vec2<f32>(0.0);
    for (var i = 0u; i < WIDTH; i++) {
        sum += pair_slots[i];
    }
    return sum;
}
