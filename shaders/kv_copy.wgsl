#candidate order=9 grid=width/256,1,1
#import params
#import step
#import kv

// Copies position `pos` of slot `token` to slot `slot`, a word of four elements a lane.
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(4) var<storage, read_write> cache_k: array<KvWord>;
@group(0) @binding(5) var<storage, read_write> cache_v: array<KvWord>;
@group(0) @binding(6) var<storage, read_write> tokens: array<u32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let words = p.width / 4u;
    if id.x >= words {
        return;
    }
    let row = rows[1u + id.y];
    let source = source_slot(row) * p.ctx + row.pos % p.ctx;
    let to = row.slot * p.ctx + row.pos % p.ctx;
    cache_k[to * words + id.x] = cache_k[source * words + id.x];
    cache_v[to * words + id.x] = cache_v[source * words + id.x];
    if id.x == 0u && p.has_tokens != 0u {
        tokens[row.slot * p.table + row.pos] = tokens[source_slot(row) * p.table + row.pos];
    }
}
