"""What moves the weights: the optimiser that a recipe describes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from ..models import Network
from ..models.stages import depths
from .recipe import Recipe

_BETA2 = 0.999
"""Of AdamW; torch's default, and DeiT's."""

_EMBEDDINGS = ("class_token", "pos_embedding", "relative_position_bias_table")
"""Names of tokens and position embeddings in torchvision's transformers."""

Group = dict[str, Any]
"""Parameters, and what holds for them alone."""


def build_optimizer(network: nn.Module, method: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser over all parameters of the network and of the method.

    SGD decays every parameter, as the code of the papers does that train with it. AdamW leaves
    out those of one dimension, the scales and shifts of norms and all biases, and the tokens and
    position embeddings of transformers, as DeiT does. What is frozen is left out. With layer
    decay, each group has its share of the learning rate.
    """
    groups = list(_by_layer(network, method, recipe.layer_decay))
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            groups,
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov,
            weight_decay=recipe.weight_decay,
            fused=True,
        )
    undecayed = {*_undecayed(network)}
    return torch.optim.AdamW(
        [part for group in groups for part in _by_decay(group, undecayed)],
        lr=recipe.learning_rate,
        betas=(recipe.momentum, _BETA2),
        weight_decay=recipe.weight_decay,
        fused=True,
    )


def _by_layer(network: nn.Module, method: nn.Module, decay: float) -> Iterable[Group]:
    """All that is trained, from the layer below to the head; in one group without layer decay.

    A layer's share of the learning rate is decay^d, where d layers lie between it and the output.

    Source: Bao et al., "BEiT", ICLR 2022 (arXiv:2106.08254); Clark et al., "ELECTRA", ICLR 2020
    (arXiv:2003.10555).
    """
    rest = [one for one in method.parameters() if one.requires_grad]
    named = {name: one for name, one in network.named_parameters() if one.requires_grad}
    if decay == 1:
        yield {"params": [*named.values(), *rest]}
        return
    assert isinstance(network, Network)
    depth_of = {f"backbone.{name}": d for name, d in depths(network, coarse=False).items()}
    top = max(depth_of.values()) + 1
    for depth in range(top):
        layer = [one for name, one in named.items() if depth_of.get(name, top) == depth]
        if layer:
            yield {"params": layer, "share": decay ** (top - depth)}
    head = [one for name, one in named.items() if name not in depth_of]
    yield {"params": [*head, *rest], "share": 1.0}


def _by_decay(group: Group, undecayed: set[nn.Parameter]) -> Iterable[Group]:
    """The parameters of the group that weight decay is for, and the others without it."""
    decayed, others = list[nn.Parameter](), list[nn.Parameter]()
    for one in group["params"]:
        (others if one.ndim <= 1 or one in undecayed else decayed).append(one)
    yield {**group, "params": decayed}
    yield {**group, "params": others, "weight_decay": 0.0}


def _undecayed(network: nn.Module) -> Iterable[nn.Parameter]:
    """What timm's networks name as such, and the like in torchvision's."""
    for name, parameter in network.named_parameters():
        if name.rpartition(".")[2] in _EMBEDDINGS:
            yield parameter
    for module in network.modules():
        if callable(named := getattr(module, "no_weight_decay", None)):
            own = {*named()}
            yield from (one for name, one in module.named_parameters() if name in own)
