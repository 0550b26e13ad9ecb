#!/usr/bin/env python3
"""Writes files of PyTorch and NumPy that tests read. Needs torch (1.13 made the files that are committed) and numpy.

    python3 scripts/torch_checkpoints.py                writes checkpoint/testdata/torch/* and checkpoint/testdata/npz/*
    python3 scripts/torch_checkpoints.py verify FILE... reads files that rebasin wrote, with torch.load (plain and weights_only) and numpy.load,
                                                        compares each with FILE.safetensors where that stands beside it, and prints what is in it

Beside each file NAME.pt or NAME.npz stands NAME.safetensors with the tensors that are in it, dense and under the names that a reader gives them.
One version of torch and numpy gives the same bytes in every run, but for the older format (NAME-legacy.pt), which names storages by addresses.
"""

import collections
import json
import pathlib
import pickle
import struct
import sys
import zipfile

import numpy as np
import torch

ROOT = pathlib.Path(__file__).resolve().parent.parent / "checkpoint" / "testdata"
KINDS = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64", torch.int32: "I32",
    torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}
BITS = {torch.bfloat16: torch.int16}


def raw(t):
    t = t.detach().contiguous()
    if t.dtype in BITS:
        t = t.view(BITS[t.dtype])
    return t.numpy().tobytes()


