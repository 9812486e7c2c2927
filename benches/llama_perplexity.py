#!/usr/bin/env python3
"""Perplexity of given tokens by llama.cpp, on the CPU: the peer of `ember perplexity`.

usage: llama_perplexity.py MODEL.gguf IDS.json [--f32]        (IDS: `ember tokenize -m MODEL -f TEXT --ids`)

Needs the wheel llama-cpp-cffi (0.4.42 here), which brings llama.cpp compiled for AVX2, and cffi and numpy. On a system whose
C++ library is older than GCC 13 it misses a symbol; a library that has it is put before it:
    echo 'void abort(void); void __cxa_call_terminate(void *e) { abort(); }' | gcc -shared -fPIC -x c - -o shim.so
    LD_PRELOAD=./shim.so python3 llama_perplexity.py ...
"""
import argparse, glob, importlib.util, json, math, os, sysconfig
import numpy as np

a = argparse.ArgumentParser()
a.add_argument('model'); a.add_argument('ids')
a.add_argument('--f32', action='store_true', help='keys and values in floats, not half floats')
a.add_argument('--step', type=int, default=256, help='tokens that go through the model together')
a = a.parse_args()

# The package's own entry asks for the hub; the library alone is enough.
name = '_llama_cpp_cpu'
file = glob.glob(os.path.join(sysconfig.get_paths()['platlib'], 'llama', name + '.*'))[0]
spec = importlib.util.spec_from_file_location(name, file)
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
lib, ffi = module.lib, module.ffi

tokens = json.load(open(a.ids))
lib.llama_backend_init()
mp = lib.llama_model_default_params(); mp.n_gpu_layers = 0
model = lib.llama_model_load_from_file(a.model.encode(), mp)
cp = lib.llama_context_default_params()
cp.n_ctx = cp.n_batch = len(tokens) + a.step; cp.n_ubatch = a.step
if a.f32: cp.type_k = cp.type_v = 0
ctx = lib.llama_init_from_model(model, cp)
vocab = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(model))

nll = 0.0
for first in range(0, len(tokens), a.step):
    part = tokens[first:first + a.step]
    b = lib.llama_batch_init(len(part), 0, 1); b.n_tokens = len(part)
    for i, token in enumerate(part):
        b.token[i] = token; b.pos[i] = first + i; b.n_seq_id[i] = 1; b.seq_id[i][0] = 0; b.logits[i] = 1
    assert lib.llama_decode(ctx, b) == 0
    for i in range(min(len(part), len(tokens) - 1 - first)):
        logits = ffi.buffer(lib.llama_get_logits_ith(ctx, i), 4 * vocab)
        row = np.frombuffer(logits, dtype=np.float32).astype(np.float64)
        top = row.max()
        nll -= row[tokens[first + i + 1]] - top - math.log(np.exp(row - top).sum())
    lib.llama_batch_free(b)
nll /= len(tokens) - 1
print(f'{len(tokens) - 1} predicted, mean NLL {nll:.6f}, perplexity {math.exp(nll):.4f}')
