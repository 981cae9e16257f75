"""Throw-away linear layers that a method trains beside the student, drawn from a seed."""

from __future__ import annotations

import torch
from torch import nn

from ..rng import seeded


def seeded_linear(inputs: int, outputs: int, *seed: int) -> nn.Linear:
    """A linear layer [B, inputs] -> [B, outputs] with torch's own initial distribution.

    Weights and biases are uniform within 1 / sqrt(inputs), drawn from the integers of `seed`
    and not from the global generator, so that two runs of one seed begin alike.
    """
    layer = nn.Linear(inputs, outputs, device="meta").to_empty(device="cpu")
    bound = inputs**-0.5
    generator = torch.Generator().manual_seed(seeded(*seed))
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.uniform_(-bound, bound, generator=generator)
    return layer
