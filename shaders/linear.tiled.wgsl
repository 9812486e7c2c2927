#candidate order=5 on=hardware capacity=9.. grid=out/64,64,1
#import params
#import step
#import weight

// Prefill: tiles of 64 rows of w by 64 of x, 32 columns at a time through workgroup memory; each of 256 lanes holds
// 4 x 4 sums.
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> w: array<u32>;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(4) var<storage, read_write> x: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<storage, read_write> residual: array<f32>;
@group(0) @binding(7) var<storage, read_write> y: array<f32>;

const TILE: u32 = 64u;
const DEPTH: u32 = 32u;

// (row, columns / 4), the columns of a row permuted so that lanes that read different rows hit different banks.
var<workgroup> w_tile: array<vec4<f32>, 512>;
var<workgroup> x_tile: array<vec4<f32>, 512>;

fn cell(row: u32, word: u32) -> u32 {
    return row * (DEPTH / 4u) + (word ^ (row % (DEPTH / 4u)));
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let count = active_rows(rows[0], p.count);
    let first_row = group.x * TILE;
    let first_token = group.y * TILE;
    let words = p.cols / 4u;
    let across = lane % 16u; // rows across, across + 16, .. of w
    let down = lane / 16u;   // rows down, down + 16, .. of x
    var acc: array<vec4<f32>, 4>;
    for (var start = 0u; start < p.cols; start += DEPTH) {
        // Each lane loads eight weights and eight activations; what lies past an edge counts as zero or is not written.
        let w_row = lane % TILE;
        let oct = start / 8u + lane / TILE;
        var eight = Oct(vec4<f32>(0.0), vec4<f32>(0.0));
        if oct * 8u < p.cols {
            eight = w_oct(p.planes, p.cols, min(first_row + w_row, p.out - 1u), oct);
        }
        w_tile[cell(w_row, lane / TILE * 2u)] = eight.lo;
        w_tile[cell(w_row, lane / TILE * 2u + 1u)] = eight.hi;
        for (var half = 0u; half < 2u; half++) {
            let t = lane / 8u + half * 32u;
            let word = start / 4u + lane % 8u;
            var value = vec4<f32>(0.0);
            if word < words {
                value = x[min(first_token + t, count - 1u) * words + word];
            }
            x_tile[cell(t, lane % 8u)] = value;
        }
        workgroupBarrier();
        for (var k = 0u; k < DEPTH / 4u; k++) {
            let w0 = w_tile[cell(across, k)];
            let w1 = w_tile[cell(across + 16u, k)];
            let w2 = w_tile[cell(across + 32u, k)];
            let w3 = w_tile[cell(across + 48u, k)];
            for (var t = 0u; t < 4u; t++) {
                let v = x_tile[cell(down + 16u * t, k)];
                acc[t] += vec4<f32>(dot(w0, v), dot(w1, v), dot(w2, v), dot(w3, v));
            }
        }
        workgroupBarrier();
    }
    for (var t = 0u; t < 4u; t++) {
        let token = first_token + down + 16u * t;
        for (var i = 0u; i < 4u; i++) {
            let r = first_row + across + 16u * i;
            if token >= count || r >= p.out {
                continue;
            }
            let at = token * p.y_stride + p.y_offset + r;
            var value = acc[t][i];
            if p.has_bias != 0u {
                value += bias[r];
            }
            if p.has_residual != 0u {
                value += residual[at];
            }
            y[at] = value;
        }
    }
}
