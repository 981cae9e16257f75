"""Colours of uint8 images with one factor for each image, as torchvision computes them.

Every operation is exact in whole numbers, or rounds each pixel by itself, so the result does
not depend on the batch, on the number of threads or on the device.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .draws import spread


def grey(images: Tensor) -> Tensor:
    """Brightness of every pixel, rounded down: uint8 [B, 3, H, W] -> float32 [B, 1, H, W].

    In ten-thousandths it is a whole number, which float32 holds exactly. Weights of red,
    green and blue as torchvision's `rgb_to_grayscale`.
    """
    red, green, blue = images.float().unbind(1)
    return ((red * 2989 + green * 5870 + blue * 1140) / 10_000).floor_()[:, None]


def mean_grey(images: Tensor) -> Tensor:
    """Mean brightness of every image: float32 [B, 1, 1, 1]."""
    pixels = images.shape[-2] * images.shape[-1]
    return (grey(images).sum((1, 2, 3), dtype=torch.float64) / pixels).float()[:, None, None, None]


def adjust_brightness(images: Tensor, factors: Tensor) -> Tensor:
    """Images scaled by `factors`, float64 [B] on the host."""
    return as_pixels(images.float() * spread(factors, images.device))


def adjust_contrast(images: Tensor, factors: Tensor) -> Tensor:
    """Images moved away from their mean brightness by `factors`, float64 [B] on the host."""
    return blend(images, mean_grey(images), factors)


def adjust_saturation(images: Tensor, factors: Tensor) -> Tensor:
    """Images moved away from grey by `factors`, float64 [B] on the host."""
    return blend(images, grey(images), factors)


def adjust_sharpness(images: Tensor, factors: Tensor) -> Tensor:
    """Images moved away from a smoothed copy by `factors`, float64 [B] on the host.

    The outermost pixels stay. A smoothed pixel is 5 parts itself and 1 part each neighbour.
    """
    if min(images.shape[-2:]) <= 2:
        return images
    values = images.float()
    rows = values[:, :, :-2] + values[:, :, 1:-1] + values[:, :, 2:]
    sums = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    inner = values[:, :, 1:-1, 1:-1]
    smooth = ((sums + 4 * inner) / 13).round_()
    changed = _fused(inner, smooth - inner, 1 - factors)
    values[:, :, 1:-1, 1:-1] = changed
    return as_pixels(values)


def adjust_hue(images: Tensor, shares: Tensor) -> Tensor:
    """Images whose hues turn by `shares` of the colour circle, float64 [B] on the host."""
    turned = turn_hue(images.float() / 255, spread(shares, images.device))
    return (turned * (256 - 1e-3)).to(torch.uint8)


def turn_hue(images: Tensor, share: Tensor) -> Tensor:
    """Images [B, 3, H, W] in [0, 1] with every hue moved by a share [B, 1, 1, 1] of the circle."""
    high, low = images.amax(1), images.amin(1)
    spread_ = high - low
    red, green, blue = images.unbind(1)
    safe = torch.where(spread_ > 0, spread_, 1)
    sixths = torch.where(
        high == red,
        (green - blue) / safe,
        torch.where(high == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    sixths = sixths + 6 * share[:, 0]
    return torch.stack([_channel(offset, sixths, high, spread_) for offset in (5, 3, 1)], 1)


def blend(images: Tensor, other: Tensor, factors: Tensor) -> Tensor:
    """`factors` parts of the images and 1 - `factors` parts of another, as pixels."""
    return as_pixels(_fused(images.float() * spread(factors, images.device), other, 1 - factors))


def as_pixels(values: Tensor) -> Tensor:
    """Float values as uint8: limited to 0 to 255 and rounded down, as torchvision does."""
    return values.clamp_(0, 255).to(torch.uint8)


def _fused(values: Tensor, other: Tensor, factors: Tensor) -> Tensor:
    """values + factors * other, rounded to float32 once.

    float64 holds the product of two float32 numbers exactly. A processor that multiplies and
    adds in one instruction, as torchvision's blend uses, rounds in the same way.
    """
    weights = spread(factors, values.device).double()
    return (weights * other.double() + values).float()


def _channel(offset: int, sixths: Tensor, high: Tensor, spread_: Tensor) -> Tensor:
    """One channel of a colour with the given hue (in sixths of the circle)."""
    distance = (offset + sixths) % 6
    return high - spread_ * torch.minimum(distance, 4 - distance).clamp(0, 1)
