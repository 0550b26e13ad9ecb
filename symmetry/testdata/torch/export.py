#!/usr/bin/env python3
"""Makes the networks in this folder: architectures of torchvision, and some more, made narrow, with what PyTorch computes with them.

    python3 symmetry/testdata/torch/export.py [NAME ...]        # Debian 12: python3-torch 1.13, python3-torchvision 0.14

NAME.onnx is a network with the names of its state dict (training=PRESERVE, no constant folding) and a symbolic batch. Its weights are those that the
network makes itself after torch.manual_seed(the number of the network in the list below); then constant parameters and all vectors get noise, and running
statistics are those of 16 random inputs, with noise. What is larger than 300 kB, being all names, is compressed. NAME.safetensors holds inputs, by their names, and "y", PyTorch's output in float64, rounded to float32.
"""
import functools
import gzip
import json
import math
import os
import struct
import sys
import warnings

import torch
import torch.nn.functional as F
import torchvision.models as tv
from torch import nn
from torch.onnx import TrainingMode
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.efficientnet import FusedMBConvConfig, MBConvConfig
from torchvision.models.mobilenetv3 import InvertedResidualConfig
from torchvision.models.resnet import BasicBlock, Bottleneck

HERE = os.path.dirname(os.path.abspath(__file__))
CLASSES = 5


def narrow(net, k, least=2):
    """Divides the channels of all layers by k, rounded, at least `least`. Depthwise convolutions stay depthwise. Inputs follow at the first run."""
    def width(n):
        return max(least, round(n / k))

    def lazy(m):
        if isinstance(m, nn.Conv2d):
            groups = m.groups if m.groups == 1 else width(m.groups)
            return nn.LazyConv2d(width(m.out_channels), m.kernel_size, m.stride, m.padding, m.dilation, groups, m.bias is not None)
        if isinstance(m, nn.BatchNorm2d):
            return nn.LazyBatchNorm2d(m.eps)
        if isinstance(m, nn.Linear):
            return nn.LazyLinear(m.out_features if m.out_features == CLASSES else width(m.out_features), m.bias is not None)
        return None

    for module in list(net.modules()):
        for name, child in list(module.named_children()):
            if new := lazy(child):
                setattr(module, name, new)
    return net


class MLP(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 14), nn.GELU(), nn.Linear(14, CLASSES))


def vgg():
    net = tv.VGG(tv.vgg.make_layers([4, "M", 6, 8, "M", 10, 10, "M"], batch_norm=True), num_classes=CLASSES)
    net.avgpool = nn.AdaptiveAvgPool2d((2, 2))
    net.classifier = nn.Sequential(nn.Linear(10 * 2 * 2, 12), nn.ReLU(True), nn.Dropout(), nn.Linear(12, 14), nn.ReLU(True), nn.Dropout(), nn.Linear(14, CLASSES))
    return net


def mobilenet_v2():
    return narrow(tv.MobileNetV2(CLASSES, inverted_residual_setting=[[1, 16, 1, 1], [6, 24, 2, 2], [6, 32, 2, 2]]), 8)


def mobilenet_v3():
    conf = functools.partial(InvertedResidualConfig, width_mult=1.0)
    setting = [conf(8, 3, 8, 8, True, "RE", 1, 1), conf(8, 3, 24, 16, False, "RE", 2, 1), conf(16, 5, 32, 16, True, "HS", 1, 1)]
    return tv.MobileNetV3(setting, last_channel=16, num_classes=CLASSES)


def efficientnet():
    conf = functools.partial(MBConvConfig, width_mult=1.0, depth_mult=1.0)
    return tv.EfficientNet([conf(1, 3, 1, 8, 8, num_layers=1), conf(3, 3, 2, 8, 16, num_layers=2)], dropout=0.2, num_classes=CLASSES)


