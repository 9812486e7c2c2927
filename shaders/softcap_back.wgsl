#candidate order=9 grid=width/64,1,1
#import params
#import step

// dx = dy (1 - tanh(x / cap)^2), an element a lane.
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(4) var<storage, read_write> x: array<f32>;
@group(0) @binding(5) var<storage, read_write> dy: array<f32>;
@group(0) @binding(6) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= p.width || id.y >= active_rows(rows[0], OUTPUT_ROWS) {
        return;
    }
    let at = id.y * p.width + id.x;
    let bent = tanh(clamp(x[at] / p.cap, -15.0, 15.0));
    dx[at] = dy[at] * (1.0 - bent * bent);
}
