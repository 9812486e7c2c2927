#candidate order=2 on=hardware capacity=32.. one_slot if=!part if=head_dim%32 if=head_dim<=128 grid=heads,32,1 CHUNKS=head_dim/32
#import params
#import step
#import seen
#import kv

// Prefill: 32 rows of one head against 32 positions at a time, with the streaming softmax of `attention.wgsl`; no score
// matrix is kept. All rows are of one slot; heads are at most 128 wide, in chunks of 32 columns.
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(4) var<storage, read_write> q: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> k: array<KvWord>;
@group(0) @binding(6) var<storage, read_write> v: array<KvWord>;
@group(0) @binding(7) var<storage, read_write> y: array<vec4<f32>>;

override CHUNKS: u32 = 2u; // head_dim / 32, at most 4

const LOWEST: f32 = -3.4e38;
const TILE: u32 = 32u;
const WORDS: u32 = 8u;   // of a chunk of a row
const PITCH: u32 = 33u;  // of `weights`, so that a lane per row hits different banks

var<workgroup> q_tile: array<vec4<f32>, 256>;  // (row, word)
var<workgroup> kv_tile: array<vec4<f32>, 256>; // (position, word)
var<workgroup> weights: array<f32, 1056>;      // (row, position): scores, then weights
var<workgroup> first_seen: array<u32, TILE>;
var<workgroup> end_seen: array<u32, TILE>;
var<workgroup> top: array<f32, TILE>;
var<workgroup> sum: array<f32, TILE>;
var<workgroup> shrink: array<f32, TILE>;
var<workgroup> span: vec2<u32>;                // positions that any of the rows sees

fn cell(row: u32, word: u32) -> u32 {
    return row * WORDS + (word ^ (row % WORDS));
}

// The range that each row sees, and the range that holds them all; rows past the end see nothing. All lanes load the
// latter as one value: loops that hold barriers run over it.
fn look(lane: u32, first_row: u32, count: u32) -> vec2<u32> {
    if lane < TILE {
        let row = rows[1u + min(first_row + lane, count - 1u)];
        let start = first_position(row);
        first_seen[lane] = start;
        end_seen[lane] = select(start, row.pos + 1u, first_row + lane < count);
        top[lane] = LOWEST;
        sum[lane] = 0.0;
    }
    workgroupBarrier();
    if lane == 0u {
        var all = vec2<u32>(0xffffffffu, 0u);
        for (var r = 0u; r < TILE; r++) {
            if end_seen[r] > first_seen[r] {
                all = vec2<u32>(min(all.x, first_seen[r]), max(all.y, end_seen[r]));
            }
        }
        span = all;
    }
    return workgroupUniformLoad(&span);
}

// Turns the scores of one row into weights relative to the largest so far.
fn weigh(row: u32, start: u32) {
    var peak = top[row];
    for (var j = 0u; j < TILE; j++) {
        let seen = start + j >= first_seen[row] && start + j < end_seen[row];
        let score = select(LOWEST, weights[row * PITCH + j], seen);
        weights[row * PITCH + j] = score;
        peak = max(peak, score);
    }
    var total = 0.0;
    for (var j = 0u; j < TILE; j++) {
        let score = weights[row * PITCH + j];
        let weight = select(exp(score - peak), 0.0, score == LOWEST);
        weights[row * PITCH + j] = weight;
        total += weight;
    }
    let less = exp(top[row] - peak);
    shrink[row] = less;
    sum[row] = sum[row] * less + total;
    top[row] = peak;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let count = active_rows(rows[0], TOKEN_ROWS);
    let first_row = group.y * TILE;
    let head = group.x;
    let words = p.head_dim / 4u;
    let stride = p.kv_heads * words;
    let base = rows[1u + first_row].slot * p.ctx * stride + (head / (p.heads / p.kv_heads)) * words;
    let across = lane % 8u; // positions, or columns, across, across + 8, ..
    let down = lane / 8u;   // rows down, down + 8, ..
    let seen = look(lane, first_row, count);
    let end = seen.y;
    var value: array<vec4<f32>, 16>; // (row, chunk)
    for (var at = seen.x; at < end; at += TILE) {
        // With its value: some compilers make a variable zero once, not at every turn of the loop that it is in.
        var scores = array<vec4<f32>, 4>();
        for (var chunk = 0u; chunk < CHUNKS; chunk++) {
            for (var r = down; r < TILE; r += 8u) {
                let t = min(first_row + r, count - 1u);
                q_tile[cell(r, across)] = q[(t * p.heads + head) * words + chunk * WORDS + across] * p.scale;
                let key = base + (min(at + r, end - 1u) % p.ctx) * stride + chunk * WORDS + across;
                kv_tile[cell(r, across)] = kv_unpack(k[key]);
            }
            workgroupBarrier();
            for (var word = 0u; word < WORDS; word++) {
                let k0 = kv_tile[cell(across, word)];
                let k1 = kv_tile[cell(across + 8u, word)];
                let k2 = kv_tile[cell(across + 16u, word)];
                let k3 = kv_tile[cell(across + 24u, word)];
                for (var i = 0u; i < 4u; i++) {
                    let row = q_tile[cell(down + 8u * i, word)];
                    scores[i] += vec4<f32>(dot(row, k0), dot(row, k1), dot(row, k2), dot(row, k3));
                }
            }
            workgroupBarrier();
        }
        for (var i = 0u; i < 4u; i++) {
            for (var j = 0u; j < 4u; j++) {
                weights[(down + 8u * i) * PITCH + across + 8u * j] = capped(scores[i][j]);
            }
        }
        workgroupBarrier();
        if lane < TILE {
            weigh(lane, at);
        }
        workgroupBarrier();
        for (var chunk = 0u; chunk < CHUNKS; chunk++) {
            for (var r = down; r < TILE; r += 8u) {
                let source = base + (min(at + r, end - 1u) % p.ctx) * stride + chunk * WORDS + across;
                kv_tile[cell(r, across)] = kv_unpack(v[source]);
            }
            workgroupBarrier();
            for (var i = 0u; i < 4u; i++) {
                let row = down + 8u * i;
                var acc = value[i * 4u + chunk] * shrink[row];
                for (var j = 0u; j < TILE; j++) {
                    acc += weights[row * PITCH + j] * kv_tile[cell(j, across)];
                }
                value[i * 4u + chunk] = acc;
            }
            workgroupBarrier();
        }
    }
    for (var i = 0u; i < 4u; i++) {
        let row = down + 8u * i;
        if first_row + row >= count {
            continue;
        }
        for (var chunk = 0u; chunk < CHUNKS; chunk++) {
            let to = ((first_row + row) * p.heads + head) * words + chunk * WORDS + across;
            y[to] = value[i * 4u + chunk] / sum[row];
        }
    }
}
