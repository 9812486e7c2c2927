"""A peer of `ember pretrain`: the same training in plain torch on the CPU; speed, memory and losses.

    python benches/pretrain_torch.py --layers 6 --width 192 --heads 6 --kv-heads 2 --ff 512 --vocab 4096 --seq 256 --batch 16
    python benches/pretrain_torch.py --tokens corpus.tokens --steps 2000 --recipe nanogpt ...
    python benches/pretrain_torch.py --gguf model.gguf --tokens corpus.tokens ...

Recipes: `llama` (RMSNorm, rotated neighbours, grouped queries, SwiGLU, tied embeddings, as GGUF's llama) and `nanogpt` (GPT-2's blocks
as nanoGPT has them: LayerNorm, learned positions, GELU, no biases, no dropout, tied embeddings).
Tokens are those of a token file of `ember` (its training and validation parts; windows do not cross documents), or a plain file of
u16 (nanoGPT's `train.bin`, whose last tenth is for validation), or random ones. Needs torch and numpy, and for --gguf the package
`gguf`.
"""
import argparse
import json
import math
import resource
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

HEADER = 256  # bytes before the tokens of a token file


def arguments():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("layers", 6), ("width", 192), ("heads", 6), ("kv-heads", 2), ("ff", 512), ("vocab", 4096), ("seq", 256),
                          ("batch", 16), ("accumulate", 1), ("steps", 20), ("warmup", 0), ("threads", 2), ("seed", 0), ("report", 10),
                          ("validate", 0), ("windows", 64)):
        p.add_argument(f"--{name}", type=int, default=default)
    p.add_argument("--rate", type=float, default=1e-3)
    p.add_argument("--floor", type=float, default=0.1, help="of the rate, where the cosine ends")
    p.add_argument("--decay", type=float, default=0.1, help="of matrices; norms do not decay")
    p.add_argument("--beta2", type=float, default=0.95)
    p.add_argument("--clip", type=float, default=1.0, help="0 for none")
    p.add_argument("--recipe", choices=("llama", "nanogpt"), default="llama")
    p.add_argument("--tokens", help="token file of ember, or plain u16")
    p.add_argument("--gguf", help="begin with these f32 weights; sizes are the file's")
    p.add_argument("--rope-base", type=float, default=10000.0)
    p.add_argument("--eps", type=float, default=1e-5)
    p.add_argument("--compile", action="store_true")
    p.add_argument("--json", action="store_true")
    return p.parse_args()


class RmsNorm(nn.Module):
    def __init__(self, width, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x):
        return F.rms_norm(x, (x.shape[-1],), self.weight, self.eps)


def rotate(x, cos, sin):
    """x: (batch, heads, positions, head_dim); neighbours rotate together."""
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)


class Llama(nn.Module):
    def __init__(self, a):
        super().__init__()
        linear = lambda rows, cols: nn.Linear(cols, rows, bias=False)
        self.a, self.dim = a, a.width // a.heads
        kv = a.kv_heads * self.dim
        self.token_embd = nn.Embedding(a.vocab, a.width)
        self.blk = nn.ModuleList(nn.ModuleDict({
            "attn_norm": RmsNorm(a.width, a.eps), "attn_q": linear(a.width, a.width), "attn_k": linear(kv, a.width),
            "attn_v": linear(kv, a.width), "attn_output": linear(a.width, a.width), "ffn_norm": RmsNorm(a.width, a.eps),
            "ffn_gate": linear(a.ff, a.width), "ffn_up": linear(a.ff, a.width), "ffn_down": linear(a.width, a.ff),
        }) for _ in range(a.layers))
        self.output_norm = RmsNorm(a.width, a.eps)
        half = self.dim // 2
        angles = torch.arange(a.seq)[:, None] * a.rope_base ** (-torch.arange(half) * 2 / self.dim)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)
        begin(self, a.layers, ("attn_output", "ffn_down"))

    def forward(self, ids, targets, places, mask):
        a, x = self.a, self.token_embd(ids)
        b, t = ids.shape
        cos, sin = self.cos[places][:, None], self.sin[places][:, None]
        for w in self.blk:
            h = w["attn_norm"](x)
            heads = lambda name, n: w[name](h).view(b, t, n, self.dim).transpose(1, 2)
            q, k = rotate(heads("attn_q", a.heads), cos, sin), rotate(heads("attn_k", a.kv_heads), cos, sin)
            y = attend(q, k, heads("attn_v", a.kv_heads), mask, a.heads != a.kv_heads)
            x = x + w["attn_output"](y.transpose(1, 2).reshape(b, t, a.width))
            h = w["ffn_norm"](x)
            x = x + w["ffn_down"](F.silu(w["ffn_gate"](h)) * w["ffn_up"](h))
        logits = F.linear(self.output_norm(x), self.token_embd.weight)
        return F.cross_entropy(logits.view(-1, a.vocab), targets.view(-1), ignore_index=-1, reduction="sum")


