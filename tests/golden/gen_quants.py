#!/usr/bin/env python3
"""Golden vectors of the quantization layer, made with the Python package gguf (its decoder agrees with ggml's).

    pip install gguf numpy && python3 tests/golden/gen_quants.py

quants/<stem>.dec  u32 number of weights, encoded bytes (random codes, f16 scales of all sizes), the f32 they decode to
quants/source.f32  f32 weights to encode
quants/<stem>.enc  what gguf encodes them to, for the formats it encodes
"""
import pathlib

import gguf
import numpy as np

OUT = pathlib.Path(__file__).parent / "quants"
T = gguf.GGMLQuantizationType
# Where the f16 numbers of a block lie.
HALVES = {
    T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0], T.IQ4_NL: [0],
    T.Q2_K: [80, 82], T.Q3_K: [108], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208],
}
ENCODED = [T.F16, T.BF16, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0]
rng = np.random.RandomState(41)


def halves(n):
    """f16 of either sign, from subnormal to large."""
    size = np.exp(rng.uniform(np.log(1e-7), np.log(50.0), n)) * rng.choice([-1, 1], n)
    return size.astype(np.float16)


def encoded(t):
    if t == T.F32:
        return (rng.randn(64) * np.exp(rng.randn(64) * 20)).astype(np.float32).view(np.uint8)
    if t == T.F16:
        return halves(64).view(np.uint8)
    if t == T.BF16:
        return (rng.randn(64).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
    length, size = gguf.GGML_QUANT_SIZES[t]
    blocks = rng.randint(0, 256, (512 // length if length < 256 else 3, size)).astype(np.uint8)
    for at in HALVES[t]:
        blocks[:, at:at + 2] = halves(len(blocks)).view(np.uint8).reshape(-1, 2)
    return blocks.reshape(-1)


def main():
    OUT.mkdir(exist_ok=True)
    for t in [T.F32, T.F16, T.BF16, *HALVES]:
        data = encoded(t)
        weights = gguf.quants.dequantize(data, t).astype(np.float32).reshape(-1)
        out = np.uint32(weights.size).tobytes() + data.tobytes() + weights.tobytes()
        (OUT / f"{t.name.lower()}.dec").write_bytes(out)
    x = (rng.randn(16, 32) * np.exp(rng.randn(16, 1) * 2)).astype(np.float32)
    x[1] = 0
    x[2] *= 1e-6
    x[3] *= 1e3
    x[4] = np.abs(x[4])
    x[5, ::3] = 0
    x[6] = -0.7
    (OUT / "source.f32").write_bytes(x.tobytes())
    for t in ENCODED:
        (OUT / f"{t.name.lower()}.enc").write_bytes(gguf.quants.quantize(x, t).tobytes())


if __name__ == "__main__":
    main()
