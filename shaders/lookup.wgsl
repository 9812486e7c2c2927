#candidate order=9 grid=1,1,1
#import params
#import step

// x[t] = scale * w[token of row t], one workgroup a row; also keeps the token table, where there is one.
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(4) var<storage, read_write> w: array<f32>;
@group(0) @binding(5) var<storage, read_write> tokens: array<u32>;
@group(0) @binding(6) var<storage, read_write> x: array<f32>;

const FROM_TABLE: u32 = 0xffffffffu;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let t = group.y;
    if t >= active_rows(rows[0], TOKEN_ROWS) {
        return;
    }
    let row = rows[1u + t];
    var token = row.token;
    if p.ctx != 0u {
        let at = row.slot * p.ctx + row.pos;
        if token == FROM_TABLE {
            token = tokens[at];
        } else if lane == 0u {
            tokens[at] = token;
        }
    }
    // A row that names no token reads the last row of the table.
    token = min(token, arrayLength(&w) / p.width - 1u);
    for (var i = lane; i < p.width; i += 64u) {
        x[t * p.width + i] = w[token * p.width + i] * p.scale;
    }
}
