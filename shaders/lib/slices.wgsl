// SLICES parts of a workgroup, of 32 lanes each, take turns along a sum; their sums are joined in order, by one barrier.
override SLICES: u32 = 1u; // at most 4
override LANES: u32 = 32u * SLICES;

var<workgroup> slice_sums: array<vec4<f32>, 1024>; // (entry, lane)

// Whether this slice writes an entry: they share them out.
fn writes(slice: u32, entry: u32) -> bool {
    return SLICES == 1u || entry % SLICES == slice;
}

// Turns each of the first `entries` sums into the whole one, in the slice that writes it. All lanes must call.
fn join(acc: ptr<function, array<vec4<f32>, 8>>, entries: u32, index: u32) {
    if SLICES == 1u {
        return;
    }
    for (var e = 0u; e < entries; e++) {
        slice_sums[e * LANES + index] = (*acc)[e];
    }
    workgroupBarrier();
    for (var e = index / 32u; e < entries; e += SLICES) {
        var sum = slice_sums[e * LANES + index % 32u];
        for (var s = 1u; s < SLICES; s++) {
            sum += slice_sums[e * LANES + s * 32u + index % 32u];
        }
        (*acc)[e] = sum;
    }
}
