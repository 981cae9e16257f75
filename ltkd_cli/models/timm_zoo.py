"""`timm/NAME`: any network of PyTorch Image Models, where that is installed."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from torch import Tensor, nn

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
    layers: Any = _fetched(name, num_classes=0) if download else original(name, 0)
    facts = layers.pretrained_cfg
    height, width = facts["input_size"][1:]
    return Backbone(
        layers,
        width=getattr(layers, "head_hidden_size", None) or layers.num_features,
        minimum=max((facts.get("min_input_size") or (1,))[1:], default=1),
        exact=(height, width) if facts.get("fixed_input_size") else None,
        statistics=(tuple(facts["mean"]), tuple(facts["std"])) if pretrained else None,
        classifier=facts["classifier"] if isinstance(facts.get("classifier"), str) else "",
    )


def original(name: str, classes: int) -> nn.Module:
    """A network that `exists` as timm builds it."""
    network: nn.Module = _timm(name).create_model(name.removeprefix(PREFIX), num_classes=classes)
    return network


def pretrained_weights(name: str) -> dict[str, Tensor]:
    """The state dict of timm's weights for a name; CheckpointError where it is not fetched."""
    return _fetched(name).state_dict()


def depths(layers: Any, *, coarse: bool) -> dict[str, int]:
    """Place of every weight in the order of timm's groups of layers, from 0 for the stem."""
    from timm.models import group_parameters

    if not hasattr(layers, "group_matcher"):
        return {name: 0 for name, _ in layers.named_parameters()}
    matcher = layers.group_matcher(coarse=coarse)
    found: dict[str, int] = group_parameters(layers, matcher, reverse=True)
    return found


def renamed(tensors: Mapping[str, Tensor], layers: nn.Module) -> Mapping[str, Tensor]:
    """Tensors by timm's names and in its shapes, where it knows how they are called elsewhere.

    So the original weights of DINOv2 or CLIP fit a vision transformer; those that timm knows
    nothing about stay as they are.
    """
    convert = getattr(sys.modules[type(layers).__module__], "checkpoint_filter_fn", None)
    if convert is None:
        return tensors
    try:
        found: Mapping[str, Tensor] = convert(dict(tensors), layers)
    except Exception:  # it is made for good files, and fails in every way on others
        return tensors
    return found


def _fetched(name: str, **options: Any) -> nn.Module:
    try:
        layers: nn.Module = _timm(name).create_model(
            name.removeprefix(PREFIX), pretrained=True, **options
        )
    except (OSError, RuntimeError) as error:
        raise CheckpointError(
            f"The pretrained weights of {name} could not be fetched ({error}).",
            "connect to the internet, give --weights FILE, or start without pretrained weights",
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
