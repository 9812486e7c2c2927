"""Logits of llama.cpp with and without an adapter; called by scripts/interop, which documents the arguments."""
import argparse
import json
import sys

import llama_cpp
import numpy as np


def parse():
    parser = argparse.ArgumentParser(prog="scripts/interop")
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("-a", "--adapter", required=True)
    parser.add_argument("-s", "--scale", type=float, default=1.0)
    parser.add_argument("-p", "--prompt", default="The capital of France is")
    parser.add_argument("--tokens")
    parser.add_argument("-o", "--out")
    parser.add_argument("--top", type=int, default=10)
    return parser.parse_args()


def load(args, **adapter):
    return llama_cpp.Llama(args.model, n_ctx=2048, n_batch=2048, n_gpu_layers=0, logits_all=True, verbose=False, **adapter)


def last_logits(llama, tokens):
    llama.reset()
    llama.eval(tokens)
    return np.array(llama.scores[len(tokens) - 1], dtype=np.float32)


def show(name, llama, logits, count):
    log_probs = logits - logits.max()
    log_probs -= np.log(np.exp(log_probs.astype(np.float64)).sum())
    print(f"{name}:")
    for token in np.argsort(-logits, kind="stable")[:count]:
        text = llama.detokenize([int(token)]).decode("utf-8", "replace")
        print(f"  {token:>8}  logit {logits[token]:>10.5f}  log-probability {log_probs[token]:>9.5f}  {text!r}")


def main():
    args = parse()
    base = load(args)
    if args.tokens:
        with open(args.tokens) as file:
            tokens = json.load(file)
    else:
        tokens = base.tokenize(args.prompt.encode(), add_bos=False, special=False)
    if not tokens:
        sys.exit("scripts/interop: the prompt has no tokens")
    print(f"{len(tokens)} tokens: {tokens}")
    plain = last_logits(base, tokens)
    adapted_model = load(args, lora_path=args.adapter, lora_scale=args.scale)
    adapted = last_logits(adapted_model, tokens)
    show("without the adapter", base, plain, args.top)
    show(f"with the adapter, scale {args.scale:g}", adapted_model, adapted, args.top)
    change = np.linalg.norm(adapted - plain) / np.linalg.norm(plain)
    print(f"relative change of the logits: {change:.6f}")
    if args.out:
        with open(f"{args.out}.tokens.json", "w") as file:
            json.dump(tokens, file)
        plain.astype("<f4").tofile(f"{args.out}.base.f32")
        adapted.astype("<f4").tofile(f"{args.out}.adapter.f32")
    if not np.isfinite(adapted).all() or change == 0:
        sys.exit("scripts/interop: the adapter has no effect, or not a finite one")


if __name__ == "__main__":
    main()
