#candidate order=9 grid=256,1,1
#import params
const WIDTH: u32 = 64u;
#import reduce

// y[row][piece] = sum of the squares of a piece of x, one workgroup a piece.
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(4) var<storage, read_write> x: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

const PIECES: u32 = 256u;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let each = (p.width + PIECES - 1u) / PIECES;
    let start = min(group.x * each, p.width);
    let end = min(start + each, p.width);
    var squares = 0.0;
    for (var i = start + lane; i < end; i += WIDTH) {
        squares += x[i] * x[i];
    }
    let sum = reduce_sum(lane, squares);
    if lane == 0u {
        y[p.row * PIECES + group.x] = sum;
    }
}
