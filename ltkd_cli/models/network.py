"""A whole network: normalisation, backbone, projection, head."""

from __future__ import annotations

import difflib
import math
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import UsageError
from ..outputs import Outputs
from . import head, resnet, timm_zoo, torchvision_zoo
from .backbone import Backbone
from .spec import ModelSpec


class Network(nn.Module):
    """Computes `logits` [B, C] and `features` [B, D] of float images [B, 3, H, W] in [0, 1].

    Normalises the images itself, and resizes them where its layers demand it: to the exact
    size of a vision transformer (the aspect ratio gives way), or up to the smallest size that
    survives the pooling of a VGG, DenseNet and the like. Other images stay as they are, small
    ones for pretrained networks too.

    `features` is the pooled output of the backbone, after the projection where there is one,
    and never divided by its length, not even before a cosine head. Both outputs are computed
    in the precision of the head's weights (float32) also under autocast.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, spec: ModelSpec, backbone: Backbone) -> None:
        super().__init__()
        self.spec = spec
        self.width = spec.projection or backbone.width
        self.minimum = backbone.minimum
        self.exact = backbone.exact
        self.backbone = backbone.layers
        self.projection = head.projection(backbone.width, spec.projection)
        self.head = head.head(self.width, spec.classes, spec.cosine_scale())
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (spec.mean, spec.std))
        self.frozen: list[nn.Module] = []  # parts that work as in evaluation, also in training
        self.register_buffer("shift", -mean / std, persistent=False)
        self.register_buffer("scale", 1 / std, persistent=False)

    def forward(self, images: Tensor) -> Outputs:
        """Logits [B, C] and features [B, D] of images [B, 3, H, W] in [0, 1]."""
        images = torch.addcmul(self.shift, self._resized(images), self.scale)
        return self.classify(self.backbone(images))

    def classify(self, features: Tensor) -> Outputs:
        """The same from what the backbone computes of images, [B, D]."""
        with torch.autocast(features.device.type, enabled=False):
            features = self.projection(features.to(self.head.weight.dtype))
            return {"logits": self.head(features), "features": features}

    def train(self, mode: bool = True) -> Self:
        """As for any module, but for the frozen parts, which stay as in evaluation."""
        super().train(mode)
        for part in self.frozen:
            part.eval()
        return self

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width that images of this size are resized to; often the same."""
        return self.exact or _at_least(self.minimum, height, width)

    def _resized(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        size = self.input_size(height, width)
        if size == (height, width):
            return images
        return F.interpolate(images, size, mode="bilinear", antialias=True)


def build(spec: ModelSpec, seed: int, *, download: bool = True) -> Network:
    """A network with new weights, the same for the same spec and seed on every call.

    Leaves the global random generators as they were. A pretrained network gets its backbone's
    weights from the zoo, unless `download` is off, and their mean and std go into the network's
    spec. Raises UsageError for a spec that cannot be built, CheckpointError where weights cannot
    be fetched.
    """
    spec.check()
    with own_randomness(seed):
        backbone = _backbone(spec, download=spec.pretrained and download)
        if backbone.statistics is not None and download:
            mean, std = backbone.statistics
            spec = replace(spec, mean=mean, std=std)
        return Network(spec, backbone)


def check(name: str, head: str = "linear") -> None:
    """UsageError where there is no network, or no head, of that name."""
    ModelSpec(name, 1, head, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)).check()
    if not _exists(name):
        raise _unknown(name)


def backbone_of(spec: ModelSpec) -> Backbone:
    """The layers of a network below its head, with arbitrary weights; errors as for `build`."""
    with own_randomness(0):
        return _backbone(spec, download=False)


def load_tensors(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """`load_state_dict` for tensors by name alone, as a safetensors file holds them.

    A few networks (torchvision's mnasnet) ask for the version of their layers, which is that of
    the module at hand. Errors as for `load_state_dict`.
    """
    state = OrderedDict(tensors)
    state._metadata = module.state_dict()._metadata  # type: ignore[attr-defined]
    module.load_state_dict(state)


def parameter_count(network: Network) -> int:
    """Numbers in all weights, the head, the projection and what is frozen included."""
    return sum(parameter.numel() for parameter in network.parameters())


def _backbone(spec: ModelSpec, *, download: bool) -> Backbone:
    name, pretrained = spec.name, spec.pretrained
    if name in resnet.names():
        if pretrained:
            raise UsageError(
                f"There are no pretrained weights for {name}.",
                "leave out pretrained weights, or choose a network of torchvision/ or timm/",
            )
        return resnet.backbone(name)
    if not _exists(name):
        raise _unknown(name)
    if name.startswith(timm_zoo.PREFIX):
        return timm_zoo.backbone(name, pretrained=pretrained, download=download)
    return torchvision_zoo.backbone(name, pretrained=pretrained, download=download)


def _exists(name: str) -> bool:
    if name.startswith(torchvision_zoo.PREFIX):
        return name in torchvision_zoo.names()
    return timm_zoo.exists(name) if name.startswith(timm_zoo.PREFIX) else name in resnet.names()


def _unknown(name: str) -> UsageError:
    known = [*resnet.names(), *torchvision_zoo.names()]
    if name.startswith(timm_zoo.PREFIX):
        known = timm_zoo.names()
    by_bare_name = {full.rpartition("/")[2]: full for full in known}
    close = difflib.get_close_matches(name.rpartition("/")[2], by_bare_name)
    listed = ", ".join(by_bare_name[bare] for bare in close)
    return UsageError(
        f"There is no network {name!r}" + (f"; close to it: {listed}." if listed else "."),
        f"use one of {', '.join(resnet.names())}, torchvision/NAME or timm/NAME",
    )


def _at_least(minimum: int, height: int, width: int) -> tuple[int, int]:
    """Size (H, W) with the shorter side at least `minimum`, in the same aspect ratio."""
    short = min(height, width)
    if short >= minimum:
        return height, width
    return math.ceil(height * minimum / short), math.ceil(width * minimum / short)


@contextmanager
def own_randomness(seed: int) -> Iterator[None]:
    """Draws from a CPU generator that starts at `seed`, and puts the old state back."""
    with torch.random.fork_rng(devices=[]):
        # not torch.manual_seed, which would seed the generators of every GPU too
        torch.default_generator.manual_seed(seed)
        yield
