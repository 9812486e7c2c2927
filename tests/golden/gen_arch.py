"""Tiny random models, one per feature of the architectures, as GGUF files with the logits transformers computes.

    python gen_arch.py [--out arch] [NAME...]

Writes NAME.gguf, NAME.tokens.npy (i32) and NAME.logits.npy (f32, tokens x vocabulary) for each model. The same seed gives
the same files. See README.md beside this file for the packages.
"""
import argparse
import itertools
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import gguf
import numpy as np
import torch
import transformers
from gguf import GGMLQuantizationType as Q

from random_blocks import random_matrix
from tiny_tokenizer import add_tokenizer, VOCAB_SIZE

TOKENS = 32  # tokens of the prompt each model is run on
CONTEXT = 128


@dataclass
class Spec:
    """One tiny model. The epsilon is far from any default, so that a wrong one is seen in the logits."""

    name: str
    arch: str  # the GGUF's: llama, qwen2, qwen3, gemma2, gemma3
    hf: str  # prefix of transformers' classes
    tied: bool = True
    width: int = 64
    ff: int = 128
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 16
    eps: float = 5e-3
    rope: dict = field(default_factory=lambda: {"rope_type": "default", "rope_theta": 10000.0})
    weights: tuple = (Q.F16,)  # formats of the matrices, taken in turn
    biases: bool = False
    qk_norm: bool = False
    window: int = 0  # of the layers that have one
    caps: tuple = ()  # of attention's scores and of the logits

    @property
    def gemma(self):
        return self.arch.startswith("gemma")


# In the order q, k, v, output, gate, up, down, embedding, output head. Between the two: every format but F32.
FORMATS_A = (Q.Q4_0, Q.BF16, Q.F16, Q.Q2_K, Q.Q4_K, Q.Q5_K, Q.Q3_K, Q.Q6_K, Q.Q8_0)
FORMATS_B = (Q.Q3_K, Q.Q2_K, Q.Q5_K, Q.Q6_K, Q.Q5_1, Q.IQ4_NL, Q.Q5_0, Q.Q4_1, Q.Q4_K)

