"""pretrain.json: fifty steps of training all weights of `arch/llama-tied.gguf`, by torch's autograd and AdamW in float64.

The model is written out here in the order of GGUF's rows: neighbours of a head rotate together. A step has two micro-batches,
each of four sequences one behind another that do not see each other; every token but a sequence's first is a target, and the loss
is the mean over all targets of the step. The gradient is cut to a norm of 7, which is more than most have, the rate rises for
five steps and falls as a cosine, and matrices (the embedding too) decay while norms do not. Nothing random is stored: tokens and
lengths follow from `hashed`.

Of each tensor the gradient of the first step, the change after the last one and the weights then are written as three numbers:
the norm, and the sums of the elements times sin(i) and times cos(3i), i = 1, 2, and so on, in the GGUF's order of elements.
See README.md beside this file for the packages.
"""
import json
import math
from pathlib import Path

import gguf
import numpy as np
import torch

HERE = Path(__file__).parent
STEPS, WARMUP, ACCUMULATE, SEQUENCES, LONGEST = 50, 5, 2, 4, 16
RATE, FLOOR, DECAY, CLIP = 3e-3, 0.1, 0.1, 7.0
BETAS, EPS = (0.9, 0.95), 1e-8
LAYERS, HEADS, KV_HEADS, HEAD_DIM, RMS_EPS, BASE = 2, 3, 1, 16, 5e-3, 10000.0


def hashed(stream, count):
    """Numbers below 2^32 that look random."""
    i = np.arange(count, dtype=np.uint64)
    h = (i + np.uint64(stream * 7919 + 1)) * np.uint64(2654435761) % np.uint64(1 << 32)
    h = (h ^ (h >> np.uint64(15))) * np.uint64(2246822519) % np.uint64(1 << 32)
    return h ^ (h >> np.uint64(13))


def sequences(stream, vocab):
    """Sequences of a micro-batch: lengths of 2 to 17 tokens, then the tokens of all of them."""
    lengths = [int(2 + h % LONGEST) for h in hashed(5000 + stream, SEQUENCES)]
    tokens = 4 + hashed(1000 + stream, sum(lengths)) % np.uint64(vocab - 4)
    return torch.split(torch.from_numpy(tokens.astype(np.int64)), lengths)


def norm(x, weight):
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + RMS_EPS) * weight


def rotate(x):
    """x: (positions, heads, head_dim)."""
    half = HEAD_DIM // 2
    angles = torch.arange(x.shape[0])[:, None].double() * BASE ** (-torch.arange(half).double() * 2 / HEAD_DIM)
    cos, sin = angles.cos()[:, None], angles.sin()[:, None]
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)


def log_probs(weights, ids):
    """Log-probabilities of all tokens of one sequence but the first."""
    x = weights["token_embd.weight"][ids[:-1]]
    n = x.shape[0]
    hidden = torch.full((n, n), -math.inf, dtype=torch.float64).triu(1)
    for layer in range(LAYERS):
        w = {name.removeprefix(f"blk.{layer}.").removesuffix(".weight"): value for name, value in weights.items()}
        h = norm(x, w["attn_norm"])
        heads = lambda name, count: (h @ w[name].T).view(n, count, HEAD_DIM)
        q, k = rotate(heads("attn_q", HEADS)), rotate(heads("attn_k", KV_HEADS))
        v = heads("attn_v", KV_HEADS)
        k, v = (t.repeat_interleave(HEADS // KV_HEADS, 1) for t in (k, v))
        scores = torch.einsum("qhd,khd->hqk", q, k) / math.sqrt(HEAD_DIM) + hidden
        x = x + torch.einsum("hqk,khd->qhd", scores.softmax(-1), v).flatten(1) @ w["attn_output"].T
        h = norm(x, w["ffn_norm"])
        x = x + (torch.nn.functional.silu(h @ w["ffn_gate"].T) * (h @ w["ffn_up"].T)) @ w["ffn_down"].T
    logits = norm(x, weights["output_norm.weight"]) @ weights["token_embd.weight"].T
    return logits.log_softmax(-1).gather(1, ids[1:, None])[:, 0]


def factor(step):
    """Of the rate, for steps from 0."""
    if step < WARMUP:
        return (step + 1) / WARMUP
    done = (step - WARMUP) / (STEPS - WARMUP)
    return FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * done))


