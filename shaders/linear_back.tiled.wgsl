#candidate order=9 grid=cols/64,64,1
#import params
#import step
#import weight

// Tiles of 64 columns of w by 64 rows of dy, 32 rows of w at a time through workgroup memory; each of 256 lanes holds
// 4 rows x 4 columns of sums.
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> w: array<u32>;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(4) var<storage, read_write> dy: array<f32>;
@group(0) @binding(5) var<storage, read_write> dx: array<vec4<f32>>;

const TILE: u32 = 64u;
const DEPTH: u32 = 32u;

var<workgroup> w_tile: array<vec4<f32>, 512>;  // (row of w, columns / 4)
var<workgroup> dy_tile: array<vec4<f32>, 512>; // (row of dy, rows of w / 4)

// Permuted within a row, so that lanes that write different rows hit different banks.
fn w_cell(row: u32, word: u32) -> u32 {
    return row * (TILE / 4u) + (word ^ (row % (TILE / 4u)));
}

fn dy_cell(row: u32, word: u32) -> u32 {
    return row * (DEPTH / 4u) + (word ^ (row % (DEPTH / 4u)));
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let count = active_rows(rows[0], p.count);
    let first_token = group.y * TILE;
    let words = p.cols / 4u;
    let first_word = group.x * (TILE / 4u);
    let across = lane % 16u; // four columns of w
    let down = lane / 16u;   // rows down, down + 16, .. of dy
    let w_row = lane % DEPTH;
    let w_word = lane / DEPTH * 2u;
    let oct = (first_word + w_word) / 2u;
    var acc: array<vec4<f32>, 4>;
    for (var start = 0u; start < p.out; start += DEPTH) {
        // Each lane loads eight weights and eight gradients; what lies past an edge counts as zero or is not written.
        var eight = Oct(vec4<f32>(0.0), vec4<f32>(0.0));
        if oct * 8u < p.cols && start + w_row < p.out {
            eight = w_oct(p.planes, p.cols, start + w_row, oct);
        }
        w_tile[w_cell(w_row, w_word)] = eight.lo;
        w_tile[w_cell(w_row, w_word + 1u)] = eight.hi;
        for (var half = 0u; half < 2u; half++) {
            let t = lane / 8u + half * 32u;
            let r = start + lane % 8u * 4u;
            let base = min(first_token + t, count - 1u) * p.dy_stride + p.dy_offset + r;
            var value = vec4<f32>(0.0);
            for (var i = 0u; i < 4u; i++) {
                if r + i < p.out {
                    value[i] = dy[base + i];
                }
            }
            dy_tile[dy_cell(t, lane % 8u)] = value;
        }
        workgroupBarrier();
        for (var k = 0u; k < DEPTH / 4u; k++) {
            let w0 = w_tile[w_cell(4u * k, across)];
            let w1 = w_tile[w_cell(4u * k + 1u, across)];
            let w2 = w_tile[w_cell(4u * k + 2u, across)];
            let w3 = w_tile[w_cell(4u * k + 3u, across)];
            for (var t = 0u; t < 4u; t++) {
                let g = dy_tile[dy_cell(down + 16u * t, k)];
                acc[t] += g.x * w0 + g.y * w1 + g.z * w2 + g.w * w3;
            }
        }
        workgroupBarrier();
    }
    for (var t = 0u; t < 4u; t++) {
        let token = first_token + down + 16u * t;
        if token >= count || first_word + across >= words {
            continue;
        }
        let at = token * words + first_word + across;
        if p.accumulate != 0u {
            acc[t] += dx[at];
        }
        dx[at] = acc[t];
    }
}