SPECS = [
    Spec("llama-tied", "llama", "Llama", weights=(Q.F32,), width=48, ff=96, heads=3, kv_heads=1),
    Spec("llama-untied", "llama", "Llama", tied=False, layers=3, eps=1e-2),
    Spec("llama3-rope", "llama", "Llama", rope={
        "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 64}),
    Spec("llama-linear-rope", "llama", "Llama", rope={"rope_type": "linear", "rope_theta": 500.0, "factor": 4.0}),
    Spec("mistral", "llama", "Mistral", tied=False, kv_heads=4, head_dim=32,
         rope={"rope_type": "default", "rope_theta": 1e6}),
    Spec("qwen2", "qwen2", "Qwen2", biases=True, rope={"rope_type": "default", "rope_theta": 1e5}),
    Spec("qwen3-tied", "qwen3", "Qwen3", head_dim=32, qk_norm=True),
    Spec("qwen3-untied", "qwen3", "Qwen3", tied=False, heads=6, kv_heads=3, head_dim=32, qk_norm=True, eps=1e-2),
    # The caps are low, so that scores and logits reach them.
    Spec("gemma2", "gemma2", "Gemma2", width=48, ff=96, layers=3, head_dim=32, window=8, caps=(2.0, 6.0)),
    # Layers 0 to 4 and 6 have a window, 5 has none, a base of its own and scaled positions.
    Spec("gemma3", "gemma3", "Gemma3", width=48, ff=96, layers=7, kv_heads=1, head_dim=20, qk_norm=True, window=8,
         rope={"rope_type": "linear", "rope_theta": 500.0, "factor": 4.0}),
    Spec("llama-formats", "llama", "Llama", tied=False, width=256, ff=256, layers=1, head_dim=64, weights=FORMATS_A),
    Spec("qwen3-formats", "qwen3", "Qwen3", tied=False, width=256, ff=256, layers=1, head_dim=64, qk_norm=True,
         weights=FORMATS_B),
]


def unpermute(rows, heads):
    """Rows of a query or key matrix from GGUF's order for `llama` (neighbours of a head rotate together) to that of
    transformers (its halves do)."""
    return rows.reshape(heads, rows.shape[0] // heads // 2, 2, -1).swapaxes(1, 2).reshape(rows.shape)


def make_tensors(spec, rng):
    """-> list of (GGUF name, transformers name, stored array, its format, floats in transformers' order)."""
    out, turn = [], itertools.cycle(spec.weights)
    q, kv = spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim

    def matrix(name, hf, rows, cols, std, heads=0):
        qtype = next(turn)
        stored, floats = random_matrix(rng, rows, cols, qtype, std)
        out.append((name, hf, stored, qtype, unpermute(floats, heads) if heads and spec.arch == "llama" else floats))

    def vector(name, hf, size, mean, std):
        values = rng.normal(mean, std, size).astype(np.float32)
        # Gemma's checkpoints hold a norm's weights less one, GGUF files the whole.
        out.append((name, hf, values, Q.F32, values - np.float32(1.0) if spec.gemma else values))

    fan = lambda cols: cols**-0.5
    for i in range(spec.layers):
        blk, hf = f"blk.{i}.", f"model.layers.{i}."
        vector(f"{blk}attn_norm.weight", f"{hf}input_layernorm.weight", spec.width, 1.0, 0.3)
        # Wide enough that attention prefers some positions to others.
        matrix(f"{blk}attn_q.weight", f"{hf}self_attn.q_proj.weight", q, spec.width, 1.5 * fan(spec.width), spec.heads)
        matrix(f"{blk}attn_k.weight", f"{hf}self_attn.k_proj.weight", kv, spec.width, 1.5 * fan(spec.width), spec.kv_heads)
        matrix(f"{blk}attn_v.weight", f"{hf}self_attn.v_proj.weight", kv, spec.width, fan(spec.width))
        matrix(f"{blk}attn_output.weight", f"{hf}self_attn.o_proj.weight", spec.width, q, fan(q))
        if spec.biases:
            vector(f"{blk}attn_q.bias", f"{hf}self_attn.q_proj.bias", q, 0.0, 0.7)
            vector(f"{blk}attn_k.bias", f"{hf}self_attn.k_proj.bias", kv, 0.0, 0.7)
            vector(f"{blk}attn_v.bias", f"{hf}self_attn.v_proj.bias", kv, 0.0, 0.7)
        if spec.qk_norm:
            vector(f"{blk}attn_q_norm.weight", f"{hf}self_attn.q_norm.weight", spec.head_dim, 1.2, 0.3)
            vector(f"{blk}attn_k_norm.weight", f"{hf}self_attn.k_norm.weight", spec.head_dim, 1.2, 0.3)
        if spec.gemma:
            vector(f"{blk}post_attention_norm.weight", f"{hf}post_attention_layernorm.weight", spec.width, 1.0, 0.3)
            vector(f"{blk}ffn_norm.weight", f"{hf}pre_feedforward_layernorm.weight", spec.width, 1.0, 0.3)
            vector(f"{blk}post_ffw_norm.weight", f"{hf}post_feedforward_layernorm.weight", spec.width, 1.0, 0.3)
        else:
            vector(f"{blk}ffn_norm.weight", f"{hf}post_attention_layernorm.weight", spec.width, 1.0, 0.3)
        matrix(f"{blk}ffn_gate.weight", f"{hf}mlp.gate_proj.weight", spec.ff, spec.width, fan(spec.width))
        matrix(f"{blk}ffn_up.weight", f"{hf}mlp.up_proj.weight", spec.ff, spec.width, fan(spec.width))
        matrix(f"{blk}ffn_down.weight", f"{hf}mlp.down_proj.weight", spec.width, spec.ff, 2 * fan(spec.ff))
    vector("output_norm.weight", "model.norm.weight", spec.width, 1.0, 0.3)
    matrix("token_embd.weight", "model.embed_tokens.weight", VOCAB_SIZE, spec.width, 0.3)
    if not spec.tied:
        matrix("output.weight", "lm_head.weight", VOCAB_SIZE, spec.width, 2.5 * fan(spec.width))
    return out


def llama3_factors(spec):
    """What each rotation's frequency is divided by, as the Llama 3.1 report's code and GGUF's `rope_freqs` have it."""
    r, half = spec.rope, spec.head_dim // 2
    wavelength = 2 * np.pi * r["rope_theta"] ** (np.arange(half) * 2.0 / spec.head_dim)
    low, high, old = r["low_freq_factor"], r["high_freq_factor"], r["original_max_position_embeddings"]
    smooth = np.clip((old / wavelength - low) / (high - low), 0.0, 1.0)
    return (1.0 / ((1.0 - smooth) / r["factor"] + smooth)).astype(np.float32)


def write_gguf(spec, tensors, path):
    w = gguf.GGUFWriter(path, spec.arch)
    w.add_name(spec.name)
    w.add_context_length(CONTEXT)
    w.add_embedding_length(spec.width)
    w.add_block_count(spec.layers)
    w.add_feed_forward_length(spec.ff)
    w.add_head_count(spec.heads)
    w.add_head_count_kv(spec.kv_heads)
    w.add_layer_norm_rms_eps(spec.eps)
    w.add_rope_freq_base(spec.rope["rope_theta"])
    w.add_vocab_size(VOCAB_SIZE)
    if spec.arch == "llama":
        w.add_rope_dimension_count(spec.head_dim)
    if spec.head_dim != spec.width // spec.heads or spec.arch == "qwen3":
        w.add_key_length(spec.head_dim)
        w.add_value_length(spec.head_dim)
    if spec.window:
        w.add_sliding_window(spec.window)
    if spec.caps:
        w.add_attn_logit_softcapping(spec.caps[0])
        w.add_final_logit_softcapping(spec.caps[1])
    if spec.rope["rope_type"] == "linear":
        w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        w.add_rope_scaling_factor(spec.rope["factor"])
    add_tokenizer(w)
    if spec.rope["rope_type"] == "llama3":
        w.add_tensor("rope_freqs.weight", llama3_factors(spec))
    for name, _, stored, qtype, _ in tensors:
        w.add_tensor(name, stored, raw_dtype=None if qtype in (Q.F32, Q.F16) else qtype)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def gemma_settings(spec):
    """What Gemma's configurations have beyond the others'."""
    own = dict(hidden_activation="gelu_pytorch_tanh", query_pre_attn_scalar=spec.head_dim, sliding_window=spec.window)
    if spec.arch == "gemma2":
        return own | dict(attn_logit_softcapping=spec.caps[0], final_logit_softcapping=spec.caps[1])
    local = {"rope_type": "default", "rope_theta": 10000.0}
    return own | dict(rope_parameters={"full_attention": dict(spec.rope), "sliding_attention": local})


def in_double(model):
    """The model in float64, norms included, which Gemma's classes compute in float32 whatever the weights are."""
    for module in model.double().modules():
        if type(module).__name__ in ("Gemma2RMSNorm", "Gemma3RMSNorm"):
            module.forward = lambda x, norm=module: norm._norm(x) * (1.0 + norm.weight)
    return model


def reference_model(spec, tensors):
    config = getattr(transformers, f"{spec.hf}TextConfig" if spec.hf == "Gemma3" else f"{spec.hf}Config")(**(dict(
        vocab_size=VOCAB_SIZE, hidden_size=spec.width, intermediate_size=spec.ff, num_hidden_layers=spec.layers,
        num_attention_heads=spec.heads, num_key_value_heads=spec.kv_heads, head_dim=spec.head_dim, rms_norm_eps=spec.eps,
        max_position_embeddings=CONTEXT, tie_word_embeddings=spec.tied, rope_parameters=dict(spec.rope), hidden_act="silu",
        **({"sliding_window": None} if spec.hf == "Mistral" else {})) | (gemma_settings(spec) if spec.gemma else {})))
    config._attn_implementation = "eager"
    model = getattr(transformers, f"{spec.hf}ForCausalLM")(config).eval()
    state = {hf: torch.from_numpy(floats.copy()) for _, hf, _, _, floats in tensors}
    if spec.tied:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    model.load_state_dict(state, strict=True)
    return model


def generate(spec, out):
    rng = np.random.default_rng(zlib.crc32(spec.name.encode()))
    tensors = make_tensors(spec, rng)
    tokens = rng.integers(0, VOCAB_SIZE, TOKENS).astype(np.int32)
    write_gguf(spec, tensors, out / f"{spec.name}.gguf")
    ids = torch.from_numpy(tokens.astype(np.int64))[None]
    with torch.no_grad():
        model = reference_model(spec, tensors)
        single = model(ids).logits[0].numpy()
        # transformers rotates in float32 whatever the weights are; what is left of float64 shows the rounding of the rest.
        double = in_double(model)(ids).logits[0].numpy()
    apart = np.linalg.norm(single - double) / np.linalg.norm(double)
    assert apart < 3e-6, f"{spec.name}: float32 and float64 differ by {apart:.1e}"
    np.save(out / f"{spec.name}.tokens.npy", tokens)
    np.save(out / f"{spec.name}.logits.npy", double.astype(np.float32))
    size = (out / f"{spec.name}.gguf").stat().st_size
    print(f"{spec.name:20} {size:8} bytes, logits std {double.std():5.2f}, max {np.abs(double).max():6.2f}, f32 against f64 {apart:.1e}")


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
