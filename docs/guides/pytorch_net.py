#!/usr/bin/env python3
"""The network of docs/guides/pytorch.md: trains it, exports its graph, measures a checkpoint. Needs PyTorch and NumPy.

    python3 pytorch_net.py train --mnist DIR --seed 1 a.pt
    python3 pytorch_net.py export net.onnx
    python3 pytorch_net.py evaluate --mnist DIR a.pt b.pt merged.pt
"""

import argparse
import gzip
import pathlib

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.norm2 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)

    def forward(self, x):
        return F.relu(x + self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x))))))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 32, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(32)
        self.block1, self.down, self.block2 = Block(32), nn.Conv2d(32, 64, 3, stride=2, padding=1), Block(64)
        self.hidden, self.head = nn.Linear(64 * 7 * 7, 128), nn.Linear(128, 10)

    def forward(self, x):
        x = self.block1(F.relu(self.norm(self.stem(x))))
        x = self.block2(F.relu(self.down(x)))
        return self.head(F.relu(self.hidden(x.flatten(1))))


def load(folder, part):
    def read(kind, skip):
        with gzip.open(pathlib.Path(folder) / f"{part}-{kind}-ubyte.gz") as f:
            return np.frombuffer(f.read()[skip:], np.uint8)

    images = torch.from_numpy(read("images-idx3", 16).reshape(-1, 1, 28, 28).copy()).float() / 255
    return (images - 0.1307) / 0.3081, torch.from_numpy(read("labels-idx1", 8).copy()).long()


def train(a):
    torch.manual_seed(a.seed)
    net, (x, y) = Net(), load(a.mnist, "train")
    opt = torch.optim.SGD(net.parameters(), 0.05, momentum=0.9, weight_decay=5e-4)
    steps = len(x) // 128 * a.epochs
    schedule = torch.optim.lr_scheduler.OneCycleLR(opt, 0.05, total_steps=steps)
    for step in range(steps):
        i = torch.randint(len(x), (128,))
        opt.zero_grad()
        F.cross_entropy(net(x[i]), y[i]).backward()
        opt.step()
        schedule.step()
    torch.save({"model": net.state_dict(), "epochs": a.epochs}, a.file)


def export(a):
    torch.onnx.export(
        Net().eval(), torch.zeros(1, 1, 28, 28), a.file, input_names=["image"], output_names=["logits"], dynamic_axes={"image": {0: "n"}, "logits": {0: "n"}},
        training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False,  # so that tensors keep their names
    )


def evaluate(a):
    x, y = load(a.mnist, "t10k")
    for file in a.file:
        net = Net()
        net.load_state_dict(torch.load(file)["model"])
        net.eval()
        with torch.no_grad():
            logits = torch.cat([net(b) for b in x.split(500)])
        print(f"{file}: accuracy {(logits.argmax(1) == y).float().mean():.4f}, loss {F.cross_entropy(logits, y):.4f}")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sub = p.add_subparsers(required=True)
    s = sub.add_parser("train")
    s.set_defaults(run=train)
    s.add_argument("file")
    s.add_argument("--seed", type=int, required=True)
    s.add_argument("--epochs", type=int, default=2)
    s.add_argument("--mnist", required=True, help="folder with the four files of MNIST")
    s = sub.add_parser("export")
    s.set_defaults(run=export)
    s.add_argument("file")
    s = sub.add_parser("evaluate")
    s.set_defaults(run=evaluate)
    s.add_argument("file", nargs="+")
    s.add_argument("--mnist", required=True, help="folder with the four files of MNIST")
    a = p.parse_args()
    a.run(a)


main()
