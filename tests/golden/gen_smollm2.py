"""What the default model answers in float32, from transformers: the small reference that every clone of this repository has.

    python gen_smollm2.py path/to/SmolLM2-135M-Instruct.Q4_1.gguf

For each text of smollm2/prompts.json writes NAME.tokens.npy (i32), NAME.tok_lp.npy (log-probability of each next token),
NAME.logits.npy (the last position's logits, every STRIDE-th of them) and, but for `prose`, the greedy continuation with
the gap between its best two logits at each step (NAME.greedy.npy, NAME.greedy_margin.npy).
"""
import json
import sys
from pathlib import Path

import numpy as np
import torch
from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
from transformers import AutoModelForCausalLM, AutoTokenizer

STRIDE = 61  # a prime, so that the sample is spread over the vocabulary; 806 of 49152 logits
STEPS = 48
OUT = Path(__file__).parent / "smollm2"


def load(path):
    """The model with its weights dequantized to float32."""
    where, name = path.parent, path.name
    model = AutoModelForCausalLM.from_pretrained(where, gguf_file=name, dtype=torch.float32, attn_implementation="eager")
    tokenizer = AutoTokenizer.from_pretrained(where, gguf_file=name)
    # transformers does not read the GGUF's pre-tokenizer. This is what `smollm` stands for: digits one by one.
    tokenizer.backend_tokenizer.pre_tokenizer = Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)])
    return model.eval(), tokenizer


def greedy(model, out):
    tokens, margins = [], []
    for _ in range(STEPS):
        logits, cache = out.logits[0, -1], out.past_key_values
        best = logits.topk(2)
        tokens.append(int(best.indices[0]))
        margins.append(float(best.values[0] - best.values[1]))
        out = model(torch.tensor([[tokens[-1]]]), past_key_values=cache, use_cache=True)
    return np.array(tokens, np.int32), np.array(margins, np.float32)


def reference(model, tokenizer, name, text):
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    out = model(torch.tensor([ids]), use_cache=True)
    logits = out.logits[0]
    lp = torch.log_softmax(logits.double(), -1)
    files = {
        "tokens": np.array(ids, np.int32),
        "tok_lp": np.array([lp[i, t] for i, t in enumerate(ids[1:])], np.float32),
        "logits": logits[-1, ::STRIDE].numpy(),
    }
    if name != "prose":
        files["greedy"], files["greedy_margin"] = greedy(model, out)
        print(name, len(ids), repr(tokenizer.decode(files["greedy"])), f"least margin {files['greedy_margin'].min():.3f}")
    else:
        print(name, len(ids), f"mean NLL {-files['tok_lp'].mean():.5f}")
    for kind, values in files.items():
        np.save(OUT / f"{name}.{kind}.npy", values)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    model, tokenizer = load(Path(sys.argv[1]))
    with torch.no_grad():
        for name, text in json.loads((OUT / "prompts.json").read_text(encoding="utf-8")).items():
            reference(model, tokenizer, name, text)


if __name__ == "__main__":
    main()
