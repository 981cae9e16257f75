"""`torchvision/NAME`: any classification network of torchvision, without its classifier."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from ..errors import CheckpointError
from .backbone import Backbone
from .spec import Channels

PREFIX = "torchvision/"

_WITH_AUXILIARY = ("googlenet", "inception_v3")
"""Built without auxiliary outputs. Their weights expect mean and std 0.5, which torchvision
reaches from ImageNet statistics by a second normalisation inside the network."""

_ANY_SIZE = ("swin",)
"""Torchvision's `min_size` for these is that of their training; they pad smaller images."""

_SIZE_ARGUMENT = {"vit": "image_size", "maxvit": "input_size"}
"""Families whose layers are cut for one image size, and the argument that sets it."""

_USUAL_SIZE = 224
"""Pixels that `_SIZE_ARGUMENT` families are built for without pretrained weights."""

_HALF = (0.5, 0.5, 0.5)


def names() -> list[str]:
    """Names of all classification networks, with the prefix."""
    return [PREFIX + name for name in _models().list_models(module=_models())]


def backbone(name: str, *, pretrained: bool, download: bool) -> Backbone:
    """The layers of one of `names()` up to the input of its last layer.

    `pretrained` says what the layers are shaped for, `download` whether torchvision's
    default ImageNet weights are fetched into them. Raises CheckpointError where that fails.
    """
    name = name.removeprefix(PREFIX)
    weights = _models().get_model_weights(name).DEFAULT
    exact = _exact_size(name, weights if pretrained else None)
    layers = _layers(name, _arguments(name, exact, download=download), download=download)
    classifier, width = _remove_classifier(layers)
    return Backbone(
        layers,
        width=width,
        minimum=1 if name.startswith(_ANY_SIZE) else weights.meta["min_size"][0],
        exact=exact,
        statistics=_statistics(name, weights) if pretrained else None,
        classifier=classifier,
    )


def original(name: str, classes: int) -> nn.Module:
    """A network of `names()` as torchvision builds it, in the shape of its pretrained weights."""
    name = name.removeprefix(PREFIX)
    exact = _exact_size(name, _models().get_model_weights(name).DEFAULT)
    arguments = _arguments(name, exact, download=False)
    network: nn.Module = _models().get_model(name, weights=None, num_classes=classes, **arguments)
    return network


def pretrained_weights(name: str) -> dict[str, Tensor]:
    """The state dict of torchvision's default weights; CheckpointError where it is not fetched."""
    bare = name.removeprefix(PREFIX)
    exact = _exact_size(bare, _models().get_model_weights(bare).DEFAULT)
    layers = _layers(bare, _arguments(bare, exact, download=True), download=True)
    tensors: dict[str, Tensor] = layers.state_dict()
    return tensors


def _exact_size(name: str, weights: Any) -> tuple[int, int] | None:
    if _family(name) not in _SIZE_ARGUMENT:
        return None
    height, width = weights.meta["min_size"] if weights else (_USUAL_SIZE, _USUAL_SIZE)
    return height, width


def _arguments(name: str, exact: tuple[int, int] | None, *, download: bool) -> dict[str, Any]:
    if name in _WITH_AUXILIARY:
        without_weights = {"aux_logits": False, "init_weights": True}
        return {"transform_input": False, **({} if download else without_weights)}
    if exact is None:
        return {}
    argument = _SIZE_ARGUMENT[_family(name)]
    return {argument: exact if argument == "input_size" else exact[0]}


def _layers(name: str, arguments: dict[str, Any], *, download: bool) -> Any:
    weights = "DEFAULT" if download else None
    try:
        with redirect_stdout(sys.stderr):  # where a download is told
            network = _models().get_model(name, weights=weights, **arguments)
    except (OSError, RuntimeError) as error:
        if not download:
            raise
        raise CheckpointError(
            f"The pretrained weights of {PREFIX}{name} could not be fetched ({error}).",
            "connect to the internet, give --weights FILE, or start without pretrained weights",
        ) from error
    if name == "inception_v3":
        # its weights cannot be asked for without the auxiliary output
        network.AuxLogits, network.aux_logits = None, False
    return network


def _statistics(name: str, weights: Any) -> tuple[Channels, Channels]:
    if name in _WITH_AUXILIARY:
        return _HALF, _HALF
    transforms = weights.transforms()
    return tuple(transforms.mean), tuple(transforms.std)


def _remove_classifier(network: nn.Module) -> tuple[str, int]:
    """Replaces the last linear layer, or the last convolution where there is none (SqueezeNet),
    by the identity; returns its name and the width of its input."""
    layers = [
        (path, layer)
        for path, layer in network.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv2d)
    ]
    linear = [(path, layer) for path, layer in layers if isinstance(layer, nn.Linear)]
    path, last = (linear or layers)[-1]
    network.set_submodule(path, nn.Identity())
    return path, last.weight.shape[1]


def _models() -> ModuleType:
    # imported late: torchvision takes about as long to import as torch does
    import torchvision

    models: ModuleType = torchvision.models
    return models


def _family(name: str) -> str:
    return name.partition("_")[0]
