"""Re-encodes a GGUF model with the encoders of the package `gguf`, to compare this project's encoders with.

    python requant.py IN.gguf OUT.gguf FORMAT

FORMAT is one that the package encodes: F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0. Matrices whose rows the format's blocks
divide are re-encoded, everything else is copied. `scripts/formats` runs it for each.
"""
import sys

import gguf
import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter

# Set by the writer itself.
OWN = {"general.architecture", "general.alignment"}


def copy_metadata(reader, writer):
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name in OWN:
            continue
        sub = field.types[1] if field.types[0] == GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=sub)


def recode(tensor, to):
    """-> (array, format) for the writer."""
    kind = tensor.tensor_type
    block, _ = gguf.GGML_QUANT_SIZES[to]
    if len(tensor.shape) != 2 or int(tensor.shape[0]) % block:
        return tensor.data, kind
    floats = gguf.quants.dequantize(tensor.data, kind).astype(np.float32)
    return gguf.quants.quantize(floats, to), to


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    source, target, to = sys.argv[1], sys.argv[2], GGMLQuantizationType[sys.argv[3]]
    reader = GGUFReader(source)
    writer = GGUFWriter(target, reader.get_field("general.architecture").contents())
    copy_metadata(reader, writer)
    for tensor in reader.tensors:
        data, kind = recode(tensor, to)
        plain = kind in (GGMLQuantizationType.F32, GGMLQuantizationType.F16)
        writer.add_tensor(tensor.name, np.ascontiguousarray(data), raw_dtype=None if plain else kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
