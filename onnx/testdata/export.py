#!/usr/bin/env python3
"""Makes the fixtures in this folder: networks exported by PyTorch 1.13, with what PyTorch computes with them.

    python3 onnx/testdata/export.py        # Debian 12's python3-torch, 1.13

NAME.onnx is a network with the names of its state dict (training=PRESERVE, no constant folding), NAME-folded.onnx the same as it is exported by
default, NAME-fixed.onnx by default with a batch of one and no symbols; -9, -11, -17 name the operator set where it is not 13. NAME.safetensors is
the state dict. NAME.values holds three inputs and then the three outputs, little-endian float32.
"""
import json
import os
import struct

import torch
import torch.nn.functional as F
from torch import nn
from torch.onnx import TrainingMode

HERE = os.path.dirname(os.path.abspath(__file__))


class MLP(nn.Module):
    shape = (12,)

    def __init__(self):
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(12, 16), nn.Linear(16, 14), nn.Linear(14, 5)

    def forward(self, x):
        return self.fc3(torch.tanh(self.fc2(F.relu(self.fc1(x)))))


class CNN(nn.Module):
    """Batch normalisation, Clip, pooling, a view whose shape is computed, dropout, log-softmax."""
    shape = (3, 8, 8)

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12)
        self.fc = nn.Linear(12 * 2 * 2, 5)

    def forward(self, x):
        x = F.max_pool2d(F.relu6(4 * self.bn1(self.conv1(x))), 2)
        x = F.avg_pool2d(F.leaky_relu(self.bn2(self.conv2(x)), .1), 2)
        x = F.dropout(x.view(x.size(0), -1), .25, self.training)
        return F.log_softmax(self.fc(x), dim=1)


class Block(nn.Module):
    def __init__(self, cin, cout, stride):
        super().__init__()
        self.stride, self.extra = stride, cout - cin
        self.conv1, self.bn1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False), nn.BatchNorm2d(cout)
        self.conv2, self.bn2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False), nn.BatchNorm2d(cout)

    def forward(self, x):
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.extra:
            x = F.pad(x[:, :, ::self.stride, ::self.stride], (0, 0, 0, 0, self.extra // 2, self.extra - self.extra // 2))
        return F.relu(out + x)


class ResNet20(nn.Module):
    """The network for CIFAR of He et al. with shortcuts of kind A, four channels wide."""
    shape = (3, 16, 16)

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 3, 1, 1, bias=False), nn.BatchNorm2d(4)
        widths = [4, 4, 4, 4, 8, 8, 8, 16, 16, 16]
        self.blocks = nn.Sequential(*[Block(a, b, 1 if a == b else 2) for a, b in zip(widths, widths[1:])])
        self.fc = nn.Linear(16, 5)

    def forward(self, x):
        x = self.blocks(F.relu(self.bn1(self.conv1(x))))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Sequence(nn.Module):
    """Linear layers on values of rank three, which export as MatMul with a transposed weight."""
    shape = (6, 8)

    def __init__(self):
        super().__init__()
        self.up, self.down, self.head = nn.Linear(8, 20), nn.Linear(20, 8), nn.Linear(8, 5)

    def forward(self, x):
        return self.head((x + self.down(F.relu(self.up(x)))).mean(1))


class Fresh(nn.Module):
    """As it was made: normalisations are all ones and zeros, which the exporter merges."""
    shape = (3, 6, 6)

    def __init__(self):
        super().__init__()
        self.a = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.fc = nn.Linear(4, 5)

    def forward(self, x):
        return self.fc(self.a(x).mean([2, 3]))


def scatter(net):
    """Values without ties, running statistics that are not those of a fresh network."""
    for name, p in list(net.named_parameters()) + list(net.named_buffers()):
        if name.endswith("running_var"):
            p.data.uniform_(.5, 2)
        elif p.dtype.is_floating_point and p.dim() == 1:
            p.data.add_(.2 * torch.randn_like(p.data))


def save(path, state):
    """Writes safetensors: a header in JSON, then the data."""
    header, data = {}, b""
    for name, t in sorted(state.items(), key=lambda kv: (-kv[1].element_size(), kv[0])):
        raw = t.contiguous().numpy().tobytes()
        dtype = {torch.float32: "F32", torch.int64: "I64"}[t.dtype]
        header[name] = {"dtype": dtype, "shape": list(t.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)


def export(net, name, opset, mode):
    x = torch.zeros(1, *net.shape)
    more = {} if mode == "fixed" else {"dynamic_axes": {"x": {0: "batch"}, "y": {0: "batch"}}}
    if mode == "":
        more.update(training=TrainingMode.PRESERVE, do_constant_folding=False)
    parts = [name] + [p for p in (mode, "" if opset == 13 else str(opset)) if p]
    torch.onnx.export(net, x, os.path.join(HERE, "-".join(parts) + ".onnx"), opset_version=opset, input_names=["x"], output_names=["y"], **more)


def main():
    for seed, (name, kind, opsets) in enumerate([
        ("mlp", MLP, [13]), ("cnn", CNN, [9, 11, 13, 17]), ("resnet20", ResNet20, [11, 13, 17]), ("sequence", Sequence, [11, 13]),
        ("cnn2", CNN, [13]), ("fresh", Fresh, [13]),
    ]):
        torch.manual_seed(seed)
        net = kind().eval()
        if kind is not Fresh:
            scatter(net)
        x = torch.randn(3, *net.shape)
        with torch.no_grad():
            y = net.double()(x.double()).float()
        net.float()
        with open(os.path.join(HERE, name + ".values"), "wb") as f:
            f.write(x.numpy().tobytes() + y.numpy().tobytes())
        save(os.path.join(HERE, name + ".safetensors"), net.state_dict())
        for opset in opsets:
            export(net, name, opset, "")
            if opset in (9, 13):
                export(net, name, opset, "folded")
        export(net, name, 13, "fixed")


if __name__ == "__main__":
    main()
