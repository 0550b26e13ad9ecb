#!/usr/bin/env python3
"""Times rebasin beside SciPy, NumPy and PyTorch, both sides in the same run, in turns, each the best of its rounds.

    go build -o rebasin ./cmd/rebasin
    OMP_WAIT_POLICY=PASSIVE OPENBLAS_CORETYPE=SkylakeX python3 scripts/compare.py ./rebasin assign --n 1024 2048
    ... python3 scripts/compare.py ./rebasin assign --kinds odd rectangular --n 1000
    ... python3 scripts/compare.py ./rebasin assign --kinds all --n 8 16 32 64
    ... python3 scripts/compare.py ./rebasin gemm --threads 1 --sizes 512,512,512 500,512,784,tb
    ... python3 scripts/compare.py ./rebasin match a.safetensors b.safetensors --seeds 0 1 2 --threads 2
    ... python3 scripts/compare.py ./rebasin train --nets mlp,1 resnet20,1,batch vgg16,0.25,layer --threads 2

OPENBLAS_CORETYPE=SkylakeX is for processors with AVX-512 alone, where OpenBLAS may not choose those kernels by itself; leave it unset elsewhere.
A ratio above 1 says that rebasin is faster. An assignment whose value is not SciPy's ends the run: to the last digit for integers, else within
the rounding of float32.
"""

import argparse
import json
import os
import struct
import subprocess
import sys
import tempfile
import time

KINDS = ["a", "b", "c1", "c2", "c3", "d1", "d2"]
ODD = ["constant", "zero", "rank1", "binary", "equal", "sorted", "dead90", "wide", "few"]
SHAPES = ["tall", "flat", "narrow", "long", "near"]


