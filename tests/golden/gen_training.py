"""training.json: twelve steps of SFT and six of DPO on `arch/llama-untied.gguf`, by transformers, PEFT and torch's AdamW in float64.

LoRA of rank 4 and alpha 8 on all seven matrices of each layer; the loss is the mean negative log-probability of the targets, or
DPO's with the model without adapters as its reference (`gen_objectives.py` has TRL's formula). Nothing random is stored: factors
and tokens follow from `hashed`, which the tests have too. Of each factor, in the GGUF's order of rows, the gradient of the first
step and the change after the last one are written as three numbers: the norm, and the sums of the elements times sin(i) and
times cos(3i), i = 1, 2, and so on.
See README.md beside this file for the packages.
"""
import json
import zlib
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, get_peft_model

import gen_arch
from gen_adapter import permute
from gen_objectives import pair_loss

HERE = Path(__file__).parent
RANK, ALPHA = 4, 8
RATE, DECAY, BETA = 2e-3, 0.05, 0.2
SFT_STEPS, DPO_STEPS, LENGTH, PROMPT = 12, 6, 24, 9
MODULES = {"q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output", "gate_proj": "ffn_gate",
           "up_proj": "ffn_up", "down_proj": "ffn_down"}
HEADS = {"attn_q": 4, "attn_k": 2}


def hashed(stream, count):
    """Numbers below 2^32 that look random."""
    i = np.arange(count, dtype=np.uint64)
    h = (i + np.uint64(stream * 7919 + 1)) * np.uint64(2654435761) % np.uint64(1 << 32)
    h = (h ^ (h >> np.uint64(15))) * np.uint64(2246822519) % np.uint64(1 << 32)
    return h ^ (h >> np.uint64(13))


def factors(model):
    """(GGUF's name, parameter, whether its rows are those of heads), in the order of names."""
    all = []
    for name, parameter in model.named_parameters():
        if ".lora_" not in name:
            continue
        layer, _, module, factor = name.split(".layers.")[1].split(".")[:4]
        label = MODULES[module]
        all.append((f"blk.{layer}.{label}.weight.{factor.lower()}", parameter, HEADS.get(label, 0) if factor == "lora_B" else 0))
    return sorted(all, key=lambda one: one[0])


def in_gguf_order(value, heads):
    value = value.detach().numpy()
    return permute(value, heads) if heads else value


def start(model):
    """Sets the factors; the copies are in the GGUF's order."""
    copies = []
    for index, (_, parameter, heads) in enumerate(factors(model)):
        unit = hashed(index, parameter.numel()).astype(np.float64) / (1 << 31) - 1
        value = (unit * 0.1).astype(np.float32).astype(np.float64).reshape(parameter.shape)
        copies.append(value)
        own = gen_arch.unpermute(value, heads) if heads else value
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(own)))
        assert np.array_equal(in_gguf_order(parameter, heads), value)
    return copies


def tokens(stream, count=LENGTH):
    return torch.from_numpy((4 + hashed(1000 + stream, count) % np.uint64(gen_arch.VOCAB_SIZE - 4)).astype(np.int64))


def logps(model, ids, first):
    """Log-probabilities of the tokens from `first` on."""
    logits = model(ids[None]).logits[0, first - 1 : -1]
    return torch.log_softmax(logits, -1).gather(1, ids[first:, None])[:, 0]


def three(value):
    flat, i = value.flatten(), np.arange(1, value.size + 1)
    return [float(f"{v:.9g}") for v in (np.linalg.norm(flat), flat @ np.sin(i), flat @ np.cos(3 * i))]


def train(model, steps, loss_of):
    began = start(model)
    optimizer = torch.optim.AdamW([p for _, p, _ in factors(model)], lr=RATE, betas=(0.9, 0.999), eps=1e-8, weight_decay=DECAY)
    out = {"steps": []}
    for step in range(steps):
        optimizer.zero_grad()
        loss, more = loss_of(step)
        loss.backward()
        named = [(name, p.grad, heads) for name, p, heads in factors(model)]
        norm = float(torch.sqrt(sum((g**2).sum() for _, g, _ in named)))
        if step == 0:
            out["gradients"] = {name: three(in_gguf_order(g, heads)) for name, g, heads in named}
        out["steps"].append({"loss": float(loss.detach()), "grad_norm": norm, **more})
        optimizer.step()
    out["changes"] = {name: three(in_gguf_order(p, heads) - b) for (name, p, heads), b in zip(factors(model), began)}
    return out


def sft(model):
    # Every second sequence has a prompt.
    def loss_of(step):
        return -logps(model, tokens(step), 1 if step % 2 else PROMPT).mean(), {}
    return train(model, SFT_STEPS, loss_of)


def dpo(model):
    def loss_of(step):
        prompt = tokens(100 + step, PROMPT)
        answers = [torch.cat([prompt, tokens(200 + 2 * step + i, 10 - 3 * i)]) for i in range(2)]
        sides = [logps(model, ids, PROMPT) for ids in answers]
        with torch.no_grad(), model.disable_adapter():
            references = [logps(model, ids, PROMPT) for ids in answers]
        loss, (chosen, rejected) = pair_loss("dpo", {"beta": BETA}, *sides, *references)
        sums = zip(("logp_chosen", "logp_rejected", "ref_chosen", "ref_rejected"), (*sides, *references))
        return loss, {"margin": float((chosen - rejected).detach()), **{key: float(l.sum().detach()) for key, l in sums}}
    return train(model, DPO_STEPS, loss_of)


def main():
    spec = next(s for s in gen_arch.SPECS if s.name == "llama-untied")
    base = gen_arch.reference_model(spec, gen_arch.make_tensors(spec, np.random.default_rng(zlib.crc32(spec.name.encode()))))
    config = LoraConfig(task_type="CAUSAL_LM", r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules=list(MODULES))
    model = get_peft_model(base.double(), config).double().train(False)
    table = {"rank": RANK, "alpha": ALPHA, "rate": RATE, "decay": DECAY, "beta": BETA, "length": LENGTH, "prompt": PROMPT,
             "sft": sft(model), "dpo": dpo(model)}
    path = HERE / "training.json"
    path.write_text(json.dumps(table, separators=(",", ":")).replace('"blk', '\n"blk').replace('{"loss', '\n{"loss') + "\n")
    print(path, path.stat().st_size, "bytes", [s["loss"] for s in table["sft"]["steps"]], table["dpo"]["steps"])


if __name__ == "__main__":
    main()