class NanoGpt(nn.Module):
    def __init__(self, a):
        super().__init__()
        norm = lambda: nn.LayerNorm(a.width, bias=False)
        linear = lambda rows, cols: nn.Linear(cols, rows, bias=False)
        self.a = a
        self.wte, self.wpe = nn.Embedding(a.vocab, a.width), nn.Embedding(a.seq, a.width)
        self.blk = nn.ModuleList(nn.ModuleDict({
            "ln_1": norm(), "c_attn": linear(3 * a.width, a.width), "c_proj": linear(a.width, a.width), "ln_2": norm(),
            "c_fc": linear(a.ff, a.width), "c_down": linear(a.width, a.ff),
        }) for _ in range(a.layers))
        self.ln_f = norm()
        begin(self, a.layers, ("c_proj", "c_down"))

    def forward(self, ids, targets, places, mask):
        a, x = self.a, self.wte(ids) + self.wpe(places)
        b, t = ids.shape
        for w in self.blk:
            q, k, v = w["c_attn"](w["ln_1"](x)).view(b, t, 3 * a.heads, a.width // a.heads).transpose(1, 2).chunk(3, 1)
            x = x + w["c_proj"](attend(q, k, v, mask, False).transpose(1, 2).reshape(b, t, a.width))
            x = x + w["c_down"](F.gelu(w["c_fc"](w["ln_2"](x))))
        logits = F.linear(self.ln_f(x), self.wte.weight)
        return F.cross_entropy(logits.view(-1, a.vocab), targets.view(-1), ignore_index=-1, reduction="sum")


def attend(q, k, v, mask, grouped):
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None, enable_gqa=grouped)


def begin(model, layers, last):
    """GPT-2's beginning: a deviation of 0.02, less where a residual branch ends."""
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2:
            deviation = 0.02 / math.sqrt(2 * layers) if name.split(".")[-2] in last else 0.02
            nn.init.normal_(parameter, 0.0, deviation)


