// What a row attends to, and how much a score may be. Imported after `params` and `step`; the importing shader declares `p`.

// First position that a row sees.
fn first_position(row: Row) -> u32 {
    if p.window > 0u && row.pos + 1u > p.window {
        return max(row.first, row.pos + 1u - p.window);
    }
    return row.first;
}

fn capped(score: f32) -> f32 {
    if p.softcap == 0.0 {
        return score;
    }
    return p.softcap * tanh(clamp(score / p.softcap, -15.0, 15.0));
}
