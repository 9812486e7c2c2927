// What changes from step to step. One Row per token row of the plan, one Out per output row.
// rows[0] is the header, read by the functions of `step`: slot = number of token rows, pos = number of output rows, first = seed of this
// step's dropout.

struct Row {
    slot: u32,   // slot of the KV cache
    pos: u32,    // position of the token in its sequence
    first: u32,  // first position this row may attend to (packed sequences)
    // Token id, or 0xffffffff: read it from the token table at (slot, pos); of a row that is copied, the slot it comes from.
    token: u32,
}

struct Out {
    row: u32,            // token row whose hidden state makes these logits
    label: u32,          // token id whose log-probability is asked for
    seed: u32,
    top_k: u32,          // 0 = off
    temperature: f32,    // of the sampler, <= 0 = greedy; of log-probabilities and their gradient, <= 0 = 1
    top_p: f32,          // >= 1 = off
    min_p: f32,          // <= 0 = off
    repeat_penalty: f32, // 1 = off
    repeat_last_n: u32,
    slot: u32,           // of the row, so that the sampler needs no second look-up
    pos: u32,            // of the row; the sampled token goes to pos + 1
    coef: f32,           // derivative of the objective with respect to the label's log-probability
    dry_multiplier: f32, // of the penalty on tokens that would go on with a repetition; <= 0 = off
    dry_base: f32,
    dry_allowed: u32,    // tokens that may be repeated unpunished
    dry_last_n: u32,     // positions that are searched
}

// Numbers of one optimizer step.
struct Scalars {
    rate: f32,     // learning rate
    beta1: f32,
    beta2: f32,
    eps: f32,
    decay: f32,    // decoupled weight decay
    scale: f32,    // of the gradient: the clipping factor
    correct1: f32, // 1 - beta1^step
    correct2: f32, // 1 - beta2^step
}
