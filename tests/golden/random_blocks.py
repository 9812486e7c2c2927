"""Random tensors in every GGUF block format, together with the exact floats that the blocks stand for.

A format without an encoder in the package `gguf` still has a decoder there, so weights are drawn as blocks rather than
as floats: random quants, with the block's scale set so that the floats have the standard deviation asked for.
"""
import gguf
import numpy as np
from gguf import GGMLQuantizationType as Q

# type: (elements of a block, bytes of a block, offset of the f16 scale, offset of the f16 minimum, minimum / scale)
# The minimum is chosen so that the floats centre on zero: minus half the range of the quants where it is added (Q4_1,
# Q5_1), plus half of it where the K formats subtract it.
BLOCKS = {
    Q.Q4_0: (32, 18, 0, None, 0.0),
    Q.Q4_1: (32, 20, 0, 2, -7.5),
    Q.Q5_0: (32, 22, 0, None, 0.0),
    Q.Q5_1: (32, 24, 0, 2, -15.5),
    Q.Q8_0: (32, 34, 0, None, 0.0),
    Q.Q2_K: (256, 84, 80, 82, 1.5),
    Q.Q3_K: (256, 110, 108, None, 0.0),
    Q.Q4_K: (256, 144, 0, 2, 7.5),
    Q.Q5_K: (256, 176, 0, 2, 15.5),
    Q.Q6_K: (256, 210, 208, None, 0.0),
    Q.IQ4_NL: (32, 18, 0, None, 0.0),
}
FLOATS = {Q.F32: np.float32, Q.F16: np.float16}


def _blocks(rng, rows, cols, qtype, scale):
    """Random block bytes (rows, bytes per row) whose scales vary by a fifth around `scale`."""
    size, nbytes, scale_at, min_at, ratio = BLOCKS[qtype]
    count = rows * cols // size
    data = rng.integers(0, 256, (count, nbytes), dtype=np.uint8)
    scales = (scale * rng.uniform(0.8, 1.2, count)).astype(np.float16)
    data[:, scale_at : scale_at + 2] = scales.view(np.uint8).reshape(-1, 2)
    if min_at is not None:
        mins = (scales.astype(np.float32) * ratio).astype(np.float16)
        data[:, min_at : min_at + 2] = mins.view(np.uint8).reshape(-1, 2)
    return data.reshape(rows, -1)


def random_matrix(rng, rows, cols, qtype, std):
    """-> (stored, floats): what goes into the file, and the float32 values (rows, cols) that it means."""
    if qtype in FLOATS:
        stored = rng.normal(0.0, std, (rows, cols)).astype(FLOATS[qtype])
        return stored, stored.astype(np.float32)
    if qtype == Q.BF16:
        stored = gguf.quants.quantize(rng.normal(0.0, std, (rows, cols)).astype(np.float32), qtype)
        return stored, gguf.quants.dequantize(stored, qtype).reshape(rows, cols)
    state = rng.bit_generator.state
    unit = gguf.quants.dequantize(_blocks(rng, rows, cols, qtype, 1.0 / 64), qtype).std() * 64
    rng.bit_generator.state = state
    stored = _blocks(rng, rows, cols, qtype, std / unit)
    return stored, gguf.quants.dequantize(stored, qtype).reshape(rows, cols).astype(np.float32)
