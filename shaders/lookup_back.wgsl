#candidate order=9 grid=width/64,1,1
#import params
#import step

// dw[token of row t] += scale * dx[t]: a lane owns a column and takes the rows in their order.
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(4) var<storage, read_write> dx: array<f32>;
@group(0) @binding(5) var<storage, read_write> dw: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= p.width {
        return;
    }
    let count = active_rows(rows[0], TOKEN_ROWS);
    let last = arrayLength(&dw) / p.width - 1u;
    for (var t = 0u; t < count; t++) {
        dw[min(rows[1u + t].token, last) * p.width + id.x] += p.scale * dx[t * p.width + id.x];
    }
}