def matrix(kind, n, seed):
    rng = np.random.default_rng(seed)
    shape = {"tall": (4 * n // 2, n // 2), "flat": (n // 2, 2 * n), "narrow": (3 * n, max(n // 10, 1)), "long": (max(n // 10, 1), 3 * n),
             "near": (n, n + max(n // 10, 1))}.get(kind, (n, n))
    gauss = lambda *s: rng.standard_normal(s or (n, n), dtype=np.float32)
    if kind in SHAPES:
        return gauss(shape[0], n) @ gauss(shape[1], n).T
    if kind == "a":
        return rng.random((n, n), dtype=np.float32)
    if kind == "b":
        return gauss() @ gauss().T
    if kind == "d1":
        return rng.integers(0, 100, (n, n)).astype(np.float32)
    if kind == "constant":
        return np.full((n, n), 3, np.float32)
    if kind == "zero":
        return np.zeros((n, n), np.float32)
    if kind == "rank1":
        return gauss(n, 1) @ gauss(1, n)
    if kind == "binary":
        return rng.integers(0, 2, (n, n)).astype(np.float32)
    if kind == "equal":
        return np.repeat(gauss(1, n), n, axis=0)
    if kind == "sorted":
        return np.sort(rng.random(n * n, dtype=np.float32)).reshape(n, n)
    if kind == "wide":
        return (gauss() * np.exp(10 * gauss())).astype(np.float32)
    if kind == "few":
        return (rng.integers(-1, 2, (n, n)) @ rng.integers(-1, 2, (n, n))).astype(np.float32)
    noise = {"c1": 0.5, "c2": n**0.5 / 4, "c3": n**0.5 / 1.5, "d2": 0.5, "dead90": 0.5}[kind]
    dead = {"d2": 3 * n // 10, "dead90": 9 * n // 10}.get(kind, 0)
    wa = gauss()
    wb = wa[rng.permutation(n)] + noise * gauss()
    wa[rng.permutation(n)[:dead]] = 0
    wb[rng.permutation(n)[:dead]] = 0
    return wa @ wb.T


def rebasin(binary, *args):
    return json.loads(subprocess.run([binary, "bench", *args, "--json", "--quiet"], check=True, stdout=subprocess.PIPE).stdout)


def best_of(f, seconds):
    """The best time of a call to f, repeated for so many seconds, at least once."""
    best, end = float("inf"), time.perf_counter() + seconds
    while True:
        start = time.perf_counter()
        out = f()
        now = time.perf_counter()
        best = min(best, now - start)
        if now >= end:
            return best, out


def assign(a):
    from scipy.optimize import linear_sum_assignment

    kinds = [k for g in a.kinds for k in {"usual": KINDS, "odd": ODD, "rectangular": SHAPES, "all": KINDS + ODD}.get(g, [g])]
    print(f"{'kind':12}{'shape':>14}{'rebasin':>12}{'SciPy':>12}{'ratio':>8}{'gap':>10}")
    for n in a.n:
        for kind in kinds:
            m = matrix(kind, n, a.seed)
            whole = bool(np.all(m == np.round(m)))
            with tempfile.NamedTemporaryFile(suffix=".f32") as f:
                m.astype("<f4").tofile(f)
                f.flush()
                args = ["assign", "--read", f.name, "--n", str(m.shape[0]), "--columns", str(m.shape[1]), "--maximize", "--threads", "1"]
                ours = theirs = float("inf")
                for _ in range(a.rounds):
                    t, (r, c) = best_of(lambda: linear_sum_assignment(m, maximize=True), a.seconds)
                    theirs = min(theirs, t)
                    runs = min(max(3, int(a.seconds / min(ours, t))), 100000)
                    got = rebasin(a.rebasin, *args, "--runs", str(runs))
                    ours = min(ours, got["seconds"])
            want = float(m[r, c].sum(dtype=np.float64))
            slack = 0 if whole else 1e-6 * len(r) * float(np.abs(m).max())
            if abs(got["value"] - want) > slack:
                sys.exit(f"{kind} {m.shape}: the value is {got['value']!r}, SciPy's {want!r}")
            print(f"{kind:12}{f'{m.shape[0]} x {m.shape[1]}':>14}{ours * 1e3:10.4g}ms{theirs * 1e3:10.4g}ms{theirs / ours:8.2f}{got['dual_gap']:10.2g}", flush=True)


def gemm(a):
    print(f"{'m,n,k':20}{'threads':>8}{'rebasin':>9}{'OpenBLAS':>9}{'ratio':>7}{'of peak':>8}")
    for size in a.sizes:
        m, n, k = map(int, size.split(",")[:3])
        flags = size.split(",")[3:]
        rng = np.random.default_rng(0)
        draw = lambda r, c, t: rng.standard_normal((c, r) if t else (r, c), dtype=np.float32)
        x, y, out = draw(m, k, "ta" in flags), draw(k, n, "tb" in flags), np.empty((m, n), np.float32)
        x, y = (x.T if "ta" in flags else x), (y.T if "tb" in flags else y)
        args = ["gemm", "--m", str(m), "--n", str(n), "--k", str(k), "--threads", str(a.threads)]
        args += ["--trans-a"] * ("ta" in flags) + ["--trans-b"] * ("tb" in flags)
        ours = theirs = peak = 0
        for _ in range(a.rounds):
            theirs = max(theirs, 2e-9 * m * n * k / best_of(lambda: np.matmul(x, y, out=out), a.seconds)[0])
            got = rebasin(a.rebasin, *args)
            ours, peak = max(ours, got["gflops"]), max(peak, got["peak"])
        print(f"{size:20}{a.threads:8}{ours:9.1f}{theirs:9.1f}{ours / theirs:7.2f}{ours / peak:8.2f}", flush=True)


def safetensors(path):
    with open(path, "rb") as f:
        (size,) = struct.unpack("<Q", f.read(8))
        header = json.loads(f.read(size))
        data = f.read()
    out = {}
    for name, t in header.items():
        if name != "__metadata__":
            if t["dtype"] != "F32":
                sys.exit(f"{path}: {name} is {t['dtype']}, not F32")
            out[name] = np.frombuffer(data[slice(*t["data_offsets"])], "<f4").reshape(t["shape"])
    return out


def weight_matching(a, b, axes, seed):
    """Algorithm 1 of Ainsworth, Hayase, Srinivasa 2022 (arXiv:2209.04836). axes has a group's name or None for each axis of each tensor."""
    from scipy.optimize import linear_sum_assignment

    where, perm = {}, {}
    for name, groups in axes.items():
        for axis, g in enumerate(groups):
            if g is not None:
                where.setdefault(g, []).append((name, axis))
                perm[g] = np.arange(a[name].shape[axis])

    def permuted(name, skip):
        w = b[name]
        for axis, g in enumerate(axes[name]):
            if g is not None and axis != skip:
                w = np.take(w, perm[g], axis=axis)
        return w

    rng, sweeps, moved = np.random.default_rng(seed), 0, True
    while moved and sweeps < 100:
        sweeps, moved = sweeps + 1, False
        for g in rng.permutation(sorted(where)):
            n = len(perm[g])
            s = np.zeros((n, n), np.float32)
            for name, axis in where[g]:
                s += np.moveaxis(a[name], axis, 0).reshape(n, -1) @ np.moveaxis(permuted(name, axis), axis, 0).reshape(n, -1).T
            rows, cols = linear_sum_assignment(s, maximize=True)
            old, new = s[rows, perm[g]].sum(dtype=np.float64), s[rows, cols].sum(dtype=np.float64)
            moved |= new > old + 1e-6 * abs(old)
            perm[g] = cols
    return sweeps, sum(np.vdot(a[n].astype(np.float64), permuted(n, None)) for n in axes)


def match(a):
    with tempfile.NamedTemporaryFile(suffix=".json") as f:
        subprocess.run([a.rebasin, "symmetries", a.a, "--axes", f.name], check=True, stdout=subprocess.DEVNULL)
        axes = json.load(open(f.name))
    pa, pb = safetensors(a.a), safetensors(a.b)
    print(f"{'seed':>4}{'rebasin':>10}{'sweeps':>7}{'objective':>14}{'NumPy':>10}{'sweeps':>7}{'objective':>14}{'ratio':>7}")
    for seed in a.seeds:
        ours = theirs = float("inf")
        for _ in range(a.rounds):
            got = rebasin(a.rebasin, "match", a.a, a.b, "--seed", str(seed), "--threads", str(a.threads))
            t, (sweeps, objective) = best_of(lambda: weight_matching(pa, pb, axes, seed), 0)
            ours, theirs = min(ours, got["seconds"]), min(theirs, t)
        print(f"{seed:4}{ours:9.3f}s{got['sweeps']:7}{got['objective']:14.6g}{theirs:9.3f}s{sweeps:7}{objective:14.6g}{theirs / ours:7.2f}", flush=True)


def network(arch, width, norm):
    """The network of `rebasin bench train` in PyTorch, and its input."""
    import torch
    from torch import nn

    class ChannelNorm(nn.Module):
        def __init__(self, c):
            super().__init__()
            self.c, self.weight, self.bias = c, nn.Parameter(torch.ones(c)), nn.Parameter(torch.zeros(c))

        def forward(self, x):
            y = nn.functional.layer_norm(x.permute(0, 2, 3, 1), (self.c,), self.weight, self.bias, 1e-6)
            return y.permute(0, 3, 1, 2)

    norms = {"batch": nn.BatchNorm2d, "layer": ChannelNorm}

    class Block(nn.Module):
        def __init__(self, cin, cout, stride):
            super().__init__()
            self.main = nn.Sequential(
                nn.Conv2d(cin, cout, 3, stride, 1, bias=False), norms[norm](cout), nn.ReLU(),
                nn.Conv2d(cout, cout, 3, 1, 1, bias=False), norms[norm](cout),
            )
            same = stride == 1 and cin == cout
            self.short = nn.Identity() if same else nn.Sequential(nn.Conv2d(cin, cout, 3, stride, 1, bias=False), norms[norm](cout))

        def forward(self, x):
            return nn.functional.relu(self.main(x) + self.short(x))

    if arch == "mlp":
        n = int(512 * width)
        layers = [nn.Linear(784, n), nn.ReLU(), nn.Linear(n, n), nn.ReLU(), nn.Linear(n, n), nn.ReLU(), nn.Linear(n, 10)]
        return nn.Sequential(*layers), torch.randn(500, 784)
    if arch == "resnet20":
        c = int(16 * width)
        layers = [nn.Conv2d(3, c, 3, 1, 1, bias=False), norms[norm](c), nn.ReLU()]
        for cin, cout, stride in [(c, c, 1)] * 3 + [(c, 2 * c, 2)] + [(2 * c, 2 * c, 1)] * 2 + [(2 * c, 4 * c, 2)] + [(4 * c, 4 * c, 1)] * 2:
            layers.append(Block(cin, cout, stride))
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * c, 10)]
    else:
        m, layers, cin = int(64 * width), [], 3
        for k in [1, 1, 0, 2, 2, 0, 4, 4, 4, 0, 8, 8, 8, 0, 8, 8, 8, 0]:
            layers += [nn.Conv2d(cin, k * m, 3, padding=1), norms[norm](k * m), nn.ReLU()] if k else [nn.MaxPool2d(2)]
            cin = k * m or cin
        layers += [nn.Flatten(), nn.Linear(cin, cin), nn.ReLU(), nn.Linear(cin, cin), nn.ReLU(), nn.Linear(cin, 10)]
    last = torch.channels_last  # the faster layout of PyTorch on processors
    return nn.Sequential(*layers).to(memory_format=last), torch.randn(128, 3, 32, 32).to(memory_format=last)


def pytorch(arch, width, norm, steps):
    """Images per second of the best step: forward, backward and update."""
    import torch

    torch.manual_seed(0)
    net, x = network(arch, width, norm)
    y = torch.randint(0, 10, (len(x),))
    sgd = arch != "mlp"
    opt = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9) if sgd else torch.optim.Adam(net.parameters(), 1e-3)

    def step():
        opt.zero_grad()
        torch.nn.functional.cross_entropy(net(x), y).backward()
        opt.step()

    step(), step()
    return len(x) / min(best_of(step, 0)[0] for _ in range(steps))


def train(a):
    import torch

    torch.set_num_threads(a.threads)
    print(f"{'network':24}{'rebasin':>10}{'PyTorch':>10}{'ratio':>7}   images/s")
    for net in a.nets:
        given = net.split(",")
        arch, width, norm = given + ["mlp", "1", "batch"][len(given) :]
        args = ["train", "--arch", arch, "--width", width, "--threads", str(a.threads)] + (["--norm", norm] if arch != "mlp" else [])
        ours = theirs = 0
        for _ in range(a.rounds):
            ours = max(ours, rebasin(a.rebasin, *args)["images_per_second"])
            theirs = max(theirs, pytorch(arch, float(width), norm, 120 if arch == "mlp" else 8))
        print(f"{net:24}{ours:10.1f}{theirs:10.1f}{ours / theirs:7.2f}", flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("rebasin", help="the program")
    sub = p.add_subparsers(required=True)
    s = sub.add_parser("assign", help="beside scipy.optimize.linear_sum_assignment, on one thread")
    s.set_defaults(run=assign, threads=1)
    s.add_argument("--n", type=int, nargs="+", default=[1024, 2048])
    s.add_argument("--kinds", nargs="+", default=["usual"], help=f"usual, odd, rectangular, all, or some of {', '.join(KINDS + ODD + SHAPES)}")
    s.add_argument("--seed", type=int, default=0)
    s = sub.add_parser("gemm", help="beside numpy.matmul, which is OpenBLAS")
    s.set_defaults(run=gemm)
    s.add_argument("--sizes", nargs="+", default=["512,512,512", "1024,1024,1024"], help="m,n,k and perhaps ta, tb: operands stored transposed")
    s.add_argument("--threads", type=int, default=1)
    s = sub.add_parser("match", help="weight matching beside Algorithm 1 in NumPy and SciPy")
    s.set_defaults(run=match)
    s.add_argument("a"), s.add_argument("b")
    s.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    s.add_argument("--threads", type=int, default=2)
    s = sub.add_parser("train", help="training beside PyTorch")
    s.set_defaults(run=train)
    s.add_argument("--nets", nargs="+", default=["mlp", "resnet20,1,batch"], help="ARCH[,WIDTH[,NORM]], of mlp, resnet20, vgg16; batch, layer")
    s.add_argument("--threads", type=int, default=2)
    for s in sub.choices.values():
        s.add_argument("--rounds", type=int, default=3)
        s.add_argument("--seconds", type=float, default=1, help="of NumPy or SciPy in each round")
    a = p.parse_args()
    os.environ["OPENBLAS_NUM_THREADS"] = str(a.threads)  # read once, when NumPy is first imported
    global np
    import numpy as np

    a.run(a)


main()
