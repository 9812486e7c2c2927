#candidate order=9 grid=width/64,1,1
#import params
#import step

// dw += the sum of dy * x / rms(x) over rows and groups, in order. 64 groups of elements at a time: a lane finds the
// scale of one, then adds its own column of all.
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(4) var<storage, read_write> x: array<f32>;
@group(0) @binding(5) var<storage, read_write> dy: array<f32>;
@group(0) @binding(6) var<storage, read_write> dw: array<f32>;

var<workgroup> scales: array<f32, 64>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let total = active_rows(rows[0], p.count) * p.groups;
    let column = min(group.x * 64u + lane, p.width - 1u);
    var sum = dw[column];
    for (var first = 0u; first < total; first += 64u) {
        let mine = min(first + lane, total - 1u) * p.width;
        var squares = 0.0;
        for (var i = 0u; i < p.width; i++) {
            squares += x[mine + i] * x[mine + i];
        }
        scales[lane] = inverseSqrt(squares / f32(p.width) + p.eps);
        workgroupBarrier();
        for (var i = 0u; i < min(64u, total - first); i++) {
            let at = (first + i) * p.width + column;
            sum += dy[at] * x[at] * scales[i];
        }
        workgroupBarrier();
    }
    if group.x * 64u + lane < p.width {
        dw[column] = sum;
    }
}
