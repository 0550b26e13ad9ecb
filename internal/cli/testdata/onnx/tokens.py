#!/usr/bin/env python3
"""Makes tokens-a.onnx and tokens-b.onnx beside it: two networks that read six numbers of tokens, of 16, and a weight for each, and tell four classes
apart. Debian 12's python3-torch, 1.13."""
import os

import torch
from torch import nn
from torch.onnx import TrainingMode


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.fc1, self.fc2 = nn.Embedding(16, 8), nn.Linear(8, 12), nn.Linear(12, 4)

    def forward(self, ids, weight):
        x = (self.embed(ids) * weight.unsqueeze(2)).sum(1)
        return self.fc2(torch.relu(self.fc1(x)))


for seed, name in enumerate("ab"):
    torch.manual_seed(seed)
    torch.onnx.export(
        Tokens(), (torch.zeros(1, 6, dtype=torch.int64), torch.ones(1, 6)), os.path.join(os.path.dirname(os.path.abspath(__file__)), f"tokens-{name}.onnx"),
        opset_version=13, input_names=["input_ids", "weight"], output_names=["logits"], training=TrainingMode.PRESERVE, do_constant_folding=False,
        dynamic_axes={"input_ids": {0: "batch"}, "weight": {0: "batch"}, "logits": {0: "batch"}})