def save_expected(path, tensors):
    """Writes a safetensors file. tensors are torch's, or pairs of kind and array for what torch does not have."""
    entries, data = {}, b""
    for name, t in sorted(tensors.items()):
        if isinstance(t, tuple):
            kind, array = t
            shape, content = list(array.shape), np.ascontiguousarray(array).tobytes()
        else:
            kind, shape, content = KINDS[t.dtype], list(t.shape), raw(t)
        entries[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    header = json.dumps(entries, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)


def network(seed):
    torch.manual_seed(seed)
    net = torch.nn.Sequential(
        collections.OrderedDict(
            conv=torch.nn.Conv2d(1, 4, 3), norm=torch.nn.BatchNorm2d(4), relu=torch.nn.ReLU(), flat=torch.nn.Flatten(), fc=torch.nn.Linear(4 * 6 * 6, 3)
        )
    )
    net.train()
    net(torch.randn(5, 1, 8, 8))  # moves the running statistics, and counts the batch
    return net


def numbers(*shape, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator).to(dtype)


def all_dtypes():
    out = collections.OrderedDict()
    for dtype in KINDS:
        name = str(dtype).removeprefix("torch.")
        values = numbers(2, 3, seed=1) * 4
        out[name] = values > 0 if dtype == torch.bool else values.abs().to(dtype) if dtype == torch.uint8 else values.to(dtype)
        out[name + ".scalar"] = out[name][1, 2].clone()
        out[name + ".empty"] = torch.zeros(3, 0, 2, dtype=dtype)
    out["special"] = torch.tensor([float("inf"), -float("inf"), float("nan"), -0.0, 1e-45, 3.4e38])
    return out


def strided():
    base = numbers(4, 5, seed=2)
    wide = numbers(6, 4, 3, 2, seed=3)
    return collections.OrderedDict(
        base=base,
        transposed=base.t(),
        column=base[:, 2],
        rows=base[1:3],
        steps=base[::2, 1::3],
        permuted=wide.permute(2, 0, 3, 1),
        last=wide.contiguous(memory_format=torch.channels_last),
        expanded=numbers(1, 3, seed=4).expand(4, 3),
        one=numbers(1, seed=5).expand(2, 2, 2),
    )


def tied():
    table = numbers(6, 4, seed=6)
    return collections.OrderedDict([("embed.weight", table), ("norm.weight", numbers(4, seed=7)), ("head.weight", table), ("part", table[:3])])


def beside():
    """Values beside a state dict, of every kind that can be carried, and of some that cannot."""
    return collections.OrderedDict(
        epoch=3, best=0.8125, name="résumé \u2028", none=None, yes=True, no=False, big=2**70, negative=-(2**40), small=-5, large=70000, list=[1, [2.5, "x"], {}],
        tuple=(1, (2,), ()), pair=(1, 2), triple=(1, 2, 3), many=tuple(range(5)), table={1: "one", "two": 2, (3, 4): None, None: 0, 2.5: False}, size=torch.Size([2, 3]),
        ordered=collections.OrderedDict(a=1),
        # from here on what cannot be carried
        set={1, 2}, frozen=frozenset([3]), device=torch.device("cpu"), dtype=torch.float32, bytes=b"abc", score=np.float64(0.5), array=np.arange(3),
        counter=collections.Counter([30, 30]), state=collections.defaultdict(dict), tensors=[torch.zeros(2)], tensor_table={0: torch.ones(2)},
        complex={7: torch.zeros(2, dtype=torch.complex64)},
    )  # fmt: skip


def torch_files():
    folder = ROOT / "torch"
    folder.mkdir(parents=True, exist_ok=True)

    def save(name, value, tensors, **options):
        path = folder / f"{name}.pt"
        torch.save(value, path, **options)
        save_expected(path.with_suffix(".safetensors"), tensors)

    legacy = {"_use_new_zipfile_serialization": False}
    state = network(1).state_dict()
    training = collections.OrderedDict(beside(), model=collections.OrderedDict(state_dict=state))
    save("plain", state, state)
    save("plain-legacy", state, state, **legacy)
    save("protocol4", state, state, pickle_protocol=4)
    save("protocol4-legacy", state, state, pickle_protocol=4, **legacy)
    save("training", training, state)
    save("training-legacy", training, state, **legacy)
    save("ema", {"model": state, "ema": network(2).state_dict(), "model.v2": {"weight": numbers(2)}, "step": 1}, state)
    save("parallel", {"state_dict": collections.OrderedDict(("module." + k, v) for k, v in state.items())}, state)
    parameters = {"weight": torch.nn.Parameter(numbers(3, 2)), "frozen": torch.nn.Parameter(numbers(2), requires_grad=False)}
    with_state = torch.nn.Parameter(numbers(2, seed=9))
    parameters["with_state"] = with_state
    with_state.note = "newer versions keep it"
    save("parameters", parameters, parameters)
    for name, options in ("", {}), ("-legacy", legacy):
        save("dtypes" + name, all_dtypes(), all_dtypes(), **options)
        save("strided" + name, strided(), strided(), **options)
        save("tied" + name, tied(), tied(), **options)


def npz_files():
    folder = ROOT / "npz"
    folder.mkdir(parents=True, exist_ok=True)
    kinds = {
        "f8": "F64", "f4": "F32", "f2": "F16", "i8": "I64", "i4": "I32", "i2": "I16", "i1": "I8", "u8": "U64", "u4": "U32", "u2": "U16", "u1": "U8",
        "b1": "BOOL",
    }  # fmt: skip
    random = np.random.default_rng(20220911)
    arrays, expected = {}, {}
    for code, kind in kinds.items():
        values = (random.standard_normal((3, 4)) * 4).astype("b1" if code == "b1" else "f8")
        values = np.abs(values) if code[0] == "u" else values
        native = values.astype(code)
        for order, name in ("<", "little"), (">", "big"):
            for layout in "C", "F":
                arrays[f"{code}/{name}.{layout}"] = np.array(native.astype(order + code), order=layout)
                expected[f"{code}/{name}.{layout}"] = (kind, native)
    arrays["scalar"], expected["scalar"] = np.float32(1.5), ("F32", np.float32(1.5))
    arrays["empty"], expected["empty"] = np.zeros((2, 0)), ("F64", np.zeros((2, 0)))
    deep = random.standard_normal((2, 3, 4, 5)).astype("f4")
    arrays["deep"], expected["deep"] = np.asfortranarray(deep), ("F32", deep)
    np.savez(folder / "stored.npz", **arrays)
    np.savez_compressed(folder / "deflated.npz", **arrays)
    versions = {}
    with zipfile.ZipFile(folder / "versions.npz", "w") as z:
        for version in (1, 0), (2, 0), (3, 0):
            name, array = f"v{version[0]}", random.standard_normal((2, 2)).astype("f4")
            with z.open(zipfile.ZipInfo(name + ".npy"), "w") as f:
                np.lib.format.write_array(f, array, version=version)
            versions[name] = ("F32", array)
    for name in "stored", "deflated":
        save_expected(folder / f"{name}.safetensors", expected)
    save_expected(folder / "versions.safetensors", versions)
    for name in "stored", "deflated":  # numpy writes the time into a zip
        path = folder / f"{name}.npz"
        with zipfile.ZipFile(path) as z:
            entries = [(i.filename, i.compress_type, z.read(i)) for i in z.infolist()]
        with zipfile.ZipFile(path, "w") as z:
            for entry, method, content in entries:
                z.writestr(zipfile.ZipInfo(entry), content, method)


def load_expected(path):
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    header.pop("__metadata__", None)
    return {name: (e["dtype"], e["shape"], data[slice(*e["data_offsets"])]) for name, e in header.items()}


def find(value, path=""):
    """All dictionaries of tensors in a value."""
    if isinstance(value, dict):
        if any(isinstance(v, torch.Tensor) for v in value.values()):
            yield path, value
        for k, v in value.items():
            yield from find(v, f"{path}.{k}" if path else str(k))


def verify(path):
    path = pathlib.Path(path)
    if path.suffix == ".npz":
        arrays = dict(np.load(path))
        numpy_kinds = {"float64": "F64", "float32": "F32", "float16": "F16", "bool": "BOOL"}
        numpy_kinds.update({f"{sign}int{n}": f"{kind}{n}" for sign, kind in (("", "I"), ("u", "U")) for n in (8, 16, 32, 64)})
        found = {k: (numpy_kinds[v.dtype.name], list(v.shape), np.ascontiguousarray(v).tobytes()) for k, v in arrays.items()}
        print(path, len(found), "arrays")
    else:
        plain = torch.load(path)
        try:
            safe = torch.load(path, weights_only=True)
        except pickle.UnpicklingError as e:
            # The restricted unpickler reads floats and long integers since 2.0 only.
            if int(torch.__version__.split(".")[0]) >= 2 or not str(e).endswith(("operand 71", "operand 138")):
                raise
            print(path, "has values beside its tensors that weights_only of this version does not read")
            safe = plain
        (where, state), (also, other) = next(find(plain)), next(find(safe))
        assert where == also and list(state) == list(other), "plain and weights_only differ"
        tensors = {k: v for k, v in state.items() if isinstance(v, torch.Tensor)}
        for k, v in tensors.items():
            assert v.is_contiguous() and v.dtype == other[k].dtype and raw(v) == raw(other[k]), k
        prefix = "module." if all(k.startswith("module.") for k in tensors) else ""
        found = {k.removeprefix(prefix): (KINDS[v.dtype], list(v.shape), raw(v)) for k, v in tensors.items()}
        shared = len(tensors) - len({v.storage().data_ptr() for v in tensors.values() if v.numel()} | {k for k, v in tensors.items() if not v.numel()})
        top = {k: v for k, v in plain.items() if not isinstance(v, (dict, torch.Tensor))}
        print(path, type(state).__name__, where or ".", len(tensors), "tensors,", shared, "tied; beside them", top, getattr(state, "_metadata", None))
    beside = path.with_suffix(".safetensors")
    if beside.exists():
        assert found == load_expected(beside), f"{path} and {beside} differ"


if sys.argv[1:2] == ["verify"]:
    for name in sys.argv[2:]:
        verify(name)
else:
    torch_files()
    npz_files()
