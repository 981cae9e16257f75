"""What moves the weights: the optimiser that a recipe describes."""

from __future__ import annotations

from itertools import chain
from typing import Any

import torch
from torch import nn

from .recipe import Recipe

_BETA2 = 0.999
"""Of AdamW; torch's default, and DeiT's."""


def build_optimizer(network: nn.Module, method: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser over all parameters of the network and of the method.

    SGD decays every parameter, as the code of the papers does that train with it. AdamW leaves
    out those of one dimension, the scales and shifts of norms and all biases, as DeiT does.
    """
    parameters = [*chain(network.parameters(), method.parameters())]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov,
            weight_decay=recipe.weight_decay,
            fused=True,
        )
    groups: list[dict[str, Any]] = [
        {"params": [one for one in parameters if one.ndim > 1]},
        {"params": [one for one in parameters if one.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        groups,
        lr=recipe.learning_rate,
        betas=(recipe.momentum, _BETA2),
        weight_decay=recipe.weight_decay,
        fused=True,
    )
