#candidate order=9 grid=width/64,1,1
#import params
#import step

// y = cap tanh(x / cap), an element a lane. The argument is clamped: tanh is 1 there in f32, and some drivers overflow beyond.
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(4) var<storage, read_write> x: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= p.width || id.y >= active_rows(rows[0], OUTPUT_ROWS) {
        return;
    }
    let at = id.y * p.width + id.x;
    y[at] = p.cap * tanh(clamp(x[at] / p.cap, -15.0, 15.0));
}
