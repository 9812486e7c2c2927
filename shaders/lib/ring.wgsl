// Where positions are in a slot of the KV cache, which is a ring of `ctx` positions. Imported after `params`.

// What is taken from positions that begin at `start` and are no more than the ring has, before they are wrapped.
fn turns(start: u32) -> u32 {
    return start - start % p.ctx;
}

fn wrapped(place: u32) -> u32 {
    return select(place, place - p.ctx, place >= p.ctx);
}
