"""objectives.json: losses and gradients of every objective, by TRL's formulas and torch's autograd in float64.

The formulas are transcribed from TRL 1.10.0.dev0 (commit f2cd57710ae345ea6428ae95363267fcf38a3dc8): trl/trainer/ dpo_trainer.py,
kto_trainer.py, reward_trainer.py, grpo_trainer.py, rloo_trainer.py, and trl/experimental/ orpo/orpo_trainer.py,
cpo/cpo_trainer.py (SimPO), ppo/ppo_trainer.py. Two things differ: ORPO's first term is over the answer alone (TRL: the prompt
too), and PPO's answers fill their row, so that the score is at the last token. A window's mean is taken as a weight, which
gradients carry.
Log-probabilities have two decimals and are read as float32, so that both sides start from the same numbers.
"""

import json
import random
from pathlib import Path

import torch
import torch.nn.functional as F

CASES = 20
rng = random.Random(5)


def f32(values):
    """What a float32 reader makes of decimals, in float64."""
    return torch.tensor(values, dtype=torch.float32).double()


def logps(count, spread=4.0):
    return [round(-0.01 - spread * rng.random(), 2) for _ in range(count)]


def near(values, by, most=-0.01):
    return [min(most, round(v + by * (2 * rng.random() - 1), 2)) for v in values]


def number(low, high):
    return round(low + (high - low) * rng.random(), 3)


def length():
    return rng.randint(1, 6)


def out(value):
    if isinstance(value, torch.Tensor):
        value = value.detach().tolist()
    if isinstance(value, list):
        return [out(v) for v in value]
    return float(f"{value:.10g}")


def leaf(values):
    return f32(values).requires_grad_()


# --- pairs -----------------------------------------------------------------------------------------------------------------

def log1mexp(x):
    t = -0.6931471805599453
    return torch.where(x < t, torch.log1p(-torch.exp(x)), torch.log(-torch.expm1(x)))


def pair_loss(name, p, chosen, rejected, ref_chosen, ref_rejected):
    """Loss, rewards of one pair."""
    if name in ("dpo", "ipo"):
        chosen_scores = chosen.sum() - ref_chosen.sum()
        rejected_scores = rejected.sum() - ref_rejected.sum()
        rewards = (p["beta"] * chosen_scores, p["beta"] * rejected_scores)
        if name == "dpo":
            return -F.logsigmoid(p["beta"] * (chosen_scores - rejected_scores)), rewards
        ipo_delta = chosen_scores / len(chosen) - rejected_scores / len(rejected)
        return (ipo_delta - 1 / (2 * p["beta"])) ** 2, rewards
    chosen_logps, rejected_logps = chosen.mean(), rejected.mean()
    rewards = (p["beta"] * chosen_logps, p["beta"] * rejected_logps)
    if name == "orpo":
        log_odds = (chosen_logps - rejected_logps) - (log1mexp(chosen_logps) - log1mexp(rejected_logps))
        return -chosen_logps - p["beta"] * F.logsigmoid(log_odds), rewards
    logits = chosen_logps - rejected_logps - p["gamma"] / p["beta"]
    return -F.logsigmoid(p["beta"] * logits), rewards


def pair_case(name, i):
    p = {
        "dpo": {"beta": number(0.05, 0.6)},
        "ipo": {"beta": number(0.05, 0.6)},
        "orpo": {"beta": number(0.05, 1.0)},
        "simpo": {"beta": number(1.0, 3.0), "gamma": number(0.0, 1.5)},
    }[name]
    # Some answers are nearly certain, which is where odds grow.
    chosen, rejected = logps(length(), 0.02 if i % 5 == 4 else 4.0), logps(length())
    ref_chosen, ref_rejected = near(chosen, 1.5), near(rejected, 1.5)
    weight = number(0.1, 1.0)
    w, l = leaf(chosen), leaf(rejected)
    loss, rewards = pair_loss(name, p, w, l, f32(ref_chosen), f32(ref_rejected))
    (weight * loss).backward()
    return {
        "parameters": p, "chosen": chosen, "rejected": rejected, "ref_chosen": ref_chosen, "ref_rejected": ref_rejected,
        "weight": weight, "loss": out(loss), "rewards": [out(r) for r in rewards], "d_chosen": out(w.grad), "d_rejected": out(l.grad),
    }


# --- rated answers ---------------------------------------------------------------------------------------------------------

