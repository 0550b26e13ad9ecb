#!/usr/bin/env python3
"""Makes tied.onnx and tied.pt beside it: a network whose output is projected by its table of embeddings, exported, and its state dict, in which the
table has two names. Debian 12's python3-torch, 1.13."""
import os

import torch
from torch import nn
from torch.onnx import TrainingMode

HERE = os.path.dirname(os.path.abspath(__file__))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.up, self.down, self.head = nn.Embedding(12, 8), nn.Linear(8, 10), nn.Linear(10, 8), nn.Linear(8, 12, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids):
        x = self.embed(ids).sum(1)
        return self.head(x + self.down(torch.tanh(self.up(x))))


torch.manual_seed(1)
net = Tied()
torch.save(net.state_dict(), os.path.join(HERE, "tied.pt"))
torch.onnx.export(net, torch.zeros(1, 5, dtype=torch.int64), os.path.join(HERE, "tied.onnx"), opset_version=13, input_names=["ids"], output_names=["logits"],
                  training=TrainingMode.PRESERVE, do_constant_folding=False, dynamic_axes={"ids": {0: "batch"}, "logits": {0: "batch"}})
