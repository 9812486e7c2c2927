#candidate order=9 grid=heads/4,1,3
#import params
#import step
#import angle
#import kv

// What is between the products of an attention and the attention: q and k of row t, of which heads are normed, if they are,
// and turned by the row's position; k and v go to (slot, pos) of the cache, q to y. A workgroup takes HEADS heads of one of
// the three.
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(4) var<storage, read_write> x: array<f32>; // (rows, heads of q, k and v)
@group(0) @binding(5) var<storage, read> q_norm: array<f32>;
@group(0) @binding(6) var<storage, read> k_norm: array<f32>;
@group(0) @binding(7) var<storage, read> factors: array<f32>;
@group(0) @binding(8) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(9) var<storage, read_write> cache_k: array<KvWord>;
@group(0) @binding(10) var<storage, read_write> cache_v: array<KvWord>;

const QUERIES: u32 = 0u;
const KEYS: u32 = 1u;
const VALUES: u32 = 2u;
const HEADS: u32 = 4u;
const SHARE: u32 = 16u; // lanes of a head
const LANES: u32 = 64u;

var<workgroup> turns: array<vec2<f32>, 128>; // (cos, sin) of each pair
var<workgroup> squares: array<f32, LANES>;

// An element of a head that begins at `base`, normed.
fn element(base: u32, i: u32, part: u32, scale: f32) -> f32 {
    var value = x[base + i];
    if p.has_norms != 0u {
        value *= scale;
        if part == QUERIES {
            value *= q_norm[i];
        } else {
            value *= k_norm[i];
        }
    }
    return value;
}

// The same, turned.
fn turned(base: u32, i: u32, part: u32, scale: f32) -> f32 {
    let own = element(base, i, part, scale);
    if i >= p.rope_dim {
        return own;
    }
    let half = p.rope_dim / 2u;
    var pair = i / 2u;
    var partner = i ^ 1u;
    var second = (i & 1u) == 1u;
    if p.neox == 1u {
        second = i >= half;
        pair = select(i, i - half, second);
        partner = select(i + half, i - half, second);
    }
    let other = element(base, partner, part, scale);
    let turn = turns[pair];
    return own * turn.x + select(-other, other, second) * turn.y;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let t = group.y;
    let part = group.z;
    let heads = select(p.kv_heads, p.heads, part == QUERIES);
    if group.x * HEADS >= heads {
        return;
    }
    let row = rows[1u + t];
    let mine = group.x * HEADS + lane / SHARE;
    // Lanes of a head that is not there compute the last one's, and write nothing.
    let head = min(mine, heads - 1u);
    let words = select(0u, p.head_dim / 4u, mine < heads);
    var before = p.heads + p.kv_heads;
    if part == QUERIES {
        before = 0u;
    } else if part == KEYS {
        before = p.heads;
    }
    let base = (t * (p.heads + 2u * p.kv_heads) + before + head) * p.head_dim;
    let to = ((row.slot * p.ctx + row.pos % p.ctx) * p.kv_heads + head) * (p.head_dim / 4u);
    if part == VALUES {
        for (var w = lane % SHARE; w < words; w += SHARE) {
            let at = base + 4u * w;
            cache_v[to + w] = kv_pack(vec4<f32>(x[at], x[at + 1u], x[at + 2u], x[at + 3u]));
        }
        return;
    }
    for (var pair = lane; pair < p.rope_dim / 2u; pair += LANES) {
        turns[pair] = unit(phase(row.pos, pair)) * p.magnitude;
    }
    var sum = 0.0;
    if p.has_norms != 0u {
        for (var i = lane % SHARE; i < p.head_dim; i += SHARE) {
            sum += x[base + i] * x[base + i];
        }
    }
    squares[lane] = sum;
    workgroupBarrier();
    var scale = 1.0;
    if p.has_norms != 0u {
        sum = 0.0;
        for (var s = 0u; s < SHARE; s++) {
            sum += squares[lane / SHARE * SHARE + s];
        }
        scale = inverseSqrt(sum / f32(p.head_dim) + p.eps);
    }
    for (var w = lane % SHARE; w < words; w += SHARE) {
        let value = vec4<f32>(
            turned(base, 4u * w, part, scale),
            turned(base, 4u * w + 1u, part, scale),
            turned(base, 4u * w + 2u, part, scale),
            turned(base, 4u * w + 3u, part, scale),
        );
        if part == QUERIES {
            y[(t * p.heads + head) * (p.head_dim / 4u) + w] = value;
        } else {
            cache_k[to + w] = kv_pack(value);
        }
    }
}
