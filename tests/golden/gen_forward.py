"""Tiny models with what no model class of transformers has under one name, and their logits by a forward of our own.

    python gen_forward.py [--out arch] [NAME...]

Rope with YaRN, LongRoPE and partial rotation follows llama.cpp (`ggml_rope_yarn`, `llama_context`), windows Mistral's
formula, and sizes are no multiples of eight. Everything is computed in float64. Files as `gen_arch.py` makes them.
"""
import argparse
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Q

from random_blocks import random_matrix
from tiny_tokenizer import VOCAB_SIZE, add_tokenizer

TOKENS = 32
CONTEXT = 128


@dataclass
class Spec:
    name: str
    width: int = 64
    ff: int = 128
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 16
    rope_dim: int = 16
    eps: float = 5e-3
    base: float = 10000.0
    tied: bool = True
    biases: bool = False
    window: int = 0
    weights: tuple = (Q.F32,)
    keys: dict = field(default_factory=dict)  # further keys under `llama.`
    yarn: bool = False
    long_factors: bool = False


SPECS = [
    Spec("yarn", yarn=True, keys={
        "rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 256,
        "rope.scaling.attn_factor": 0.9, "rope.scaling.yarn_beta_fast": 16.0}),
    Spec("longrope", long_factors=True, keys={
        "rope.scaling.type": "longrope", "rope.scaling.original_context_length": 64, "rope.scaling.attn_factor": 1.19}),
    Spec("window", window=8, heads=2, kv_heads=2),
    Spec("odd-sizes", width=60, ff=172, heads=3, kv_heads=1, head_dim=20, rope_dim=12, layers=2, tied=False, biases=True,
         weights=(Q.F16, Q.F32, Q.BF16)),
]


def make_tensors(spec, rng):
    """-> {GGUF name: (stored array, format, float64 values)}, in the order of the file."""
    out, turn = {}, 0

    def matrix(name, rows, cols, std):
        nonlocal turn
        qtype = spec.weights[turn % len(spec.weights)]
        turn += 1
        stored, floats = random_matrix(rng, rows, cols, qtype, std)
        out[f"{name}.weight"] = (stored, qtype, floats.astype(np.float64))

    def vector(name, size, mean, std):
        values = rng.normal(mean, std, size).astype(np.float32)
        out[name] = (values, Q.F32, values.astype(np.float64))

    q, kv = spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim
    for i in range(spec.layers):
        blk = f"blk.{i}."
        shapes = {
            "attn_q": (q, spec.width, 1.5), "attn_k": (kv, spec.width, 1.5), "attn_v": (kv, spec.width, 1.0),
            "attn_output": (spec.width, q, 1.0), "ffn_gate": (spec.ff, spec.width, 1.0),
            "ffn_up": (spec.ff, spec.width, 1.0), "ffn_down": (spec.width, spec.ff, 2.0),
        }
        vector(f"{blk}attn_norm.weight", spec.width, 1.0, 0.3)
        vector(f"{blk}ffn_norm.weight", spec.width, 1.0, 0.3)
        for part, (rows, cols, gain) in shapes.items():
            matrix(blk + part, rows, cols, gain * cols**-0.5)
            if spec.biases:
                vector(f"{blk}{part}.bias", rows, 0.0, 0.5)
    vector("output_norm.weight", spec.width, 1.0, 0.3)
    matrix("token_embd", VOCAB_SIZE, spec.width, 0.3)
    if not spec.tied:
        matrix("output", VOCAB_SIZE, spec.width, 2.5 * spec.width**-0.5)
        if spec.biases:
            vector("output.bias", VOCAB_SIZE, 0.0, 0.5)
    if spec.long_factors:
        half = spec.rope_dim // 2
        for kind, most in (("long", 8.0), ("short", 1.5)):
            values = np.linspace(1.0, most, half).astype(np.float32)
            out[f"rope_factors_{kind}.weight"] = (values, Q.F32, values.astype(np.float64))
    return out


