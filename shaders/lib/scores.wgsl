// Scores of training attention, four at a time, for its gradients. Imported after `params` and `step`; the importing
// shader declares `p`.

#import seen

// A score and its derivative with respect to the product of query and key.
struct Scores {
    score: vec4<f32>,
    slope: vec4<f32>,
}

fn scores(raw: vec4<f32>) -> Scores {
    if p.softcap == 0.0 {
        return Scores(raw * p.scale, vec4<f32>(p.scale));
    }
    let bent = tanh(clamp(raw * (p.scale / p.softcap), vec4<f32>(-15.0), vec4<f32>(15.0)));
    return Scores(p.softcap * bent, p.scale * (1.0 - bent * bent));
}

// The ranges that four rows from `token` on see; rows past the end see nothing.
struct Seen {
    start: vec4<u32>,
    end: vec4<u32>,
}

fn seen_by(token: u32, count: u32) -> Seen {
    var seen: Seen;
    for (var r = 0u; r < 4u; r++) {
        let row = rows[1u + min(token + r, count - 1u)];
        let start = min(first_position(row), count);
        seen.start[r] = start;
        seen.end[r] = select(start, min(row.pos + 1u, count), token + r < count);
    }
    return seen;
}

// From the first position that one of the four sees to the end.
fn span(seen: Seen) -> vec2<u32> {
    var all = vec2<u32>(0xffffffffu, 0u);
    for (var r = 0u; r < 4u; r++) {
        if seen.end[r] > seen.start[r] {
            all = vec2<u32>(min(all.x, seen.start[r]), max(all.y, seen.end[r]));
        }
    }
    return all;
}
