"""A tiny PEFT adapter, and the update of each matrix as the GGUF of architecture `llama` holds it.

    python gen_adapter.py [--out adapter]

On a random model with the shapes of `arch/llama-untied.gguf`, PEFT makes an adapter with rsLoRA, a rank pattern and
an alpha pattern. Written: the folder PEFT saves (`peft/`), and `delta.safetensors` with PEFT's own
`get_delta_weight` of a few matrices, queries and keys permuted as llama.cpp's converter does.
The same seed gives the same files. See README.md beside this file for the packages.
"""
import argparse
from pathlib import Path

import gguf
import numpy as np
import torch
import transformers
from peft import LoraConfig, get_peft_model
from safetensors.numpy import save_file

HERE = Path(__file__).parent
TARGETS = {  # GGUF name -> (module, heads to permute)
    "blk.0.attn_q": ("model.layers.0.self_attn.q_proj", 4),
    "blk.1.attn_q": ("model.layers.1.self_attn.q_proj", 4),
    "blk.2.attn_k": ("model.layers.2.self_attn.k_proj", 2),
    "blk.1.ffn_down": ("model.layers.1.mlp.down_proj", 0),
}


def permute(rows, heads):
    """`LlamaModel.permute` of llama.cpp's convert_hf_to_gguf.py."""
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=HERE / "adapter")
    out = parser.parse_args().out
    torch.manual_seed(20)
    field = gguf.GGUFReader(HERE / "arch/llama-untied.gguf").get_field
    number = lambda key: int(field(f"llama.{key}").contents())
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(
        vocab_size=number("vocab_size"), hidden_size=number("embedding_length"),
        intermediate_size=number("feed_forward_length"), num_hidden_layers=number("block_count"),
        num_attention_heads=number("attention.head_count"), num_key_value_heads=number("attention.head_count_kv")))
    config = LoraConfig(task_type="CAUSAL_LM", r=2, lora_alpha=3, use_rslora=True,
                        target_modules=["q_proj", "k_proj", "down_proj"],
                        rank_pattern={"layers.1.self_attn.q_proj": 3}, alpha_pattern={"down_proj": 5})
    peft_model = get_peft_model(model, config)
    with torch.no_grad():
        for name, parameter in peft_model.named_parameters():
            if ".lora_" in name:
                parameter.copy_(torch.randn(parameter.shape) * 0.1)
    peft_model.peft_config["default"].base_model_name_or_path = "llama-untied"
    peft_model.save_pretrained(out / "peft")
    (out / "peft" / "README.md").unlink(missing_ok=True)
    deltas = {}
    for target, (path, heads) in TARGETS.items():
        delta = peft_model.base_model.model.get_submodule(path).get_delta_weight("default").detach().numpy()
        deltas[target] = np.ascontiguousarray(permute(delta, heads) if heads else delta)
    save_file(deltas, out / "delta.safetensors")


if __name__ == "__main__":
    main()