def three(value):
    flat, i = value.detach().numpy().flatten(), np.arange(1, value.numel() + 1)
    return [float(f"{v:.9g}") for v in (np.linalg.norm(flat), flat @ np.sin(i), flat @ np.cos(3 * i))]


def load():
    reader = gguf.GGUFReader(HERE / "arch/llama-tied.gguf")
    weights = {}
    for tensor in reader.tensors:
        value = torch.from_numpy(np.array(tensor.data, dtype=np.float64)).requires_grad_()
        assert tensor.tensor_type == gguf.GGMLQuantizationType.F32, tensor.name
        weights[tensor.name] = value
    return weights


def check(weights):
    """The forward is that of the logits beside the model."""
    ids = torch.from_numpy(np.load(HERE / "arch/llama-tied.tokens.npy").astype(np.int64))
    want = torch.from_numpy(np.load(HERE / "arch/llama-tied.logits.npy").astype(np.float64)).log_softmax(-1)
    want = want[:-1].gather(1, ids[1:, None])[:, 0]
    apart = float((log_probs(weights, ids) - want).detach().abs().max())
    assert apart < 1e-5, f"the forward is {apart:.1e} apart from transformers'"


def main():
    weights = load()
    check(weights)
    began = {name: value.detach().clone() for name, value in weights.items()}
    vocab = weights["token_embd.weight"].shape[0]
    groups = [{"params": [w for w in weights.values() if w.dim() == 2], "weight_decay": DECAY},
              {"params": [w for w in weights.values() if w.dim() == 1], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=BETAS, eps=EPS)
    steps, gradients = [], {}
    for step in range(STEPS):
        batches = [sequences(step * ACCUMULATE + m, vocab) for m in range(ACCUMULATE)]
        targets = sum(len(ids) - 1 for batch in batches for ids in batch)
        optimizer.zero_grad()
        loss = 0.0
        for batch in batches:
            part = -sum(log_probs(weights, ids).sum() for ids in batch) / targets
            part.backward()
            loss += float(part.detach())
        size = float(torch.sqrt(sum((w.grad**2).sum() for w in weights.values())))
        if step == 0:
            gradients = {name: three(w.grad) for name, w in weights.items()}
        for w in weights.values():
            w.grad *= min(1.0, CLIP / size)
        for group in optimizer.param_groups:
            group["lr"] = RATE * factor(step)
        optimizer.step()
        steps.append({"loss": loss, "grad_norm": size, "targets": targets, "rate": RATE * factor(step)})
    table = {
        "rate": RATE, "floor": FLOOR, "warmup": WARMUP, "decay": DECAY, "clip": CLIP, "beta1": BETAS[0], "beta2": BETAS[1], "eps": EPS,
        "accumulate": ACCUMULATE, "sequences": SEQUENCES, "longest": LONGEST, "steps": steps, "gradients": gradients,
        "changes": {name: three(w - began[name]) for name, w in weights.items()},
        "weights": {name: three(w) for name, w in weights.items()},
    }
    path = HERE / "pretrain.json"
    text = json.dumps(table, separators=(",", ":"))
    for mark in ('"gradients', '"changes', '"weights', '"blk', '"token', '"output', '{"loss'):
        text = text.replace(mark, "\n" + mark)
    path.write_text(text + "\n")
    clipped = sum(s["grad_norm"] > CLIP for s in steps)
    print(path, path.stat().st_size, "bytes,", clipped, "of", STEPS, "clipped; losses", steps[0]["loss"], steps[-1]["loss"])


if __name__ == "__main__":
    main()
