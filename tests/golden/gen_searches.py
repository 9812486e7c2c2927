"""quants/searched.json: how far ggml's own encoders are from weights, by row, for the formats whose encoders search.

    pip install xllamacpp gguf numpy && python3 tests/golden/gen_searches.py

The weights follow from a hash, which the tests have too; ggml's encoder (exported by the wheel of xllamacpp) encodes them, the
Python package gguf decodes. Written: of each format and row, the sum of squared differences.
"""
import ctypes
import glob
import json
import os
import pathlib

import gguf
import numpy as np
import xllamacpp

OUT = pathlib.Path(__file__).parent / "quants" / "searched.json"
T = gguf.GGMLQuantizationType
FORMATS = [T.Q2_K, T.Q3_K, T.Q4_K, T.Q5_K, T.Q6_K, T.IQ4_NL]
ROWS, COLS = 8, 768


def hashed(stream, count):
    """Numbers below 2^32 that look random, as `gen_training.py` has them."""
    i = np.arange(count, dtype=np.uint64)
    h = (i + np.uint64(stream * 7919 + 1)) * np.uint64(2654435761) % np.uint64(1 << 32)
    h = (h ^ (h >> np.uint64(15))) * np.uint64(2246822519) % np.uint64(1 << 32)
    return h ^ (h >> np.uint64(13))


def weights():
    """Rows of sums of four, near to normal, of sizes from 2^-9 to 2^12; row 2 has zeros, row 3 is of one sign, row 4 has outliers."""
    units = hashed(77, ROWS * COLS * 4).astype(np.float64).reshape(-1, 4) / (1 << 31) - 1
    x = units.sum(axis=1).reshape(ROWS, COLS)
    x *= 2.0 ** (3 * np.arange(ROWS) - 9)[:, None]
    x[2, ::7] = 0
    x[3] = np.abs(x[3])
    x[4, ::50] *= 8
    return x.astype(np.float32)


def main():
    library = ctypes.CDLL(glob.glob(os.path.join(os.path.dirname(xllamacpp.__file__), "*.so"))[0])
    encode = library.ggml_quantize_chunk
    encode.restype = ctypes.c_size_t
    pointer, size = ctypes.c_void_p, ctypes.c_int64
    encode.argtypes = [ctypes.c_int, pointer, pointer, size, size, size, pointer]
    x = weights()
    table = {}
    for t in FORMATS:
        length, held = gguf.GGML_QUANT_SIZES[t]
        blocks = np.zeros((ROWS, COLS // length * held), np.uint8)
        assert encode(int(t), x.ctypes.data, blocks.ctypes.data, 0, ROWS, COLS, None) == blocks.nbytes, t
        apart = gguf.quants.dequantize(blocks, t).astype(np.float64) - x
        table[t.name] = [float(f"{e:.9g}") for e in (apart**2).sum(axis=1)]
    lines = [f'"{name}": {json.dumps(errors)}' for name, errors in table.items()]
    OUT.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
