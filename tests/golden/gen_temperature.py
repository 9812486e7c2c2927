"""temperature.json: GRPO, RLOO and PPO at temperatures, by the code of TRL's own trainers in float64.

The model is `arch/llama-untied.gguf` as transformers has it, the policy has the PEFT adapter of `adapter/peft`, the reference is
the model alone. Log-probabilities come from `GRPOTrainer._get_per_token_logps_and_entropies` and RLOO's, losses from the
trainers' `_compute_loss`; of PPO, whose step is one function, the lines that make log-probabilities and the policy's loss are
taken from its source and run. Gradients are written as the norm of each factor's, and, of the first factors (whose columns GGUF
leaves in place), the sum of its elements times sin(1), sin(2), and so on. See README.md beside this file for the packages.
"""
import inspect
import json
import textwrap
import zlib
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from peft import PeftModel
from trl import GRPOTrainer, RLOOTrainer
from trl.experimental.ppo import PPOTrainer
from trl.experimental.ppo.ppo_trainer import INVALID_LOGPROB, masked_mean
from trl.trainer.utils import selective_log_softmax

import gen_arch

HERE = Path(__file__).parent
TEMPERATURES = [0.5, 0.7, 1.0, 1.3]
PROMPT, LENGTHS = 5, [7, 4, 6]
ADVANTAGES = [0.8, -1.1, 0.3]
EPSILON, BETA, CLIP = 0.2, 0.1, 0.2


def policy():
    spec = next(s for s in gen_arch.SPECS if s.name == "llama-untied")
    rng = np.random.default_rng(zlib.crc32(spec.name.encode()))
    model = gen_arch.reference_model(spec, gen_arch.make_tensors(spec, rng)).double()
    model = PeftModel.from_pretrained(model, HERE / "adapter/peft", is_trainable=True).double()
    return model.train(False)


def itself(value, **_):
    return value


def trainer(kind, model, temperature, **more):
    """What the two methods read of a trainer."""
    accelerator = SimpleNamespace(gather=itself, gather_for_metrics=itself, reduce=itself, num_processes=1, sync_gradients=True)
    own = SimpleNamespace(
        temperature=temperature, model=model, model_kwarg_keys={"logits_to_keep"}, accelerator=accelerator, aux_loss_enabled=False,
        _metrics={"eval": defaultdict(list)}, epsilon_low=EPSILON, epsilon_high=EPSILON, **more)
    # Without the timer around it.
    own._get_per_token_logps_and_entropies = kind._get_per_token_logps_and_entropies.__wrapped__.__get__(own)
    return own


def grpo(model, temperature):
    args = SimpleNamespace(use_bias_correction_kl=False, delta=None)
    return trainer(
        GRPOTrainer, model, temperature, beta=BETA, loss_type="grpo", args=args, importance_sampling_level="token",
        top_entropy_quantile=1.0, off_policy_mask_threshold=None, use_vllm=False, _entropy_bonus_enabled=False,
        use_adaptive_entropy=False, current_gradient_accumulation_steps=1)


def source_of_ppo():
    """The lines of a micro-batch that make new log-probabilities, and those that make the policy's loss of them."""
    lines = textwrap.dedent(inspect.getsource(PPOTrainer.train)).splitlines()
    at = lambda text: next(i for i, line in enumerate(lines) if line.strip().startswith(text))
    start, end = at("logits = output.logits"), at("vpred = vpred_temp")
    first, last = at("logprobs_diff = "), at("loss = pg_loss")
    return "\n".join(textwrap.dedent("\n".join(lines[a:b])) for a, b in [(start, end), (first, last)])


def ppo_loss(model, temperature, ids, mask, old, advantages):
    names = dict(
        torch=torch, selective_log_softmax=selective_log_softmax, masked_mean=masked_mean, INVALID_LOGPROB=INVALID_LOGPROB,
        args=SimpleNamespace(temperature=temperature, cliprange=CLIP), output=model(ids), context_length=PROMPT,
        mb_responses=ids[:, PROMPT:], padding_mask=~mask.bool(), micro_batch_inds=torch.arange(len(ids)),
        mb_logprobs=torch.where(mask.bool(), old, torch.tensor(INVALID_LOGPROB, dtype=old.dtype)), mb_advantage=advantages)
    exec(source_of_ppo(), names)
    return names["pg_loss"]


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    out = {}
    for name, parameter in model.named_parameters():
        if ".lora_" not in name:
            continue
        _, rest = name.split(".layers.")
        layer, _, module, factor = rest.split(".")[:4]
        label = {"q_proj": "attn_q", "k_proj": "attn_k", "down_proj": "ffn_down"}[module]
        gradient = parameter.grad.flatten()
        numbers = [number(gradient.norm())]
        if factor == "lora_A":
            numbers.append(number((gradient * torch.sin(torch.arange(1, len(gradient) + 1).double())).sum()))
        out[f"blk.{layer}.{label}.weight.{factor.lower()}"] = numbers
    return {"loss": number(loss), "gradients": out}


def number(value):
    return float(f"{float(value):.9g}")


def case(model, temperature, ids, mask, offsets):
    rows = lambda values: [[number(v) for v in row[:n]] for row, n in zip(values, LENGTHS)]
    everywhere = torch.cat([torch.ones(len(ids), PROMPT), mask], dim=1)
    own = grpo(model, temperature)
    logps = lambda own: own._get_per_token_logps_and_entropies(model, ids, everywhere, ids.shape[1] - PROMPT)[0]
    with torch.no_grad():
        now = logps(own)
        with model.disable_adapter():
            reference = logps(own)
    # As float32 readers have it.
    old = (now + offsets).float().double()
    advantages = torch.tensor(ADVANTAGES).double()
    inputs = dict(
        prompt_ids=ids[:, :PROMPT], prompt_mask=torch.ones(len(ids), PROMPT), completion_ids=ids[:, PROMPT:],
        completion_mask=mask, advantages=advantages, old_per_token_logps=old, ref_per_token_logps=reference,
        old_logps=(old * mask).sum(1))
    made = {"grpo": GRPOTrainer._compute_loss(own, model, inputs)}
    made["rloo"] = RLOOTrainer._compute_loss(trainer(RLOOTrainer, model, temperature), model, inputs)
    each = advantages[:, None] * torch.cos(torch.arange(mask.shape[1])).double()
    made["ppo"] = ppo_loss(model, temperature, ids, mask, old, each)
    return {
        "temperature": temperature, "policy": rows(now), "reference": rows(reference), "old": rows(old), "token_advantages": rows(each),
        **{name: gradients(model, loss) for name, loss in made.items()},
    }


def main():
    model = policy()
    rng = np.random.default_rng(11)
    ids = torch.from_numpy(rng.integers(4, gen_arch.VOCAB_SIZE, (len(LENGTHS), PROMPT + max(LENGTHS))))
    mask = torch.tensor([[float(i < n) for i in range(max(LENGTHS))] for n in LENGTHS])
    # Some ratios are beyond what is clipped.
    offsets = torch.from_numpy(rng.uniform(-0.3, 0.3, mask.shape))
    table = {
        "prompt": PROMPT, "sequences": [row[: PROMPT + n].tolist() for row, n in zip(ids, LENGTHS)], "advantages": ADVANTAGES,
        "epsilon": EPSILON, "beta": BETA, "clip": CLIP, "cases": [case(model, t, ids, mask, offsets) for t in TEMPERATURES],
    }
    path = HERE / "temperature.json"
    path.write_text(json.dumps(table, separators=(",", ":")).replace('{"temperature"', '\n{"temperature"') + "\n")
    print(path, path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
