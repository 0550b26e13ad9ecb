"""Writes two large checkpoints of one network, of which the second is the first with its units permuted, and noise added.

The network is a stack of residual blocks as in transformers, x + W2 gelu(W1 norm(x)), between two linear layers. Each checkpoint is written as
safetensors in shards and, with --onnx, as a model with external data; graph.onnx holds the graph for --graph and no values.

    python3 scripts/large_checkpoints.py FOLDER --dtype F16 --width 2048 --hidden 4096 --blocks 60 --shards 5
"""

import argparse
import json
import os
import struct

import numpy as np

ONNX_DTYPES = {"F32": 1, "F16": 10, "BF16": 16}


def varint(n):
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out)


def field(number, value):
    """A field of a message of protocol buffers: a whole number, or bytes, text or a message."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def attribute(name, value):
    if isinstance(value, float):
        return field(5, field(1, name) + varint(2 << 3 | 5) + struct.pack("<f", value) + field(20, 1))
    return field(5, field(1, name) + field(3, value) + field(20, 2))


def node(op, inputs, output, *attributes):
    body = b"".join(field(1, i) for i in inputs) + field(2, output) + field(3, output) + field(4, op)
    return field(1, body + b"".join(attributes))


def value_info(name, dtype, dims):
    shape = b"".join(field(1, field(2, d) if isinstance(d, str) else field(1, d)) for d in dims)
    return field(1, name) + field(2, field(1, field(1, dtype) + field(2, shape)))


def tensors(a):
    """Names, shapes, and the axes that are permuted: r of the residual stream, an int of a block's hidden units."""
    yield "embed.weight", (a.width, a.inputs), ("r", None)
    yield "embed.bias", (a.width,), ("r",)
    for b in range(a.blocks):
        p = f"blocks.{b}."
        yield p + "norm.weight", (a.width,), ("r",)
        yield p + "norm.bias", (a.width,), ("r",)
        yield p + "fc1.weight", (a.hidden, a.width), (b, "r")
        yield p + "fc1.bias", (a.hidden,), (b,)
        yield p + "fc2.weight", (a.width, a.hidden), ("r", b)
        yield p + "fc2.bias", (a.width,), ("r",)
    yield "norm.weight", (a.width,), ("r",)
    yield "norm.bias", (a.width,), ("r",)
    yield "head.weight", (a.classes, a.width), (None, "r")
    yield "head.bias", (a.classes,), (None,)


def nodes(a):
    linear = attribute("transB", 1)
    out = node("Gemm", ["x", "embed.weight", "embed.bias"], "h", linear)
    at = "h"
    for b in range(a.blocks):
        p, v = f"blocks.{b}.", f"b{b}_"
        norm = [attribute("axis", 2**64 - 1), attribute("epsilon", 1e-5)]
        out += node("LayerNormalization", [at, p + "norm.weight", p + "norm.bias"], v + "norm", *norm)
        out += node("Gemm", [v + "norm", p + "fc1.weight", p + "fc1.bias"], v + "fc1", linear)
        out += node("Gelu", [v + "fc1"], v + "gelu")
        out += node("Gemm", [v + "gelu", p + "fc2.weight", p + "fc2.bias"], v + "fc2", linear)
        out += node("Add", [at, v + "fc2"], v + "sum")
        at = v + "sum"
    out += node("LayerNormalization", [at, "norm.weight", "norm.bias"], "normed", attribute("axis", 2**64 - 1), attribute("epsilon", 1e-5))
    return out + node("Gemm", ["normed", "head.weight", "head.bias"], "y", linear)


