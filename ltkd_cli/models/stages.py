"""Where in a backbone a weight belongs: the stem and the stages after it, in order."""

from __future__ import annotations

import re
from typing import Any

from torch import nn

from ..errors import UsageError
from . import timm_zoo
from .network import Network

_CONTAINERS = frozenset({"features", "encoder", "layers", "blocks", "trunk_output", "stages"})
"""Modules of torchvision's networks, and ours, that hold the stages."""

_BETWEEN = re.compile(
    r"(^|\.)(conv|bn|norm|ln|stem|class|pos_|head|fc|Conv2d_)[^.]*$|^(features|layers)\.0$"
)
"""Modules that are no stage: they belong to the stem, or to the stage before them."""


def depths(network: Network, *, coarse: bool) -> dict[str, int]:
    """Stage of every weight of the backbone by its name there: 0 for the stem, then 1, 2, ...

    Stages are those of a ResNet, blocks of a transformer, or the parts of `features`. For timm's
    networks it is what timm groups by, which unless it is `coarse` are single blocks.
    """
    layers: Any = network.backbone
    if network.spec.name.startswith(timm_zoo.PREFIX):
        return timm_zoo.depths(layers, coarse=coarse)
    return _in_order([name for name, _ in layers.named_parameters()])


def freeze(network: Network, stages: int | None = None) -> None:
    """Keeps the stem and the first `stages` stages as they are, or the whole backbone.

    Their weights get no gradient, and in training they work as in evaluation: batch normalisation
    by the statistics that it has. UsageError where there are not so many stages.
    """
    if stages is None:
        frozen = {name for name, _ in network.backbone.named_parameters()}
    else:
        stage_of = depths(network, coarse=True)
        _check(network.spec.name, stages, max(stage_of.values()))
        frozen = {name for name, stage in stage_of.items() if stage <= stages}
    for name, parameter in network.backbone.named_parameters():
        parameter.requires_grad_(name not in frozen)
    network.frozen = _wholly_frozen(network.backbone)
    network.train(network.training)


def _check(name: str, stages: int, most: int) -> None:
    if not 1 <= stages <= most:
        raise UsageError(
            f"{name} has {most} stages after its stem, so --freeze stages:{stages} cannot be.",
            f"--freeze stages:{max(1, most - 1)}",
        )


def _wholly_frozen(module: nn.Module) -> list[nn.Module]:
    """The outermost modules without a weight that is trained, of those that have weights."""
    wanted = [parameter.requires_grad for parameter in module.parameters()]
    if wanted and not any(wanted):
        return [module]
    return [part for child in module.children() for part in _wholly_frozen(child)]


def _in_order(names: list[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    stage, last = 0, ""
    for name in names:
        unit = _unit(name)
        if unit != last and not _BETWEEN.search(unit):
            stage, last = stage + 1, unit
        found[name] = stage
    return found


def _unit(name: str) -> str:
    """The part of a network that a weight is in: `layer1`, `features.3`, `stages.0`."""
    parts = name.split(".")
    length = next((n for n, part in enumerate(parts) if part not in _CONTAINERS), len(parts) - 1)
    return ".".join(parts[: length + 1])
