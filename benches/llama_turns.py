#!/usr/bin/env python3
"""Ember and llama.cpp on the same model, taking turns in one run, on the CPU.

usage: llama_turns.py EMBER MODEL.gguf [-t THREADS] [-p PROMPT] [-n GENERATED] [-d DEPTH] [-r ROUNDS] [--library FILE]

llama.cpp is the wheel xllamacpp (2026.10.11549 here), compiled for AVX2 with its repacking of weights; --library takes another
libllama.so, e.g. one compiled for this machine's own processor. Prints tokens a second of both for each round, then the ratios of
the medians. EMBER_SIMD=avx2 keeps Ember to the same instructions.
"""
import argparse, ctypes, glob, importlib.util, json, os, statistics, subprocess, time

a = argparse.ArgumentParser()
a.add_argument('ember'); a.add_argument('model')
for flag, default in (('-t', 2), ('-p', 512), ('-n', 64), ('-d', 0), ('-r', 3)):
    a.add_argument(flag, type=int, default=default)
a.add_argument('--library')
a = a.parse_args()


def wheel():
    folder = os.path.dirname(importlib.util.find_spec('xllamacpp').origin)
    return glob.glob(folder + '/*.so')[0]


class Params(ctypes.Structure):
    """Room for a struct of parameters of any version: what is too much at the end is not looked at."""
    _fields_ = [('words', ctypes.c_uint32 * 128)]


class Batch(ctypes.Structure):
    _fields_ = [('n_tokens', ctypes.c_int32)] + [(f'pointer{i}', ctypes.c_void_p) for i in range(6)]


lib = ctypes.CDLL(a.library or wheel())
for name, result, takes in (
    ('llama_print_system_info', ctypes.c_char_p, []), ('llama_backend_init', None, []),
    ('llama_log_set', None, [ctypes.c_void_p, ctypes.c_void_p]),
    ('llama_model_default_params', Params, []), ('llama_context_default_params', Params, []),
    ('llama_model_load_from_file', ctypes.c_void_p, [ctypes.c_char_p, Params]),
    ('llama_init_from_model', ctypes.c_void_p, [ctypes.c_void_p, Params]),
    ('llama_batch_get_one', Batch, [ctypes.c_void_p, ctypes.c_int32]), ('llama_decode', ctypes.c_int32, [ctypes.c_void_p, Batch]),
    ('llama_synchronize', None, [ctypes.c_void_p]), ('llama_get_memory', ctypes.c_void_p, [ctypes.c_void_p]),
    ('llama_memory_clear', None, [ctypes.c_void_p, ctypes.c_bool]),
):
    function = getattr(lib, name)
    function.restype, function.argtypes = result, takes

quiet = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)
lib.llama_log_set(ctypes.cast(quiet, ctypes.c_void_p), None)
lib.llama_backend_init()
print('llama.cpp:', lib.llama_print_system_info().decode().strip())
model = lib.llama_model_load_from_file(a.model.encode(), lib.llama_model_default_params())
params = lib.llama_context_default_params()
words = params.words
# n_ctx, n_batch, n_ubatch, n_seq_max come first in every version; the threads, of which there are two alike, follow.
assert words[1] == 2048 and words[2] == 512, list(words[:10])
threads = next(i for i in range(4, 10) if words[i] == words[i + 1] and 1 <= words[i] <= 512)
words[0] = words[1] = a.d + max(a.p, a.n) + 8
words[threads] = words[threads + 1] = a.t
ctx = lib.llama_init_from_model(model, params)
assert ctx, 'no context'


def decode(tokens):
    array = (ctypes.c_int32 * len(tokens))(*tokens)
    assert lib.llama_decode(ctx, lib.llama_batch_get_one(array, len(tokens))) == 0
    lib.llama_synchronize(ctx)


def clear():
    lib.llama_memory_clear(lib.llama_get_memory(ctx), True)


def some(count):
    return [(7 * i) % 1000 + 10 for i in range(count)]


def fill(count):
    clear()
    for start in range(0, count, 512): decode(some(min(512, count - start)))


def peer():
    clear(); decode(some(8))  # warm
    fill(a.d); start = time.perf_counter(); decode(some(a.p)); prompt = a.p / (time.perf_counter() - start)
    fill(a.d); decode(some(1)); start = time.perf_counter()
    for token in some(a.n): decode([token])
    return prompt, a.n / (time.perf_counter() - start)


def ember():
    sizes = ['-t', str(a.t), '-p', str(a.p), '-n', str(a.n), '-d', str(a.d)]
    command = [a.ember, 'bench', '-m', a.model, '--device', 'cpu', '-r', '1', '--json']
    report = json.loads(subprocess.run(command + sizes, check=True, capture_output=True, text=True).stdout)
    return report['prompt_tok_s']['best'], report['generation_tok_s']['best']


rows = []
for round in range(1, a.r + 1):
    mine, theirs = ember(), peer()
    rows.append((*mine, *theirs))
    print(f'round {round}, behind {a.d}: prompt {a.p}: ember {mine[0]:.1f}, llama.cpp {theirs[0]:.1f}; '
          f'generation of {a.n}: ember {mine[1]:.1f}, llama.cpp {theirs[1]:.1f}', flush=True)
m = [statistics.median(column) for column in zip(*rows)]
print(f'ratios of the medians: prompt {m[0] / m[2]:.2f}, generation {m[1] / m[3]:.2f}')
