"""Residual networks for small images: any size from 8 pixels up.

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016
(arXiv:1512.03385), section 4.2, depth 6n + 2. The wide ones, resnet8x4 and resnet32x4, are
those of Tian et al., "Contrastive Representation Distillation", ICLR 2020 (arXiv:1910.10699).
So are the narrow ones with `-conv`: what their code and mdistiller call resnet20 or resnet32
has shortcuts by convolution (option B of He et al.), 2,752 parameters more, and weights drawn
over the fan-out; those without it have shortcuts without parameters (option A), as the code
for long tails has.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .backbone import Backbone

_NARROW = (16, 16, 32, 64)
"""Channels of the stem and the three stages (He et al., section 4.2)."""

_WIDE = (32, 64, 128, 256)
"""The same of the `x4` networks; their stem is twice, their stages four times as wide."""

_PARTS = {"conv": "conv", "bn": "norm"}
"""The stem's layers by the first letters of their usual names."""

_DEPTHS = (8, 14, 20, 32, 44, 56, 110)

_SHAPES = (
    {f"resnet{depth}": (depth, _NARROW, False) for depth in _DEPTHS}
    | {f"resnet{depth}-conv": (depth, _NARROW, True) for depth in _DEPTHS}
    | {f"resnet{depth}x4": (depth, _WIDE, True) for depth in (8, 32)}
)
"""Name -> depth, channels, and whether shortcuts have convolutions."""


def names() -> list[str]:
    """Names of the networks in this file."""
    return list(_SHAPES)


def backbone(name: str) -> Backbone:
    """The layers of one of `names()`, with fresh weights from the global generator."""
    depth, channels, convolve = _SHAPES[name]
    return Backbone(_ResNet(depth, channels, convolve=convolve), width=channels[-1])


def renamed(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Tensors by the names in this file, where they have those of most other code.

    The code of LDAM-DRW, BagofTricks-LT and mdistiller has `conv1`, `bn1`, `layer1.0.bn1`,
    `shortcut` or `downsample`.
    """
    return {_renamed(name): tensor for name, tensor in tensors.items()}


def _renamed(name: str) -> str:
    stage = re.search(r"(^|\.)layer(\d)\.(\d+)\.", name)
    if stage is None:
        return re.sub(r"(^|\.)(conv|bn)1\.", lambda m: f"{m[1]}{_PARTS[m[2]]}.", name)
    block = f"{name[: stage.start()]}{stage[1]}stages.{int(stage[2]) - 1}.{stage[3]}."
    rest = re.sub(r"^bn(\d)\.", r"norm\1.", name[stage.end() :])
    return block + re.sub(r"^downsample\.", "shortcut.", rest)


class _ResNet(nn.Module):
    """Stem, three stages of (depth - 2) / 6 blocks each, global average pooling."""

    def __init__(self, depth: int, channels: tuple[int, int, int, int], *, convolve: bool) -> None:
        super().__init__()
        stem = channels[0]
        self.conv = _conv3x3(3, stem)
        self.norm = nn.BatchNorm2d(stem)
        self.stages = nn.Sequential(
            *(
                _stage((depth - 2) // 6, channels[i], channels[i + 1], stride, convolve=convolve)
                for i, stride in enumerate((1, 2, 2))
            )
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                _initialise(module, over_outputs=convolve)

    def forward(self, images: Tensor) -> Tensor:
        """Features [B, D], float32 also under autocast: a mean deserves full precision."""
        maps = self.stages(F.relu(self.norm(self.conv(images))))
        return cast(Tensor, maps.mean((2, 3), dtype=torch.promote_types(maps.dtype, torch.float32)))


class _Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int, shortcut: nn.Module) -> None:
        super().__init__()
        self.conv1 = _conv3x3(inputs, outputs, stride)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = _conv3x3(outputs, outputs)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut = shortcut

    def forward(self, maps: Tensor) -> Tensor:
        residual = F.relu(self.norm1(self.conv1(maps)))
        residual = self.norm2(self.conv2(residual))
        return F.relu(residual + self.shortcut(maps))


class _PaddedShortcut(nn.Module):
    """Every second pixel, with zero channels on both sides (option A of He et al.)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.before = (outputs - inputs) // 2
        self.after = outputs - inputs - self.before

    def forward(self, maps: Tensor) -> Tensor:
        # maps[:, :, ::2, ::2] as a pooling: a training step on a CPU is 10 % faster, for the
        # result stays channels_last.
        return F.pad(F.avg_pool2d(maps, 1, stride=2), (0, 0, 0, 0, self.before, self.after))


def _stage(blocks: int, inputs: int, outputs: int, stride: int, *, convolve: bool) -> nn.Sequential:
    shortcut = _shortcut(inputs, outputs, stride, convolve=convolve)
    first = _Block(inputs, outputs, stride, shortcut)
    rest = [_Block(outputs, outputs, 1, nn.Identity()) for _ in range(blocks - 1)]
    return nn.Sequential(first, *rest)


def _shortcut(inputs: int, outputs: int, stride: int, *, convolve: bool) -> nn.Module:
    if inputs == outputs and stride == 1:
        return nn.Identity()
    if not convolve:
        return _PaddedShortcut(inputs, outputs)
    conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


def _conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)


def _initialise(conv: nn.Conv2d, *, over_outputs: bool) -> None:
    """Kaiming-normal; over the fan-out where shortcuts have convolutions, as their source does."""
    nn.init.kaiming_normal_(
        conv.weight, mode="fan_out" if over_outputs else "fan_in", nonlinearity="relu"
    )