def write_gguf(spec, tensors, path):
    w = gguf.GGUFWriter(path, "llama")
    w.add_name(spec.name)
    w.add_context_length(CONTEXT)
    w.add_embedding_length(spec.width)
    w.add_block_count(spec.layers)
    w.add_feed_forward_length(spec.ff)
    w.add_head_count(spec.heads)
    w.add_head_count_kv(spec.kv_heads)
    w.add_layer_norm_rms_eps(spec.eps)
    w.add_rope_freq_base(spec.base)
    w.add_vocab_size(VOCAB_SIZE)
    w.add_rope_dimension_count(spec.rope_dim)
    if spec.head_dim != spec.width // spec.heads:
        w.add_key_length(spec.head_dim)
        w.add_value_length(spec.head_dim)
    if spec.window:
        w.add_sliding_window(spec.window)
    for key, value in spec.keys.items():
        add = {str: w.add_string, float: w.add_float32, int: w.add_uint32}[type(value)]
        add(f"llama.{key}", value)
    add_tokenizer(w)
    for name, (stored, qtype, _) in tensors.items():
        w.add_tensor(name, stored, raw_dtype=None if qtype in (Q.F32, Q.F16) else qtype)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def rope_of(spec, tensors):
    """-> (frequency of each pair, what sines and cosines are multiplied with)."""
    half = spec.rope_dim // 2
    i = np.arange(half)
    frequency = spec.base ** (-2.0 * i / spec.rope_dim)
    magnitude = spec.keys.get("rope.scaling.attn_factor", 1.0)
    if spec.long_factors:  # the context is beyond the original one
        frequency = frequency / tensors["rope_factors_long.weight"][2]
    if spec.yarn:
        factor = spec.keys["rope.scaling.factor"]
        original = spec.keys["rope.scaling.original_context_length"]

        def dim(turns):
            return spec.rope_dim * np.log(original / (turns * 2 * np.pi)) / (2 * np.log(spec.base))

        low = max(0.0, np.floor(dim(spec.keys["rope.scaling.yarn_beta_fast"])))
        high = min(spec.rope_dim - 1.0, np.ceil(dim(1.0)))
        kept = 1.0 - np.clip((i - low) / max(high - low, 0.001), 0.0, 1.0)
        frequency = frequency * ((1.0 - kept) / factor + kept)
        magnitude *= 1.0 + 0.1 * np.log(factor)
    return frequency, magnitude


def forward(spec, tensors, tokens):
    w = lambda name: tensors[name][2]
    frequency, magnitude = rope_of(spec, tensors)
    angles = np.arange(len(tokens))[:, None] * frequency[None]
    sin, cos = np.sin(angles) * magnitude, np.cos(angles) * magnitude

    def norm(x, weight):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + spec.eps) * weight

    def linear(x, name):
        y = x @ w(f"{name}.weight").T
        return y + w(f"{name}.bias") if f"{name}.bias" in tensors else y

    def rotate(x, heads):  # neighbours of a head turn together
        x = x.reshape(len(tokens), heads, spec.head_dim).copy()
        a, b = x[..., 0 : spec.rope_dim : 2].copy(), x[..., 1 : spec.rope_dim : 2].copy()
        x[..., 0 : spec.rope_dim : 2] = a * cos[:, None] - b * sin[:, None]
        x[..., 1 : spec.rope_dim : 2] = a * sin[:, None] + b * cos[:, None]
        return x

    at = np.arange(len(tokens))
    sees = at[None] <= at[:, None]
    if spec.window:
        sees &= at[:, None] - at[None] < spec.window
    x = w("token_embd.weight")[tokens]
    for i in range(spec.layers):
        blk = f"blk.{i}."
        h = norm(x, w(f"{blk}attn_norm.weight"))
        q, k = rotate(linear(h, f"{blk}attn_q"), spec.heads), rotate(linear(h, f"{blk}attn_k"), spec.kv_heads)
        v = linear(h, f"{blk}attn_v").reshape(len(tokens), spec.kv_heads, spec.head_dim)
        k, v = (np.repeat(z, spec.heads // spec.kv_heads, 1) for z in (k, v))
        scores = np.einsum("thd,shd->hts", q, k) / np.sqrt(spec.head_dim)
        scores = np.where(sees[None], scores, -np.inf)
        p = np.exp(scores - scores.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        a = np.einsum("hts,shd->thd", p, v).reshape(len(tokens), -1)
        x = x + linear(a, f"{blk}attn_output")
        h = norm(x, w(f"{blk}ffn_norm.weight"))
        gate, up = linear(h, f"{blk}ffn_gate"), linear(h, f"{blk}ffn_up")
        x = x + linear(gate / (1.0 + np.exp(-gate)) * up, f"{blk}ffn_down")
    return linear(norm(x, w("output_norm.weight")), "token_embd" if spec.tied else "output")


def generate(spec, out):
    rng = np.random.default_rng(zlib.crc32(spec.name.encode()))
    tensors = make_tensors(spec, rng)
    tokens = rng.integers(0, VOCAB_SIZE, TOKENS).astype(np.int32)
    write_gguf(spec, tensors, out / f"{spec.name}.gguf")
    logits = forward(spec, tensors, tokens)
    np.save(out / f"{spec.name}.tokens.npy", tokens)
    np.save(out / f"{spec.name}.logits.npy", logits.astype(np.float32))
    size = (out / f"{spec.name}.gguf").stat().st_size
    print(f"{spec.name:12} {size:8} bytes, logits std {logits.std():5.2f}, max {np.abs(logits).max():6.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "arch")
    parser.add_argument("names", nargs="*", help="models to make (default: all)")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for spec in SPECS:
        if not args.names or spec.name in args.names:
            generate(spec, args.out)


if __name__ == "__main__":
    main()
