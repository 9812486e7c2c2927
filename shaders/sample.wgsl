#candidate order=9 grid=1,1,1
#import params
#import step
const WIDTH: u32 = 256u;
#import logits
#import search

// Draws the next token of each output row: repetition penalty, DRY, top-k, top-p, min-p, temperature, draw. One workgroup
// a row. `src/text/sampler.rs` says what each step keeps.
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(2) var<storage, read> rows: array<Row>;
@group(0) @binding(3) var<storage, read> outs: array<Out>;
@group(0) @binding(5) var<storage, read_write> tokens: array<u32>;
@group(0) @binding(6) var<storage, read_write> sampled: array<u32>;

const MAX_LAST_N: u32 = 256u;
// Positions that DRY searches; each lane takes SHARE that lie together.
const MAX_DRY: u32 = 2048u;
const SHARE: u32 = MAX_DRY / WIDTH;
// Longest repetition that is told from a longer one.
const MAX_RUN: u32 = 50u;
// Largest penalty of DRY: what it is taken off is never drawn.
const MOST: f32 = 10000.0;
const NO_TOKEN: u32 = 0xffffffffu;
const NAN_BITS: u32 = 0x7fc00000u;

var<workgroup> recent: array<u32, MAX_LAST_N>;
var<workgroup> slots: array<u32, WIDTH>;
var<workgroup> chunks: array<f32, WIDTH>;
var<workgroup> chosen: u32;
// How long a repetition ends at each position that DRY searches, four in a word.
var<workgroup> runs: array<u32, MAX_DRY / 4u>;
// The logits that DRY replaced in this lane's positions.
var<private> dried: array<f32, SHARE>;

// Whether a logit of the row is not a number; by its bits, since drivers may assume that there are none.
fn damaged(lane: u32, base: u32) -> bool {
    var found = 0.0;
    for (var i = lane; i < p.vocab; i += WIDTH) {
        if (bitcast<u32>(logits[base + i]) & 0x7fffffffu) > 0x7f800000u {
            found = 1.0;
        }
    }
    return reduce_max(lane, found) > 0.0;
}

// A logit that was replaced.
struct Replaced {
    token: u32, // or NO_TOKEN
    logit: f32,
}

// Puts the penalised logit of each distinct recent token in place; returns what this lane replaced.
fn penalise(lane: u32, base: u32, out: Out) -> Replaced {
    let held = min(min(out.repeat_last_n, MAX_LAST_N), out.pos + 1u);
    recent[lane] = NO_TOKEN;
    if lane < held {
        recent[lane] = tokens[out.slot * p.ctx + out.pos - lane];
    }
    workgroupBarrier();
    var token = recent[lane];
    for (var i = 0u; i < lane; i++) {
        if recent[i] == token {
            token = NO_TOKEN;
        }
    }
    if token >= p.vocab || out.repeat_penalty == 1.0 {
        return Replaced(NO_TOKEN, 0.0);
    }
    let logit = logits[base + token];
    logits[base + token] = select(logit * out.repeat_penalty, logit / out.repeat_penalty, logit > 0.0);
    return Replaced(token, logit);
}

fn in_ranges(token: u32, ranges: vec4<u32>) -> bool {
    return token - ranges.x < ranges.y || token - ranges.z < ranges.w;
}

fn is_breaker(token: u32) -> bool {
    return in_ranges(token, p.breakers0) || in_ranges(token, p.breakers1) || in_ranges(token, p.breakers2);
}

fn run_at(i: u32) -> u32 {
    return (runs[i / 4u] >> (i % 4u * 8u)) & 0xffu;
}

