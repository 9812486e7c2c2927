#candidate order=9 if=!part grid=heads,1,1
#import attend

// y = softmax(scale q k^T) v, one workgroup per row and head, (tokens, heads * head_dim).
@group(0) @binding(7) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = rows[1u + group.y];
    let result = attend(lane, group.y, group.x, row, first_position(row), row.pos + 1u);
    let words = p.head_dim / 4u;
    if lane < words {
        y[(group.y * p.heads + group.x) * words + lane] = result.value / result.sum;
    }
}
