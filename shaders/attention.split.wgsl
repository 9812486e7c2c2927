#candidate order=1 if=part grid=heads,1,splits grid=heads,1,1
#import attend

// Decode: each row's context is cut into `splits` parts that attend apart; `combine` joins them.
@group(0) @binding(7) var<storage, read_write> y: array<f32>;
@group(0) @binding(8) var<storage, read_write> part: array<f32>; // (rows * heads * splits, head_dim + 2)

// Positions of one part: the context in equal multiples of a tile.
fn part_length(count: u32) -> u32 {
    let each = (count + p.splits - 1u) / p.splits;
    return (each + WIDTH - 1u) / WIDTH * WIDTH;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = rows[1u + group.y];
    let first = first_position(row);
    let end = row.pos + 1u;
    let length = part_length(end - first);
    let start = min(first + group.z * length, end);
    let result = attend(lane, group.y, group.x, row, start, min(start + length, end));
    let base = ((group.y * p.heads + group.x) * p.splits + group.z) * (p.head_dim + 2u);
    if lane < p.head_dim / 4u {
        for (var i = 0u; i < 4u; i++) {
            part[base + 4u * lane + i] = result.value[i];
        }
    }
    if lane == 0u {
        part[base + p.head_dim] = result.top;
        part[base + p.head_dim + 1u] = result.sum;
    }
}

@compute @workgroup_size(64)
fn combine(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let width = p.head_dim + 2u;
    let base = (group.y * p.heads + group.x) * p.splits * width;
    var top = LOWEST;
    for (var s = 0u; s < p.splits; s++) {
        top = max(top, part[base + s * width + p.head_dim]);
    }
    var sum = 0.0;
    for (var s = 0u; s < p.splits; s++) {
        sum += part[base + s * width + p.head_dim + 1u] * exp(part[base + s * width + p.head_dim] - top);
    }
    for (var i = lane; i < p.head_dim; i += WIDTH) {
        var value = 0.0;
        for (var s = 0u; s < p.splits; s++) {
            value += part[base + s * width + i] * exp(part[base + s * width + p.head_dim] - top);
        }
        y[(group.y * p.heads + group.x) * p.head_dim + i] = value / sum;
    }
}