class Tokens:
    """Windows of a token file, a plain one, or of random tokens: at random places, or one behind another."""

    def __init__(self, a):
        self.a, self.random = a, np.random.default_rng(a.seed)
        self.marks = None
        if not a.tokens:
            self.train = self.random.integers(0, a.vocab, 1 << 20).astype(np.int64)
            self.kept = self.train[: 1 << 16]
            return
        raw = open(a.tokens, "rb").read(HEADER)
        if raw[:8] != b"EMBRTOKS":
            all = np.fromfile(a.tokens, np.uint16).astype(np.int64)
            cut = len(all) * 9 // 10
            self.train, self.kept = all[:cut], all[cut:]
            return
        width = int.from_bytes(raw[12:16], "little")
        vocab, _, train, kept = (int.from_bytes(raw[i : i + 8], "little") for i in range(24, 56, 8))
        assert vocab <= a.vocab, f"the tokens are of a vocabulary of {vocab}"
        self.train = np.memmap(a.tokens, f"<u{width}", "r", HEADER, train)
        self.kept = np.memmap(a.tokens, f"<u{width}", "r", HEADER + width * train, kept) if kept else self.train[:0]
        self.marks = 8 * width - 1

    def batch(self, source, starts):
        seq = self.a.seq
        rows = np.stack([np.asarray(source[s : s + seq + 1], dtype=np.int64) for s in starts])
        if self.marks is None:
            ids = torch.from_numpy(rows)
            return ids[:, :-1], ids[:, 1:].contiguous(), torch.arange(seq).expand(len(starts), seq), None
        begins = rows >> self.marks == 1
        ids = torch.from_numpy(rows & ((1 << self.marks) - 1))
        documents = torch.from_numpy(begins.cumsum(1))
        targets = torch.where(documents[:, 1:] == documents[:, :-1], ids[:, 1:], -1)
        at = np.arange(seq + 1)
        places = at - np.maximum.accumulate(np.where(begins, at, 0), 1)
        inside = documents[:, :-1]
        mask = (inside[:, :, None] == inside[:, None, :]).tril()[:, None]
        return ids[:, :-1], targets, torch.from_numpy(places[:, :-1]), mask

    def step(self):
        return self.batch(self.train, self.random.integers(0, len(self.train) - self.a.seq, self.a.batch))

    def validation(self):
        windows = (len(self.kept) - 1) // self.a.seq
        chosen = [i * windows // min(windows, self.a.windows) for i in range(min(windows, self.a.windows))]
        for i in range(0, len(chosen), self.a.batch):
            yield self.batch(self.kept, [w * self.a.seq for w in chosen[i : i + self.a.batch]])


def from_gguf(a):
    """Sizes and weights of a llama file in f32."""
    import gguf

    reader = gguf.GGUFReader(a.gguf)
    field = lambda key: reader.fields[f"llama.{key}"].contents()
    a.layers, a.width, a.ff = field("block_count"), field("embedding_length"), field("feed_forward_length")
    a.heads, a.kv_heads = field("attention.head_count"), field("attention.head_count_kv")
    a.eps, a.rope_base = field("attention.layer_norm_rms_epsilon"), reader.fields["llama.rope.freq_base"].contents()
    state = {}
    for tensor in reader.tensors:
        assert tensor.tensor_type == gguf.GGMLQuantizationType.F32, f"{tensor.name} is {tensor.tensor_type.name}, and F32 is read"
        state[tensor.name] = torch.from_numpy(np.array(tensor.data))
    assert "output.weight" not in state, "the output is not the embedding"
    a.vocab = state["token_embd.weight"].shape[0]
    model = Llama(a)
    model.load_state_dict(state)
    return model


def factor(a, step):
    if step < a.warmup:
        return (step + 1) / a.warmup
    done = (step - a.warmup) / max(1, a.steps - a.warmup)
    return a.floor + (1 - a.floor) * 0.5 * (1 + math.cos(math.pi * done))


@torch.no_grad()
def judge(model, data):
    loss, count = 0.0, 0
    for ids, targets, places, mask in data.validation():
        loss += float(model(ids, targets, places, mask))
        count += int((targets >= 0).sum())
    return loss / max(1, count)


def main():
    a = arguments()
    torch.set_num_threads(a.threads)
    torch.manual_seed(a.seed)
    model = from_gguf(a) if a.gguf else (Llama if a.recipe == "llama" else NanoGpt)(a)
    size = sum(p.numel() for p in model.parameters())
    matrices = [p for p in model.parameters() if p.dim() == 2]
    groups = [{"params": matrices, "weight_decay": a.decay},
              {"params": [p for p in model.parameters() if p.dim() < 2], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=a.rate, betas=(0.9, a.beta2), eps=1e-8, fused=True)
    run = torch.compile(model) if a.compile else model
    data, times, work, losses, kept = Tokens(a), [], [], [], []
    for step in range(a.steps):
        start, worked, loss = time.perf_counter(), time.process_time(), 0.0
        batches = [data.step() for _ in range(a.accumulate)]
        count = sum(int((targets >= 0).sum()) for _, targets, _, _ in batches)
        for ids, targets, places, mask in batches:
            part = run(ids, targets, places, mask) / count
            part.backward()
            loss += float(part.detach())
        if a.clip:
            nn.utils.clip_grad_norm_(model.parameters(), a.clip)
        for group in optimizer.param_groups:
            group["lr"] = a.rate * factor(a, step)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        times.append(time.perf_counter() - start)
        work.append(time.process_time() - worked)
        losses.append(loss)
        if a.validate and (step + 1) % a.validate == 0:
            kept.append((step + 1, judge(model, data)))
            print(f"step {step + 1}: validation loss {kept[-1][1]:.4f}, perplexity {math.exp(kept[-1][1]):.3f}", flush=True)
        elif (step + 1) % a.report == 0:
            print(f"step {step + 1}: loss {loss:.4f}, {1000 * times[-1]:.0f} ms", flush=True)
    # The first steps allocate, and compile.
    median, cpu = (float(np.median(all[min(3, len(all) - 1):])) for all in (times, work))
    rows = a.batch * a.accumulate * a.seq
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    result = {"recipe": a.recipe, "parameters": size, "tokens_per_second": rows / median, "step_ms": 1000 * median, "step_cpu_ms": 1000 * cpu,
              "peak_rss": memory, "first_loss": losses[0], "last_loss": float(np.mean(losses[-20:])), "validation": kept,
              "threads": a.threads, "compiled": a.compile, "torch": torch.__version__}
    if a.json:
        print(json.dumps(result))
    else:
        print(f"{size:,} parameters, {rows / median:,.0f} tokens/s ({1000 * median:.0f} ms a step of {rows}, {1000 * cpu:.0f} ms of all cores together), peak {memory / 1e6:,.0f} MB, "
              f"loss {losses[0]:.4f} -> {result['last_loss']:.4f}, torch {torch.__version__}, {a.threads} threads")


if __name__ == "__main__":
    main()
