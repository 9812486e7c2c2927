#candidate order=9 grid=heads/4,1,1
#import params
#import step
#import fixed

// Rotates pairs of each head by pos * frequency. Angles are fractions of a turn in fixed point, so that they are
// exact modulo a turn at any position; sine and cosine are polynomials on an eighth of a turn (Cephes).
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(4) var<storage, read_write> x: array<f32>;
@group(0) @binding(5) var<storage, read> factors: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;

const HEADS: u32 = 4u; // heads a workgroup
const RADIANS: f32 = 1.4629180792671596e-9; // 2 pi / 2^32

// Position times frequency of a pair, modulo a turn, in units of 2^-32 turn.
fn phase(pos: u32, pair: u32) -> u32 {
    var frequency = fixed_pow(p.turn, p.step, pair);
    if p.has_factors != 0u {
        frequency = fixed_div(frequency, factors[pair]);
    }
    return pos * frequency.y + mul_high(pos, frequency.x);
}

// (cos, sin) of a phase.
fn unit(phase: u32) -> vec2<f32> {
    let quarter = (phase + 0x20000000u) >> 30u;
    let a = f32(bitcast<i32>(phase - (quarter << 30u))) * RADIANS;
    let z = a * a;
    let sine = a + a * z * (-1.6666654611e-1 + z * (8.3321608736e-3 - z * 1.9515295891e-4));
    let cosine =
        1.0 - 0.5 * z + z * z * (4.166664568298827e-2 + z * (-1.388731625493765e-3 + z * 2.443315711809948e-5));
    var turned = vec2<f32>(cosine, sine);
    if (quarter & 1u) == 1u {
        turned = vec2<f32>(-turned.y, turned.x);
    }
    return select(turned, -turned, (quarter & 2u) == 2u);
}

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