class UNet(nn.Module):
    """Two levels down, one up by a transposed convolution and one by Upsample, skips by concatenation."""

    def __init__(self):
        super().__init__()

        def twice(a, b):
            return nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU(), nn.Conv2d(b, b, 3, padding=1), nn.GroupNorm(2, b), nn.SiLU())
        self.down1, self.down2, self.middle = twice(3, 4), twice(4, 6), twice(6, 8)
        self.up2, self.up1 = nn.ConvTranspose2d(8, 6, 2, stride=2), nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(6, 5, 1))
        self.join2, self.join1, self.head = twice(12, 6), twice(9, 4), nn.Conv2d(4, 2, 1)

    def forward(self, x):
        a = self.down1(x)
        b = self.down2(F.max_pool2d(a, 2))
        c = self.join2(torch.cat([self.up2(self.middle(F.max_pool2d(b, 2))), b], 1))
        return self.head(self.join1(torch.cat([self.up1(c), a], 1)))


class GPT(nn.Module):
    """As nanoGPT and GPT-2: layer norms first, one projection for queries, keys and values, a causal mask, tied embeddings."""
    vocabulary, context, d, heads, depth = 11, 8, 12, 3, 2

    class Block(nn.Module):
        def __init__(self, d, heads, context):
            super().__init__()
            self.heads = heads
            self.ln_1, self.ln_2 = nn.LayerNorm(d), nn.LayerNorm(d)
            self.c_attn, self.c_proj = nn.Linear(d, 3 * d), nn.Linear(d, d)
            self.c_fc, self.c_out = nn.Linear(d, 20), nn.Linear(20, d)
            self.register_buffer("mask", torch.tril(torch.ones(context, context)).view(1, 1, context, context))

        def forward(self, x):
            b, t, d = x.size()
            q, k, v = self.c_attn(self.ln_1(x)).split(d, dim=2)
            q, k, v = (z.view(b, t, self.heads, d // self.heads).transpose(1, 2) for z in (q, k, v))
            att = (q @ k.transpose(-2, -1)) / math.sqrt(k.size(-1))
            att = F.softmax(att.masked_fill(self.mask[:, :, :t, :t] == 0, float("-inf")), dim=-1)
            x = x + self.c_proj((att @ v).transpose(1, 2).contiguous().view(b, t, d))
            m = self.c_fc(self.ln_2(x))
            m = 0.5 * m * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (m + 0.044715 * torch.pow(m, 3.0))))
            return x + self.c_out(m)

    def __init__(self):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(self.vocabulary, self.d), nn.Embedding(self.context, self.d)
        self.h = nn.ModuleList(self.Block(self.d, self.heads, self.context) for _ in range(self.depth))
        self.ln_f, self.lm_head = nn.LayerNorm(self.d), nn.Linear(self.d, self.vocabulary, bias=False)
        self.lm_head.weight = self.wte.weight

    def forward(self, ids):
        x = self.wte(ids) + self.wpe(torch.arange(0, ids.size(1), device=ids.device).unsqueeze(0))
        for block in self.h:
            x = block(x)
        return self.lm_head(self.ln_f(x))


