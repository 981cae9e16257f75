"""Operations that map each grey level to another, as tables: one of 256 levels for each image.

They agree with torchvision's functions of the same names to the last bit.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .colour import blend, mean_grey
from .draws import send, spread

LEVELS = 256


def look_up(images: Tensor, tables: Tensor) -> Tensor:
    """Images uint8 [B, 3, H, W] mapped through tables uint8 [B, 3, 256]."""
    levels = images.flatten(2).long()
    return tables.gather(2, levels).view_as(images)


def brightness(images: Tensor, factors: Tensor) -> Tensor:
    """Tables that scale by `factors`, float64 [B] on the host."""
    scaled = _ramp(images).float() * spread(factors, images.device)[:, 0]
    return _for_channels(scaled.clamp_(0, LEVELS - 1).to(torch.uint8))


def contrast(images: Tensor, factors: Tensor) -> Tensor:
    """Tables that move levels away from an image's mean by `factors`, float64 [B] on the host."""
    ramp = _ramp(images)[..., None]
    return _for_channels(blend(ramp, mean_grey(images), factors)[..., 0])


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Tables that keep the upper `bits` of the levels, float64 [B] on the host."""
    kept = send(LEVELS - (LEVELS >> bits.long()), images.device).to(torch.uint8)
    return _for_channels(_ramp(images) & kept[:, None, None])


def solarize(images: Tensor, shares: Tensor) -> Tensor:
    """Tables that invert levels from a share of 255 on, float64 [B] on the host."""
    ramp = _ramp(images)
    above = ramp.float() >= spread((LEVELS - 1) * shares, images.device)[:, 0]
    return _for_channels(torch.where(above, ~ramp, ramp))


def invert(images: Tensor) -> Tensor:
    """Tables that invert."""
    return _for_channels(~_ramp(images).expand(len(images), 1, LEVELS))


def autocontrast(images: Tensor) -> Tensor:
    """Tables that stretch each channel of each image to 0 to 255."""
    low, high = images.flatten(2).float().aminmax(dim=2, keepdim=True)
    flat = low == high
    scale = torch.where(flat, 1.0, (high - low) * (1 / (LEVELS - 1)))
    stretched = (_ramp(images).float() - torch.where(flat, 0.0, low)) / scale
    return stretched.clamp_(0, LEVELS - 1).to(torch.uint8)


def equalize(images: Tensor) -> Tensor:
    """Tables that make the levels of each channel of each image equally frequent.

    As in Pillow, the pixels of the highest level do not count towards the step between levels.
    """
    levels = images.flatten(2).long()
    counts = levels.new_zeros(*levels.shape[:2], LEVELS)
    counts.scatter_add_(2, levels, torch.ones_like(levels))
    below = counts.cumsum(2)
    highest = counts.gather(2, below.argmax(2, keepdim=True))
    step = (levels.shape[2] - highest) // (LEVELS - 1)
    table = (below - counts + step // 2) // step.clamp(min=1)
    ramp = _ramp(images).expand(len(images), 3, LEVELS)
    return torch.where(step > 0, table.clamp_(0, LEVELS - 1).to(torch.uint8), ramp)


def _ramp(images: Tensor) -> Tensor:
    """The levels themselves: uint8 [1, 1, 256]."""
    return torch.arange(LEVELS, device=images.device).to(torch.uint8).view(1, 1, LEVELS)


def _for_channels(table: Tensor) -> Tensor:
    """[B, 1, 256] -> [B, 3, 256]."""
    return table.expand(-1, 3, -1)