def write_onnx(a, path, values):
    """Values None writes a graph whose initializers are zeros in a sparse file."""
    dtype, size = ONNX_DTYPES[a.dtype], 4 if a.dtype == "F32" else 2
    initializers, at = b"", 0
    with open(path + ".data", "wb") as data:
        for name, shape, _ in tensors(a):
            n = int(np.prod(shape)) * size
            place = [("location", os.path.basename(path) + ".data"), ("offset", str(at)), ("length", str(n))]
            body = b"".join(field(1, d) for d in shape) + field(2, dtype) + field(8, name)
            body += b"".join(field(13, field(1, k) + field(2, v)) for k, v in place) + field(14, 1)
            initializers += field(5, body)
            if values is not None:
                data.seek(at)
                data.write(values[name].tobytes())
            at = (at + n + 4095) // 4096 * 4096
        data.truncate(at)
    graph = nodes(a) + field(2, "stack") + initializers
    graph += field(11, value_info("x", 1 if a.dtype == "F32" else dtype, ["N", a.inputs])) + field(12, value_info("y", dtype, ["N", a.classes]))
    with open(path, "wb") as f:
        f.write(field(1, 10) + field(7, graph) + field(8, field(2, 20)))


def write_shards(a, folder, values):
    os.makedirs(folder, exist_ok=True)
    names, total = list(values), sum(v.nbytes for v in values.values())
    parts, filled = [[]], 0
    for name in names:
        if filled > 0 and filled + values[name].nbytes > total / a.shards:
            parts.append([])
            filled = 0
        parts[-1].append(name)
        filled += values[name].nbytes
    weight_map = {}
    for i, part in enumerate(parts):
        file = f"model-{i + 1:05d}-of-{len(parts):05d}.safetensors"
        header, at = {"__metadata__": {"format": "pt"}}, 0
        for name in sorted(part):
            v = values[name]
            header[name] = {"dtype": a.dtype, "shape": list(v.shape), "data_offsets": [at, at + v.nbytes]}
            at += v.nbytes
            weight_map[name] = file
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        with open(os.path.join(folder, file), "wb") as f:
            f.write(struct.pack("<Q", len(text)) + text)
            for name in sorted(part):
                values[name].tofile(f)
    with open(os.path.join(folder, "model.safetensors.index.json"), "w") as f:
        json.dump({"metadata": {"total_size": total}, "weight_map": weight_map}, f, indent=2)


def encode(dtype, x):
    if dtype == "BF16":
        bits = x.view(np.uint32)
        return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)
    return x.astype(np.float16 if dtype == "F16" else np.float32)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder")
    p.add_argument("--dtype", choices=list(ONNX_DTYPES), default="F16")
    for name, default in [("width", 2048), ("hidden", 4096), ("blocks", 60), ("inputs", 1024), ("classes", 1000), ("shards", 5), ("seed", 0)]:
        p.add_argument("--" + name, type=int, default=default)
    p.add_argument("--noise", type=float, default=0.5, help="of the second, in deviations of the first")
    p.add_argument("--onnx", action="store_true", help="write models with external data too")
    a = p.parse_args()
    rng = np.random.default_rng(a.seed)
    moves = {b: rng.permutation(a.hidden) for b in range(a.blocks)}
    moves["r"] = rng.permutation(a.width)
    first, second = {}, {}
    for name, shape, axes in tensors(a):
        x = rng.standard_normal(shape, dtype=np.float32) * np.float32((1 / shape[-1]) ** 0.5 if len(shape) > 1 else 0.1)
        x += np.float32(name.endswith("norm.weight"))
        y = x + rng.standard_normal(shape, dtype=np.float32) * np.float32(a.noise * x.std())
        for axis, group in enumerate(axes):
            if group is not None:
                y = np.take(y, moves[group], axis)
        first[name], second[name] = encode(a.dtype, x), encode(a.dtype, y)
    os.makedirs(a.folder, exist_ok=True)
    write_onnx(a, os.path.join(a.folder, "graph.onnx"), None)
    for side, values in (("a", first), ("b", second)):
        write_shards(a, os.path.join(a.folder, side), values)
        if a.onnx:
            write_onnx(a, os.path.join(a.folder, side + ".onnx"), values)


main()