class BERT(nn.Module):
    """As the transformers package writes it: separate projections, layer norms last, a mask and token types as inputs, a pooler."""
    vocabulary, places, d, heads, width = 9, 6, 8, 2, 10

    class Layer(nn.Module):
        def __init__(self, d, heads, width):
            super().__init__()
            self.heads, self.size = heads, d // heads
            self.query, self.key, self.value, self.dense = (nn.Linear(d, d) for _ in range(4))
            self.norm1, self.up, self.down, self.norm2 = nn.LayerNorm(d), nn.Linear(d, width), nn.Linear(width, d), nn.LayerNorm(d)

        def split(self, x):
            return x.view(x.size()[:-1] + (self.heads, self.size)).permute(0, 2, 1, 3)

        def forward(self, x, mask):
            k, v, q = self.split(self.key(x)), self.split(self.value(x)), self.split(self.query(x))
            p = nn.functional.softmax(torch.matmul(q, k.transpose(-1, -2)) / math.sqrt(self.size) + mask, dim=-1)
            c = torch.matmul(p, v).permute(0, 2, 1, 3).contiguous()
            x = self.norm1(self.dense(c.view(c.size()[:-2] + (self.heads * self.size,))) + x)
            return self.norm2(self.down(F.gelu(self.up(x))) + x)

    def __init__(self):
        super().__init__()
        d = self.d
        self.word, self.place, self.kind = nn.Embedding(self.vocabulary, d, padding_idx=0), nn.Embedding(self.places, d), nn.Embedding(2, d)
        self.norm, self.layers = nn.LayerNorm(d, eps=1e-12), nn.ModuleList(self.Layer(d, self.heads, self.width) for _ in range(2))
        self.pooler, self.classifier = nn.Linear(d, d), nn.Linear(d, 2)
        self.register_buffer("ids", torch.arange(self.places).expand((1, -1)))

    def forward(self, input_ids, attention_mask, token_type_ids):
        mask = (1.0 - attention_mask[:, None, None, :].to(self.word.weight.dtype)) * -10000.0
        x = self.word(input_ids) + self.kind(token_type_ids) + self.place(self.ids[:, : input_ids.size(1)])
        x = self.norm(x)
        for layer in self.layers:
            x = layer(x, mask)
        return self.classifier(torch.tanh(self.pooler(x[:, 0])))


class Llama(nn.Module):
    """As the transformers package writes it: RMS norms, rotary positions, grouped queries, gated SiLU, here with tied embeddings."""
    vocabulary, d, heads, shared, size, width, depth = 9, 12, 4, 2, 4, 10, 2

    class Norm(nn.Module):
        def __init__(self, d):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(d))

        def forward(self, x):
            return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))

    class Layer(nn.Module):
        def __init__(self, n):
            super().__init__()
            self.size, self.times = n.size, n.heads // n.shared

            def linear(a, b):
                return nn.Linear(a, b, bias=False)
            self.q_proj, self.o_proj = linear(n.d, n.heads * n.size), linear(n.heads * n.size, n.d)
            self.k_proj, self.v_proj = linear(n.d, n.shared * n.size), linear(n.d, n.shared * n.size)
            self.gate_proj, self.up_proj, self.down_proj = linear(n.d, n.width), linear(n.d, n.width), linear(n.width, n.d)
            self.input_norm, self.post_norm = Llama.Norm(n.d), Llama.Norm(n.d)

        def rotate(self, x, cos, sin):
            half = x.shape[-1] // 2
            return x * cos + torch.cat((-x[..., half:], x[..., :half]), dim=-1) * sin

        def repeat(self, x):
            b, h, t, d = x.shape
            return x[:, :, None, :, :].expand(b, h, self.times, t, d).reshape(b, h * self.times, t, d)

        def forward(self, x, cos, sin, mask):
            b, t, _ = x.size()
            h = self.input_norm(x)
            q, k, v = (p(h).view(b, t, -1, self.size).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj))
            q, k = self.rotate(q, cos, sin), self.rotate(k, cos, sin)
            k, v = self.repeat(k), self.repeat(v)
            w = F.softmax(torch.matmul(q, k.transpose(2, 3)) / math.sqrt(self.size) + mask, dim=-1)
            x = x + self.o_proj(torch.matmul(w, v).transpose(1, 2).contiguous().reshape(b, t, -1))
            h = self.post_norm(x)
            return x + self.down_proj(F.silu(self.gate_proj(h)) * self.up_proj(h))

    def __init__(self):
        super().__init__()
        self.embed_tokens = nn.Embedding(self.vocabulary, self.d)
        self.layers, self.norm = nn.ModuleList(self.Layer(self) for _ in range(self.depth)), self.Norm(self.d)
        self.lm_head = nn.Linear(self.d, self.vocabulary, bias=False)
        self.lm_head.weight = self.embed_tokens.weight
        self.register_buffer("inv_freq", 1.0 / (10000 ** (torch.arange(0, self.size, 2).float() / self.size)))

    def forward(self, ids):
        t = ids.size(1)
        angles = torch.outer(torch.arange(t, device=ids.device).to(self.inv_freq.dtype), self.inv_freq)
        angles = torch.cat((angles, angles), dim=-1)
        mask = torch.full((t, t), -1e9, dtype=self.inv_freq.dtype).triu(1)
        x = self.embed_tokens(ids)
        for layer in self.layers:
            x = layer(x, angles.cos(), angles.sin(), mask)
        return self.lm_head(self.norm(x))