// Takes DRY's penalty off the logits of tokens that would go on with a repetition: where the text's end stood before,
// what came next is made less likely the longer that end is. Of several places before the same token the longest
// counts, of equals the last, so that each logit is changed by one lane. Returns which of this lane's positions did.
fn dry(lane: u32, base: u32, out: Out) -> u32 {
    let held = min(min(out.dry_last_n, MAX_DRY), out.pos + 1u);
    let first = out.slot * p.ctx + out.pos + 1u - held;
    // Tokens since the last breaker: no repetition is longer.
    var wall = 0.0;
    if lane < min(MAX_RUN, held) && is_breaker(tokens[first + held - 1u - lane]) {
        wall = f32(MAX_RUN - lane);
    }
    let limit = min(MAX_RUN - u32(reduce_max(lane, wall)), held);
    for (var w = lane * SHARE / 4u; w < (lane + 1u) * SHARE / 4u; w++) {
        var word = 0u;
        for (var i = w * 4u; i < min(w * 4u + 4u, held - min(held, 1u)); i++) {
            var run = 0u;
            while run < min(limit, i + 1u) && tokens[first + i - run] == tokens[first + held - 1u - run] {
                run++;
            }
            word |= run << (i % 4u * 8u);
        }
        runs[w] = word;
    }
    workgroupBarrier();
    var changed = 0u;
    for (var k = 0u; k < SHARE; k++) {
        let i = lane * SHARE + k;
        let run = run_at(i);
        if run == 0u || run < out.dry_allowed {
            continue;
        }
        let token = tokens[first + i + 1u];
        var mine = token < p.vocab;
        for (var j = held - 2u; mine && j > i; j--) {
            mine = run_at(j) < run || tokens[first + j + 1u] != token;
        }
        for (var j = i; mine && j > 0u; j--) {
            mine = run_at(j - 1u) <= run || tokens[first + j] != token;
        }
        if mine {
            changed |= 1u << k;
        }
    }
    for (var k = 0u; k < SHARE; k++) {
        if (changed & (1u << k)) == 0u {
            continue;
        }
        let i = lane * SHARE + k;
        var penalty = out.dry_multiplier;
        for (var more = out.dry_allowed; more < run_at(i); more++) {
            penalty = min(penalty * out.dry_base, MOST);
        }
        let at = base + tokens[first + i + 1u];
        dried[k] = logits[at];
        logits[at] -= min(penalty, MOST);
    }
    return changed;
}

// Puts back what DRY replaced.
fn undry(lane: u32, base: u32, out: Out, changed: u32) {
    let held = min(min(out.dry_last_n, MAX_DRY), out.pos + 1u);
    let first = out.slot * p.ctx + out.pos + 1u - held;
    for (var k = 0u; k < SHARE; k++) {
        if (changed & (1u << k)) != 0u {
            logits[base + tokens[first + lane * SHARE + k + 1u]] = dried[k];
        }
    }
}

// Index of the first of the largest logits.
fn argmax(lane: u32, base: u32, top: f32) -> u32 {
    var first = NO_TOKEN;
    for (var i = lane; i < p.vocab; i += WIDTH) {
        if logits[base + i] >= top {
            first = min(first, i);
        }
    }
    slots[lane] = first;
    workgroupBarrier();
    for (var i = 0u; i < WIDTH; i++) {
        first = min(first, slots[i]);
    }
    // Where all logits are minus infinity none reaches `top`.
    return select(first, 0u, first == NO_TOKEN);
}

// Smallest key that the filters keep.
fn threshold(lane: u32, base: u32, out: Out, top: f32) -> u32 {
    let ceiling = order_key(top);
    var key = 0u;
    if out.top_k > 0u && out.top_k < p.vocab {
        key = search(lane, base, p.vocab, 0u, ceiling, top, f32(out.top_k), true);
    }
    if out.top_p < 1.0 {
        let goal = out.top_p * reach(lane, base, p.vocab, key, top, false);
        key = search(lane, base, p.vocab, key, ceiling, top, goal, false);
    }
    if out.min_p > 0.0 {
        key = min(max(key, order_key(top + log(out.min_p))), ceiling);
    }
    return key;
}

