"""A view is an integer: the pixels of (row, view) are a pure function of the two.

The teacher's stored answer for (row, view) and the pixels that a student sees for it
therefore always belong together, whatever the batch, its order, the process or the device.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..rng import counter_hash

POLICIES = ("none", "crop", "crop-flip")
"""Names of the view policies."""

VIEW_VERSION = 1
"""Changes whenever any policy gives other pixels; caches of another version are refused."""


@dataclass(frozen=True)
class ViewPolicy:
    """How the pixels of a view follow from its number.

    `none` leaves every view clean. `crop` shifts the image by up to an eighth of its
    side (4 pixels at 32, as the CIFAR papers) in both directions over black padding.
    `crop-flip` also mirrors one view in two.
    """

    name: str
    seed: int = 0


def view(images: Tensor, rows: Tensor, views: Tensor, policy: ViewPolicy) -> Tensor:
    """The given views of images: uint8 [B, 3, H, W] -> uint8 [B, 3, H, W].

    `rows` and `views` are int64 [B] on the device of `images`; view 0 is the clean
    image.
    """
    if policy.name == "none":
        return images
    height, width = images.shape[-2:]
    pad_y, pad_x = _padding(height), _padding(width)
    bits = counter_hash(policy.seed, rows, views)
    clean = views == 0
    y = torch.where(clean, pad_y, bits % (2 * pad_y + 1))
    x = torch.where(clean, pad_x, (bits >> 20) % (2 * pad_x + 1))
    cropped = _crop(F.pad(images, (pad_x, pad_x, pad_y, pad_y)), y, x, height, width)
    if policy.name == "crop":
        return cropped
    mirrored = ((bits >> 40) & 1).bool() & ~clean
    return torch.where(mirrored[:, None, None, None], cropped.flip(3), cropped)


def to_float(images: Tensor) -> Tensor:
    """uint8 [B, 3, H, W] -> float32 in [0, 1], channels last in memory."""
    return images.to(torch.float32, memory_format=torch.channels_last).div_(255)


def _padding(side: int) -> int:
    return max(1, round(side / 8))


def _crop(padded: Tensor, y: Tensor, x: Tensor, height: int, width: int) -> Tensor:
    """Windows of [B, 3, H', W'] whose upper left corners are (y, x): [B, 3, H, W]."""
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    return windows[torch.arange(len(padded), device=padded.device), :, y, x]
