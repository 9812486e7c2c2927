// Unsigned fixed-point fractions of 64 bits, low word first. Integers are exact on every driver, floats are not.

// High word of a 32 x 32 bit product.
fn mul_high(a: u32, b: u32) -> u32 {
    let al = a & 0xffffu;
    let ah = a >> 16u;
    let bl = b & 0xffffu;
    let bh = b >> 16u;
    let middle = ah * bl + ((al * bl) >> 16u);
    let other = al * bh + (middle & 0xffffu);
    return ah * bh + (middle >> 16u) + (other >> 16u);
}

// a * b for fractions: the high 64 bits of the product.
fn fixed_mul(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let cross = a.x * b.y;
    let middle = mul_high(a.x, b.x) + cross;
    let carry_cross = u32(middle < cross);
    let other = a.y * b.x;
    let total = middle + other;
    let carry_other = u32(total < other);
    let low = a.y * b.y;
    let high_cross = mul_high(a.x, b.y) + carry_cross;
    let high_other = mul_high(a.y, b.x) + carry_other;
    let first = low + high_cross;
    let second = first + high_other;
    let carry = u32(first < low) + u32(second < first);
    return vec2<u32>(second, mul_high(a.y, b.y) + carry);
}

// a^n * start by squaring.
fn fixed_pow(start: vec2<u32>, a: vec2<u32>, n: u32) -> vec2<u32> {
    var result = start;
    var square = a;
    for (var bits = n; bits > 0u; bits >>= 1u) {
        if (bits & 1u) == 1u {
            result = fixed_mul(result, square);
        }
        square = fixed_mul(square, square);
    }
    return result;
}

// a / divisor for a normal divisor of at least 2^-9: long division by the 24-bit significand, a byte at a time.
fn fixed_div(a: vec2<u32>, divisor: f32) -> vec2<u32> {
    let bits = bitcast<u32>(divisor);
    let significand = (bits & 0x7fffffu) | 0x800000u;
    let shift = clamp((bits >> 23u) & 0xffu, 119u, 149u) - 118u;
    var limbs = vec3<u32>(a.y, a.x, 0u);
    var rest = 0u;
    for (var limb = 0u; limb < 3u; limb++) {
        var quotient = 0u;
        for (var byte = 0u; byte < 4u; byte++) {
            rest = (rest << 8u) | ((limbs[limb] >> (24u - 8u * byte)) & 0xffu);
            quotient = (quotient << 8u) | (rest / significand);
            rest %= significand;
        }
        limbs[limb] = quotient;
    }
    let high = (limbs.x << (32u - shift)) | (limbs.y >> shift);
    return vec2<u32>((limbs.y << (32u - shift)) | (limbs.z >> shift), high);
}