def kto_case(_, i):
    p = {"beta": number(0.05, 0.6), "desirable_weight": number(0.5, 2.0), "undesirable_weight": number(0.5, 2.0)}
    policy = logps(length())
    reference = near(policy, 1.5)
    mismatched = [number(-3, 3) for _ in range(4)]
    kl = f32([0]).sum() + torch.tensor(mismatched, dtype=torch.float64).mean().clamp(min=0)
    weight, label = number(0.1, 1.0), i % 2 == 0
    l = leaf(policy)
    logratio = l.sum() - f32(reference).sum()
    if label:
        loss = p["desirable_weight"] * (1 - torch.sigmoid(p["beta"] * (logratio - kl)))
    else:
        loss = p["undesirable_weight"] * (1 - torch.sigmoid(p["beta"] * (kl - logratio)))
    (weight * loss).backward()
    return {
        "parameters": p, "policy": policy, "reference": reference, "mismatched": mismatched, "label": label, "weight": weight,
        "kl": out(kl), "loss": out(weight * loss), "reward": out(p["beta"] * logratio), "coefs": out(l.grad),
    }


def reward_case(_, i):
    p = {"center": 0.0 if i % 4 == 0 else number(0.0, 0.1)}
    scores, margin, weight = [number(-3, 3), number(-3, 3)], (0.0 if i % 3 == 0 else number(0, 2)), number(0.1, 1.0)
    r = torch.tensor(scores, dtype=torch.float64, requires_grad=True)
    loss = -F.logsigmoid(r[0] - r[1] - margin) + p["center"] * (r[0] + r[1]) ** 2
    (weight * loss).backward()
    return {"parameters": p, "scores": scores, "margin": margin, "weight": weight, "loss": out(loss), "d_scores": out(r.grad)}


# --- groups ----------------------------------------------------------------------------------------------------------------

def answers(count):
    now = [logps(length()) for _ in range(count)]
    return now, [near(l, 0.4) for l in now], [near(l, 1.0) for l in now]


def grpo_case(name, i):
    kind = name.replace("grpo_", "")
    p = {"epsilon": number(0.1, 0.3), "epsilon_high": number(0.1, 0.4), "beta": 0.0 if i % 2 else number(0.01, 0.3),
         "loss": kind, "scale_std": kind != "dr_grpo"}
    now, old, reference = answers(3)
    rewards = [round(2 * rng.random(), 1) for _ in range(3)]
    max_len = 8
    r = torch.tensor(rewards, dtype=torch.float64)
    advantages = r - r.mean()
    if p["scale_std"]:
        advantages = advantages / (r.std() + 1e-4)
    leaves = [leaf(l) for l in now]
    parts = []
    for l, o, ref, a in zip(leaves, map(f32, old), map(f32, reference), advantages):
        coef_1 = torch.exp(l - o)
        coef_2 = torch.clamp(coef_1, 1 - p["epsilon"], 1 + p["epsilon_high"])
        per_token = -torch.min(coef_1 * a, coef_2 * a)
        per_token_kl = torch.exp(ref - l) - (ref - l) - 1
        clipped = ((coef_1 < 1 - p["epsilon"]) & (a < 0)) | ((coef_1 > 1 + p["epsilon_high"]) & (a > 0))
        if p["beta"] != 0.0:
            per_token = per_token + p["beta"] * per_token_kl
        parts.append((per_token, int(clipped.sum()), float(per_token_kl.sum().detach()) if p["beta"] else 0.0))
    if kind == "grpo":
        loss = torch.stack([t.sum() / len(t) for t, _, _ in parts]).mean()
    elif kind == "dapo":
        loss = sum(t.sum() for t, _, _ in parts) / sum(len(l) for l in now)
    else:
        loss = sum(t.sum() for t, _, _ in parts) / (len(now) * max_len)
    loss.backward()
    return {
        "parameters": p, "now": now, "old": old, "reference": reference, "rewards": rewards, "max_len": max_len,
        "advantages": out(advantages), "loss": out(loss), "coefs": [out(l.grad) for l in leaves],
        "clipped": [c for _, c, _ in parts], "kl": [out(k) for _, _, k in parts],
    }


def rloo_case(_, i):
    p = {"epsilon": number(0.1, 0.3), "epsilon_high": number(0.1, 0.4), "beta": 0.0 if i % 4 == 3 else number(0.01, 0.3)}
    now, old, reference = answers(4)
    rewards = [round(2 * rng.random(), 1) for _ in range(4)]
    r = torch.tensor(rewards, dtype=torch.float64)
    kl = torch.stack([(o - ref).sum() for o, ref in zip(map(f32, old), map(f32, reference))])
    r = r - p["beta"] * kl
    advantages = r - (r.sum() - r) / (len(r) - 1)
    leaves = [leaf(l) for l in now]
    log_ratio = torch.stack([l.sum() - o.sum() for l, o in zip(leaves, map(f32, old))])
    coef_1 = torch.exp(log_ratio)
    coef_2 = torch.clamp(coef_1, 1 - p["epsilon"], 1 + p["epsilon_high"])
    loss = (-torch.min(coef_1 * advantages, coef_2 * advantages)).mean()
    loss.backward()
    return {
        "parameters": p, "now": now, "old": old, "reference": reference, "rewards": rewards, "penalized": out(r),
        "advantages": out(advantages), "loss": out(loss), "coefs": [out(l.grad) for l in leaves],
    }


