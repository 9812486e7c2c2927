#candidate order=9 grid=width/64<=4096,1,1
#import params
#import step

// y = value, a row a workgroup of the second dimension; lanes stride along the row.
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    if p.count != ONE_ROW && group.y >= active_rows(rows[0], p.count) {
        return;
    }
    for (var i = group.x * 64u + lane; i < p.width; i += groups.x * 64u) {
        y[group.y * p.width + i] = p.value;
    }
}
