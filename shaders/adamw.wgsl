#candidate order=9 grid=width/64<=4096,1,1
#import params
#import step_types

// One step of AdamW on a flat tensor; lanes stride along it.
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(2) var<storage, read> scalars: array<Scalars>;
@group(0) @binding(4) var<storage, read_write> grad: array<f32>;
@group(0) @binding(5) var<storage, read_write> w: array<f32>;
@group(0) @binding(6) var<storage, read_write> m: array<f32>;
@group(0) @binding(7) var<storage, read_write> v: array<f32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let s = scalars[0];
    let decay = select(0.0, s.decay, p.decays == 1u);
    for (var i = group.x * 64u + lane; i < p.width; i += groups.x * 64u) {
        let g = grad[i] * s.scale;
        let first = s.beta1 * m[i] + (1.0 - s.beta1) * g;
        let second = s.beta2 * v[i] + (1.0 - s.beta2) * g * g;
        let step = first / s.correct1 / (sqrt(second / s.correct2) + s.eps);
        m[i] = first;
        v[i] = second;
        w[i] -= s.rate * (step + decay * w[i]);
    }
}