# --- PPO -------------------------------------------------------------------------------------------------------------------

def masked_whiten(values):
    mean = values.mean()
    return (values - mean) * torch.rsqrt(values.var(unbiased=True) + 1e-8)


def ppo_case(_, i):
    p = {"clip": number(0.1, 0.3), "kl": number(0.01, 0.3), "vf_coef": number(0.05, 0.5), "value_clip": number(0.1, 0.4),
         "gamma": 1.0 if i % 2 else number(0.9, 1.0), "lambda": number(0.8, 1.0), "whiten": i % 5 != 4}
    now, old, reference = answers(3)
    values = [[number(-1, 1) for _ in l] for l in now]
    new_values = [near(v, 0.5, 9.0) for v in values]
    scores = [number(-2, 2) for _ in now]
    all_rewards, all_advantages, all_returns = [], [], []
    for o, ref, v, score in zip(map(f32, old), map(f32, reference), map(f32, values), scores):
        rewards = -p["kl"] * -(ref - o)
        rewards[-1] += score
        lastgaelam, reverse = 0, []
        for t in reversed(range(len(o))):
            nextvalues = v[t + 1] if t < len(o) - 1 else 0.0
            delta = rewards[t] + p["gamma"] * nextvalues - v[t]
            lastgaelam = delta + p["gamma"] * p["lambda"] * lastgaelam
            reverse.append(lastgaelam)
        advantages = torch.stack(reverse[::-1])
        all_rewards.append(rewards)
        all_advantages.append(advantages)
        all_returns.append(advantages + v)
    flat = torch.cat(all_advantages)
    whitened = masked_whiten(flat) if p["whiten"] else flat
    leaves, value_leaves = [leaf(l) for l in now], [leaf(v) for v in new_values]
    ratio = torch.exp(torch.cat(leaves) - f32(sum(old, [])))
    pg_losses, pg_losses2 = -whitened * ratio, -whitened * torch.clamp(ratio, 1.0 - p["clip"], 1.0 + p["clip"])
    pg_loss = torch.max(pg_losses, pg_losses2).mean()
    vpred, mb_values, mb_return = torch.cat(value_leaves), f32(sum(values, [])), torch.cat(all_returns)
    vpredclipped = torch.clamp(vpred, mb_values - p["value_clip"], mb_values + p["value_clip"])
    vf_losses1, vf_losses2 = torch.square(vpred - mb_return), torch.square(vpredclipped - mb_return)
    vf_loss = 0.5 * torch.max(vf_losses1, vf_losses2).mean()
    (pg_loss + p["vf_coef"] * vf_loss).backward()
    return {
        "parameters": p, "now": now, "old": old, "reference": reference, "values": values, "new_values": new_values,
        "scores": scores, "rewards": [out(r) for r in all_rewards], "advantages": [out(a) for a in all_advantages],
        "returns": [out(r) for r in all_returns], "whitened": out(whitened), "policy_loss": out(pg_loss),
        "value_loss": out(p["vf_coef"] * vf_loss), "clipped": int((pg_losses2 > pg_losses).sum()),
        "values_clipped": int((vf_losses2 > vf_losses1).sum()), "coefs": [out(l.grad) for l in leaves],
        "value_coefs": [out(v.grad) for v in value_leaves],
    }


MAKERS = {
    **dict.fromkeys(["dpo", "ipo", "orpo", "simpo"], pair_case), "kto": kto_case, "reward": reward_case,
    **dict.fromkeys(["grpo_grpo", "grpo_dapo", "grpo_dr_grpo"], grpo_case), "rloo": rloo_case, "ppo": ppo_case,
}

if __name__ == "__main__":
    table = {name: [make(name, i) for i in range(CASES)] for name, make in MAKERS.items()}
    lines = []
    for name, cases in table.items():
        rows = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
        lines.append(f'"{name}": [\n{rows}\n]')
    path = Path(__file__).parent / "objectives.json"
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(path, path.stat().st_size, "bytes")
