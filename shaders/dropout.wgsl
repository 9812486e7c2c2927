#candidate order=9 grid=1,1,1
#import params
#import step

// y (+)= x where the hash of (seed, use and row, column) is not below the threshold, scaled; one workgroup a row.
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(4) var<storage, read_write> x: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

// The finaliser of MurmurHash3.
fn mix_bits(word: u32) -> u32 {
    var h = word ^ (word >> 16u);
    h *= 0x85ebca6bu;
    h ^= h >> 13u;
    h *= 0xc2b2ae35u;
    return h ^ (h >> 16u);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let t = group.y;
    if t >= active_rows(rows[0], TOKEN_ROWS) {
        return;
    }
    let seed = mix_bits(mix_bits(dropout_seed(rows[0])) ^ (p.id * 0x9e3779b9u + t));
    for (var i = lane; i < p.width; i += 64u) {
        let at = t * p.width + i;
        var value = select(0.0, x[at] * p.scale, mix_bits(seed ^ i) >= p.threshold);
        if p.accumulate != 0u {
            value += y[at];
        }
        y[at] = value;
    }
}