fn mix(value: u32) -> u32 {
    var h = value;
    h ^= h >> 16u;
    h *= 0x85ebca6bu;
    h ^= h >> 13u;
    h *= 0xc2b2ae35u;
    return h ^ (h >> 16u);
}

// A uniform number in [0, 1) from a seed and a position.
fn uniform_at(seed: u32, pos: u32) -> f32 {
    let h = mix(mix(seed + 0x9e3779b9u) ^ (pos * 0x85ebca6bu));
    return f32(h >> 8u) / 16777216.0;
}

// Weight of a logit in the draw.
fn weigh(logit: f32, key: u32, top: f32, temperature: f32) -> f32 {
    return select(0.0, exp((logit - top) / temperature), order_key(logit) >= key);
}

// Draws among the logits of at least `key`, in the order of the vocabulary: each lane sums a run of it, the first lane
// finds the run, and that run's lane the token.
fn draw(lane: u32, base: u32, out: Out, key: u32, top: f32) -> u32 {
    let run = (p.vocab + WIDTH - 1u) / WIDTH;
    let start = min(lane * run, p.vocab);
    let end = min(start + run, p.vocab);
    var sum = 0.0;
    for (var i = start; i < end; i++) {
        sum += weigh(logits[base + i], key, top, out.temperature);
    }
    chunks[lane] = sum;
    workgroupBarrier();
    var total = 0.0;
    for (var i = 0u; i < WIDTH; i++) {
        total += chunks[i];
    }
    let goal = uniform_at(out.seed, out.pos) * total;
    // The run that passes the goal; if rounding lets none pass, the last that weighs anything.
    var before = 0.0;
    var mine = 0.0;
    var pick = 0u;
    for (var i = 0u; i < WIDTH; i++) {
        if chunks[i] > 0.0 && before <= goal {
            pick = i;
            mine = before;
        }
        before += chunks[i];
    }
    if lane == pick {
        var last = start;
        for (var i = start; i < end; i++) {
            let weight = weigh(logits[base + i], key, top, out.temperature);
            if weight > 0.0 {
                mine += weight;
                last = i;
                if mine > goal {
                    break;
                }
            }
        }
        chosen = last;
    }
    workgroupBarrier();
    return chosen;
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let o = group.y;
    if o >= active_rows(rows[0], OUTPUT_ROWS) {
        return;
    }
    let out = outs[o];
    let base = o * p.vocab;
    let bad = damaged(lane, base);
    let full_top = row_max(lane, base, p.vocab);
    let scale = softmax_scale(out.temperature);
    let total = log_sum_exp(lane, base, p.vocab, full_top, scale);

    // The penalty is put into the logits and taken back, so that nothing looks it up for every logit.
    let replaced = penalise(lane, base, out);
    storageBarrier();
    var changed = 0u;
    if out.dry_multiplier > 0.0 {
        changed = dry(lane, base, out);
        storageBarrier();
    }
    let top = row_max(lane, base, p.vocab);
    var choice = 0u;
    if out.temperature <= 0.0 {
        choice = argmax(lane, base, top);
    } else {
        choice = draw(lane, base, out, threshold(lane, base, out, top), top);
    }
    if out.dry_multiplier > 0.0 {
        undry(lane, base, out, changed);
        storageBarrier();
    }
    if replaced.token != NO_TOKEN {
        logits[base + replaced.token] = replaced.logit;
    }
    storageBarrier();
    if lane != 0u {
        return;
    }
    if bad {
        choice = 0u;
    }
    if out.pos + 1u < p.ctx {
        tokens[out.slot * p.ctx + out.pos + 1u] = choice;
    }
    sampled[o * 4u] = choice;
    sampled[o * 4u + 1u] = select(bitcast<u32>((logits[base + choice] - full_top) * scale - total), NAN_BITS, bad);
    sampled[o * 4u + 2u] = u32(bad);
    sampled[o * 4u + 3u] = 0u;
}
