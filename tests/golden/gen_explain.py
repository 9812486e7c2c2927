"""What transformers' eager attention looks at, and what attention and the feed-forward add to the stream, in float32 on the
dequantized weights of a GGUF file: the reference of `ember explain`.

    python gen_explain.py path/to/SmolLM2-135M-Instruct.Q4_1.gguf

Writes explain/NAME.KIND.npy for three texts that the default model reads and for tiny models of arch/:

    tokens         ids (i32)
    attention      by kept layer, head and position: the weights of positions 0 to it (f32)
    contributions  layers x (stream before the layer, by attention, by feed-forward) x positions: L2 norms (f32)
    guesses        layers x (by feed-forward, stream after the layer) x positions: the token that the output norm and matrix
                   make of it, or -1 where two are within MARGIN (i32)
"""
import sys
from pathlib import Path

import numpy as np
import torch
import transformers
from gguf import GGUFReader
from gguf.quants import dequantize

from gen_arch import unpermute
from gen_smollm2 import load

HERE = Path(__file__).parent
OUT = HERE / "explain"
MARGIN = 2e-2
TEXTS = {  # name: (text, kept layers; None for all)
    "capital": ("The capital of France is", None),
    "cat": ("The cat sat on the mat because it was", None),
    "list": ("Red, blue, green, red, blue, green, red, blue,", [0, 14, 29]),
}
TINY = {"llama-tied": "Llama", "qwen3-tied": "Qwen3", "window": "Mistral"}  # transformers' classes; Mistral has windows
TINY_TOKENS = 24

NAMES = {
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm", "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}


def tiny_model(path, hf):
    """A model of arch/ from what is in its file, not from how it was made."""
    reader = GGUFReader(path)
    arch = bytes(reader.fields["general.architecture"].parts[-1]).decode()
    field = lambda key: reader.fields[f"{arch}.{key}"].parts[-1][0] if f"{arch}.{key}" in reader.fields else None
    tensors = {t.name: torch.from_numpy(np.array(dequantize(t.data, t.tensor_type), np.float32)) for t in reader.tensors}
    vocab, width = tensors["token_embd.weight"].shape
    heads, kv_heads = int(field("attention.head_count")), int(field("attention.head_count_kv"))
    head_dim = int(field("attention.key_length") or width // heads)
    window = {"sliding_window": int(field("attention.sliding_window"))} if hf == "Mistral" else {}
    config = getattr(transformers, f"{hf}Config")(
        vocab_size=vocab, hidden_size=width, intermediate_size=int(field("feed_forward_length")),
        num_hidden_layers=int(field("block_count")), num_attention_heads=heads, num_key_value_heads=kv_heads,
        head_dim=head_dim, rms_norm_eps=float(field("attention.layer_norm_rms_epsilon")), tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": float(field("rope.freq_base"))}, hidden_act="silu", **window)
    config._attn_implementation = "eager"
    model = getattr(transformers, f"{hf}ForCausalLM")(config).eval()
    state = {"model.embed_tokens.weight": tensors["token_embd.weight"], "lm_head.weight": tensors["token_embd.weight"],
             "model.norm.weight": tensors["output_norm.weight"]}
    for name, values in tensors.items():
        if name.startswith("blk."):
            _, layer, part, _ = name.split(".")
            if arch == "llama" and part in ("attn_q", "attn_k"):
                count = heads if part == "attn_q" else kv_heads
                values = torch.from_numpy(unpermute(values.numpy(), count).copy())
            state[f"model.layers.{layer}.{NAMES[part]}.weight"] = values
    model.load_state_dict(state, strict=True)
    return model


def look(model, ids):
    """-> attention by layer (heads, n, n), and by layer what there is of the stream: before, by attention, by feed-forward."""
    parts = {"attention": [], "mlp": [], "before": []}
    hooks = []
    for layer in model.model.layers:
        hooks.append(layer.register_forward_pre_hook(lambda m, args, kwargs: parts["before"].append(
            (args[0] if args else kwargs["hidden_states"])[0]), with_kwargs=True))
        hooks.append(layer.self_attn.register_forward_hook(lambda m, i, out: parts["attention"].append(out[0][0])))
        hooks.append(layer.mlp.register_forward_hook(lambda m, i, out: parts["mlp"].append(out[0])))
    out = model(torch.tensor([ids]), output_attentions=True)
    for hook in hooks:
        hook.remove()
    return [a[0] for a in out.attentions], list(zip(parts["before"], parts["attention"], parts["mlp"]))


def guess(model, stream):
    best = model.lm_head(model.model.norm(stream)).topk(2, -1)
    sure = best.values[:, 0] - best.values[:, 1] > MARGIN
    return torch.where(sure, best.indices[:, 0], -1)


def reference(model, name, ids, kept):
    attention, streams = look(model, ids)
    rows = np.tril_indices(len(ids))
    kept = range(len(attention)) if kept is None else kept
    files = {
        "tokens": np.array(ids, np.int32),
        "attention": np.concatenate([head.numpy()[rows] for layer in kept for head in attention[layer]]),
        "contributions": np.stack([[part.norm(dim=-1).numpy() for part in parts] for parts in streams]),
        "guesses": np.stack([[guess(model, mlp).numpy(), guess(model, before + attended + mlp).numpy()]
                             for before, attended, mlp in streams]).astype(np.int32),
    }
    for kind, values in files.items():
        np.save(OUT / f"{name}.{kind}.npy", values)
    sure = (files["guesses"] >= 0).mean()
    print(f"{name:12} {len(ids)} tokens, {len(files['attention'])} weights, {sure:.0%} of guesses are certain")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    OUT.mkdir(exist_ok=True)
    with torch.no_grad():
        for name, hf in TINY.items():
            ids = np.load(HERE / "arch" / f"{name}.tokens.npy")[:TINY_TOKENS].tolist()
            reference(tiny_model(HERE / "arch" / f"{name}.gguf", hf), name, ids, None)
        model, tokenizer = load(Path(sys.argv[1]))
        for name, (text, kept) in TEXTS.items():
            reference(model, name, tokenizer(text, add_special_tokens=False)["input_ids"], kept)


if __name__ == "__main__":
    main()
