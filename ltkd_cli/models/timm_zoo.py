"""`timm/NAME`: any network of PyTorch Image Models, where that is installed."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from torch import nn

from ..errors import CheckpointError, UsageError
from .backbone import Backbone

PREFIX = "timm/"


def names() -> list[str]:
    """Names of all networks, with the prefix; none where timm is not installed."""
    try:
        timm = _timm("")
    except UsageError:
        return []
    return [PREFIX + name for name in timm.list_models()]


def exists(name: str) -> bool:
    """Whether timm knows this name, its pretrained tag included.

    Raises UsageError where timm is not installed. Names of hubs are unknown on purpose: a
    weight file must never make a program download what it names.
    """
    timm, bare = _timm(name), name.removeprefix(PREFIX)
    tag = bare.partition(".")[2]
    return bool(timm.is_model(bare)) and (not tag or bool(timm.is_model_pretrained(bare)))


def backbone(name: str, *, pretrained: bool, download: bool) -> Backbone:
    """The layers of a network that `exists`, up to the input of its classifier.

    `download` fetches pretrained weights. Raises CheckpointError where that fails.
    """
    layers: Any = _layers(name, download=download)
    facts = layers.pretrained_cfg
    height, width = facts["input_size"][1:]
    return Backbone(
        layers,
        width=getattr(layers, "head_hidden_size", None) or layers.num_features,
        minimum=max((facts.get("min_input_size") or (1,))[1:], default=1),
        exact=(height, width) if facts.get("fixed_input_size") else None,
        statistics=(tuple(facts["mean"]), tuple(facts["std"])) if pretrained else None,
    )


def _layers(name: str, *, download: bool) -> nn.Module:
    try:
        layers: nn.Module = _timm(name).create_model(
            name.removeprefix(PREFIX), num_classes=0, pretrained=download
        )
    except (OSError, RuntimeError) as error:
        if not download:
            raise
        raise CheckpointError(
            f"The pretrained weights of {name} could not be fetched ({error}).",
            "connect to the internet, or start without pretrained weights",
        ) from error
    return layers


def _timm(name: str) -> ModuleType:
    try:
        import timm
    except ImportError:
        raise UsageError(
            f"The network {name} comes from timm, which is not installed.",
            'pip install "ltkd[timm]"',
        ) from None
    module: ModuleType = timm
    return module
