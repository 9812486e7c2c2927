// Angles of rope. Imported after `params`, by shaders that bind `factors`.
#import fixed

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
