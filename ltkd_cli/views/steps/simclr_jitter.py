"""The colours of SimCLR at strength 1, in a fixed order; the second kind of teacher sees them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...rng import counter_hash
from ..colour import turn_hue
from ..contract import PixelStep
from ..draws import Draws, send

CHANCE = 0.8
"""Share of images whose colours change."""

GREY_CHANCE = 0.2
"""Share of images that lose their colours altogether."""

STRENGTH = 0.8
"""Brightness, contrast and saturation are scaled by 1 - 0.8 to 1 + 0.8."""

HUE = 0.2
"""Share of the colour circle that hues move by at most."""

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the brightness that people see (ITU-R BT.601)."""


@dataclass(frozen=True)
class SimclrJitter(PixelStep):
    """Other brightness, contrast, saturation and hue, in this order; one in five becomes grey.

    Four in five images change. The source shuffles the four for every image.

    Source: the colour distortion of SimCLR v2 at strength 1 (Chen et al., arXiv:2006.10029),
    as the data_aug teachers of class-balanced distillation use it (arXiv:2104.05279).
    """

    version = 1
    usage = "simclr-jitter"

    def apply(self, images: Tensor, draws: Draws) -> Tensor:
        """uint8 [B, 3, H, W] with other colours, rounded to the nearest level."""
        rows, views = send(draws.rows, images.device), send(draws.views, images.device)
        changed = jitter(images.double() / 255, rows, views, draws.seed)
        return (changed * 255).round_().to(torch.uint8)


def jitter(images: Tensor, rows: Tensor, views: Tensor, seed: int) -> Tensor:
    """Images float [B, 3, H, W] in [0, 1] with other colours, in the same range and shape.

    `rows` and `views` are int64 [B] on the device of `images`.
    """
    draws = [_uniform(seed, rows, views, stream).to(images.dtype) for stream in range(6)]
    brightness, contrast, saturation = (1 + STRENGTH * (2 * draw - 1) for draw in draws[:3])
    changed = (images * brightness).clamp(0, 1)
    mean = grey(changed).mean((2, 3), keepdim=True)
    changed = torch.lerp(mean, changed, contrast).clamp(0, 1)
    changed = torch.lerp(grey(changed), changed, saturation).clamp(0, 1)
    changed = turn_hue(changed, HUE * (2 * draws[3] - 1))
    changed = torch.where(draws[4] < CHANCE, changed, images)
    return torch.where(draws[5] < GREY_CHANCE, grey(changed).expand_as(changed), changed)


def grey(images: Tensor) -> Tensor:
    """Brightness of every pixel: [B, 3, H, W] -> [B, 1, H, W]."""
    red, green, blue = images.unbind(1)
    return (LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue)[:, None]


def _uniform(seed: int, rows: Tensor, views: Tensor, stream: int) -> Tensor:
    """A number in [0, 1) for every image: [B, 1, 1, 1]."""
    bits = counter_hash(seed, _STREAMS + stream, rows, views) >> 39  # 24 bits fit into float32
    return (bits.float() / 2**24)[:, None, None, None]


_STREAMS = 100
"""Apart from the streams of views and of the order of training."""
