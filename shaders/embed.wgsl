#candidate order=9 grid=1,1,1
#import params
#import step
#import weight

// x[t] = scale * w[token of row t], (tokens, width). One workgroup a row; a lane decodes eight weights at a time.
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> w: array<u32>;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(4) var<storage, read_write> tokens: array<u32>;
@group(0) @binding(5) var<storage, read_write> x: array<vec4<f32>>;

const FROM_TABLE: u32 = 0xffffffffu;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let t = group.y;
    let row = rows[1u + t];
    let at = row.slot * p.ctx + row.pos;
    var token = row.token;
    if token == FROM_TABLE && p.ctx != 0u {
        token = tokens[at];
    } else if lane == 0u && p.ctx != 0u {
        tokens[at] = token;
    }
    let local = token - p.row_first;
    if token < p.row_first || local >= p.row_count {
        return;
    }
    let words = p.width / 4u;
    for (var oct = lane; oct * 2u < words; oct += 64u) {
        let v = w_oct(p.planes, p.width, local, oct);
        let to = t * words + oct * 2u;
        x[to] = v.lo * p.scale;
        // The last oct of a row may be a half.
        if oct * 2u + 1u < words {
            x[to + 1u] = v.hi * p.scale;
        }
    }
}