class LSTM(nn.Module):
    """Two layers in both directions, read at the last step."""

    def __init__(self):
        super().__init__()
        self.embed, self.lstm = nn.Embedding(9, 6), nn.LSTM(6, 5, num_layers=2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(10, CLASSES)

    def forward(self, ids):
        y, _ = self.lstm(self.embed(ids))
        return self.head(y[:, -1])


class GRU(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru, self.head = nn.GRU(4, 6, batch_first=True), nn.Linear(6, CLASSES)

    def forward(self, x):
        return self.head(self.gru(x)[0].mean(1))


class Expert(nn.Module):
    """A gated MLP, as Mixtral has them."""

    def __init__(self, d, width):
        super().__init__()
        self.w1, self.w3, self.w2 = nn.Linear(d, width, False), nn.Linear(d, width, False), nn.Linear(width, d, False)

    def forward(self, x):
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class Experts(nn.Module):
    """Two mixtures of experts, each expert with tensors of its own; all of them run, weighted by a softmax."""

    def __init__(self, d=8, width=6, counts=(4, 3)):
        super().__init__()
        self.embed, self.head = nn.Linear(5, d), nn.Linear(d, CLASSES)
        self.norms = nn.ModuleList(nn.LayerNorm(d) for _ in counts)
        self.gates = nn.ModuleList(nn.Linear(d, n, False) for n in counts)
        self.layers = nn.ModuleList(nn.ModuleDict({"experts": nn.ModuleList(Expert(d, width) for _ in range(n))}) for n in counts)

    def forward(self, x):
        h = self.embed(x)
        for norm, gate, layer in zip(self.norms, self.gates, self.layers):
            z = norm(h)
            p = gate(z).softmax(-1)
            out = torch.zeros_like(h)
            for i, expert in enumerate(layer["experts"]):
                out = out + p[..., i, None] * expert(z)
            h = h + out
        return self.head(h.mean(1))


def floats(*shape):
    return lambda n: torch.randn(n, *shape)


def images(side):
    return {"x": floats(3, side, side)}


def tokens(vocabulary, length):
    return lambda n: torch.randint(vocabulary, (n, length))


def resnet(block, **more):
    return narrow(tv.ResNet(block, [2, 1, 1, 1], num_classes=CLASSES, **more), 16)


def swin(block=tv.swin_transformer.SwinTransformerBlock, **more):
    return tv.SwinTransformer([2, 2], 8, [2, 1], [2, 4], [2, 2], mlp_ratio=2.0, num_classes=CLASSES, block=block, **more)


# name -> network, inputs, operator set
NETWORKS = {
    "mlp": (MLP, {"x": floats(12)}, 14),
    "vgg": (vgg, images(16), 14),
    "resnet": (lambda: resnet(BasicBlock), images(32), 14),
    "resnet-bottleneck": (lambda: resnet(Bottleneck), images(32), 11),
    "resnext": (lambda: narrow(tv.ResNet(Bottleneck, [1, 1, 1, 1], CLASSES, groups=32, width_per_group=4), 16), images(32), 14),
    "mobilenet-v2": (mobilenet_v2, images(16), 14),
    "mobilenet-v3": (mobilenet_v3, images(16), 14),
    "densenet": (lambda: tv.DenseNet(3, (2, 2), 6, bn_size=2, num_classes=CLASSES), images(16), 14),
    "googlenet": (lambda: narrow(tv.GoogLeNet(CLASSES, aux_logits=False, init_weights=False), 16, least=4), images(32), 14),
    "inception-v3": (lambda: narrow(tv.Inception3(CLASSES, aux_logits=False, init_weights=False), 32, least=4), images(75), 14),
    "shufflenet": (lambda: tv.ShuffleNetV2([2, 2, 1], [6, 8, 12, 16, 10], CLASSES), images(32), 14),
    "efficientnet": (efficientnet, images(16), 14),
    "convnext": (lambda: tv.ConvNeXt([CNBlockConfig(8, 12, 2), CNBlockConfig(12, None, 1)], num_classes=CLASSES), images(16), 17),
    "vit": (lambda: tv.VisionTransformer(8, 4, 2, 3, 12, 20, num_classes=CLASSES), images(8), 17),
    "swin": (swin, images(8), 17),
    "unet": (UNet, images(8), 14),
    "gpt": (GPT, {"ids": tokens(11, 5)}, 14),
    "bert": (BERT, {"input_ids": tokens(9, 4), "attention_mask": tokens(2, 4), "token_type_ids": tokens(2, 4)}, 14),
    "llama": (Llama, {"ids": tokens(9, 4)}, 14),
    "lstm": (LSTM, {"ids": tokens(9, 4)}, 14),
    "gru": (GRU, {"x": floats(4, 4)}, 14),
    "experts": (Experts, {"x": floats(3, 5)}, 14),
}


def scatter(net, inputs):
    """Values without ties, running statistics that are not those of a fresh network."""
    net(*[draw(16) for draw in inputs.values()])  # makes lazy layers
    for p in net.parameters():
        if p.dim() == 1 or (p == p.flatten()[0]).all():
            p.data.add_(0.2 * torch.randn_like(p.data))
    norms = [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for m in norms:
        m.momentum = 1
    net(*[draw(16) for draw in inputs.values()])
    for m in norms:
        m.momentum = 0.1
        m.running_mean += 0.2 * torch.randn_like(m.running_mean) * m.running_var.sqrt()
        m.running_var *= torch.empty_like(m.running_var).uniform_(0.5, 2)
    net.eval()


def save(path, state):
    """Writes safetensors: a header in JSON, then the data."""
    header, data = {}, b""
    for name, t in sorted(state.items(), key=lambda kv: (-kv[1].element_size(), kv[0])):
        raw = t.contiguous().numpy().tobytes()
        header[name] = {"dtype": {torch.float32: "F32", torch.int64: "I64"}[t.dtype], "shape": list(t.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)


def double(t):
    return t.double() if t.is_floating_point() else t


def main(names):
    warnings.simplefilter("ignore")
    for seed, (name, (build, inputs, opset)) in enumerate(NETWORKS.items()):
        if names and name not in names:
            continue
        torch.manual_seed(seed)
        net = build()
        scatter(net, inputs)
        values = {k: draw(1 if name == "inception-v3" else 2) for k, draw in inputs.items()}
        path = os.path.join(HERE, name)
        torch.onnx.export(
            net, tuple(values.values()), path + ".onnx", opset_version=opset, input_names=list(values), output_names=["y"],
            dynamic_axes={k: {0: "batch"} for k in [*values, "y"]}, training=TrainingMode.PRESERVE, do_constant_folding=False,
        )
        with torch.no_grad():
            y = net.double()(*map(double, values.values())).float()
        save(path + ".safetensors", {**values, "y": y})
        size = os.path.getsize(path + ".onnx")
        print(f"{name}: {sum(p.numel() for p in net.parameters())} parameters, {size} bytes", flush=True)
        if size > 300_000:
            with open(path + ".onnx", "rb") as f:
                packed = gzip.compress(f.read(), 9, mtime=0)
            with open(path + ".onnx.gz", "wb") as f:
                f.write(packed)
            os.remove(path + ".onnx")


if __name__ == "__main__":
    main(sys.argv[1:])
