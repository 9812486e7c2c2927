#candidate order=1 on=hardware grid=out/32,1,1 ROWS=2 SLICES=8
#candidate order=1 on=software grid=out/64,1,1 ROWS=4 SLICES=1
#import params
#import step
#import weight
#import activation
#import normed
#import normed_sums

// y[t] = act(gate norm(x[t])) * (up norm(x[t])), a row of x at a time: decode. Half of a lane's ROWS are of the gate, half
// are the same of up, which follow it in w.
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> w: array<u32>;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(4) var<storage, read_write> x: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> norm: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let t = group.y;
    if t >= active_rows(rows[0], p.count) {
        return;
    }
    var slice = index / 32u;
    if SLICES == 1u {
        slice = 0u; // so that the compiler sees reads of x as the same for all lanes
    }
    let half = ROWS / 2u;
    let first = group.x * half * 32u + index % 32u;
    // Rows past the end repeat the last one, and are not written.
    var row = array<u32, 8>();
    for (var r = 0u; r < half; r++) {
        row[r] = min(first + 32u * r, p.out - 1u);
        row[half + r] = p.out + row[r];
    }
    var acc = array<f32, 9>();
    w_normed(p.planes, &row, t * (p.cols / 4u), slice, &acc);
    join(index, &acc);
    let scale = norm_scale(acc[SQUARES]);
    for (var r = 0u; r < half; r++) {
        if slice == 0u && first + 32u * r < p.out {
            let gate = vec4<f32>(acc[r] * scale);
            var value = silu(gate).value.x;
            if p.kind == GELU_TANH {
                value = gelu_tanh(gate).value.x;
            }
            y[t * p.out + row[r]] = value * (acc[half + r] * scale);
        }
    }
}
