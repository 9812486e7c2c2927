#candidate order=9 grid=heads/4,1,1
#import params
#import step
#import angle

// Rotates pairs of each head by pos * frequency. Angles are fractions of a turn in fixed point, so that they are
// exact modulo a turn at any position; sine and cosine are polynomials on an eighth of a turn (Cephes).
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(4) var<storage, read_write> x: array<f32>;
@group(0) @binding(5) var<storage, read> factors: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;

const HEADS: u32 = 4u; // heads a workgroup
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let t = group.y;
    let first = group.x * HEADS;
    let last = min(first + HEADS, p.heads);
    let row = rows[1u + t];
    let half = p.rope_dim / 2u;
    for (var pair = lane; pair < half; pair += 64u) {
        var turn = unit(phase(row.pos, pair));
        if p.inverse != 0u {
            turn.y = -turn.y;
        }
        turn *= p.magnitude;
        let a = select(2u * pair, pair, p.neox == 1u);
        let b = select(2u * pair + 1u, pair + half, p.neox == 1u);
        for (var head = first; head < last; head++) {
            let base = (t * p.heads + head) * p.head_dim;
            let u = x[base + a];
            let v = x[base + b];
            y[base + a] = u * turn.x - v * turn.y;
            y[base + b] = u * turn.y + v * turn.x;
        }
    }
    // Dimensions that do not rotate.
    for (var i = p.rope_dim + lane; i < p.head_dim; i += 64u) {
        for (var head = first; head < last; head++) {
            let at = (t * p.heads + head) * p.head_dim + i;
            y[at] = x[at];
        }
    }
}
