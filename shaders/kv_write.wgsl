#candidate order=9 grid=width/256,1,1
#import params
#import step
#import kv

// Stores row t of k and v at (slot, pos) of the cache, four elements a lane.
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(4) var<storage, read_write> k: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> v: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> cache_k: array<KvWord>;
@group(0) @binding(7) var<storage, read_write> cache_v: array<KvWord>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let words = p.width / 4u;
    if id.x >= words {
        return;
    }
    let row = rows[1u + id.y];
    let source = id.y * words + id.x;
    let to = (row.slot * p.ctx + row.pos % p.ctx) * words + id.x;
    cache_k[to] = kv_pack(k[source]);
    cache_v[to] = kv_pack(v[source]);
}
